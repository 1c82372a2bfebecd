//! iperf3 between a guest whose NIC is a vhost-user port of l2fwd and the host's kernel, which has the other port as a tap.

use super::capture::{Capture, Shape};
use super::qemu::{Check, Running, Vm};
use super::scenario::Bed;
use super::vhost::{Host, Variant, arguments, port, ring};
use crate::host::{Missing, need_packages};
use crate::netns::world::{Namespace, Running as Program};
use anyhow::{Context, Result};
use nix::unistd::geteuid;
use serde_json::Value;
use std::process::Stdio;
use std::time::Duration;

/// Bytes of each run: 23,000 full segments.
pub const BYTES: u64 = 32 << 20;
/// Frames that l2fwd must have forwarded: the segments of two runs there and two back.
const FRAMES: u64 = 4 * BYTES / 1460;
/// As few as there are of these when none is cut.
const FEW: u64 = 4 * BYTES / 65_536;
/// Addresses of the guest and of the network beyond.
const GUEST: &str = "10.7.0.1";
const FAR: &str = "10.7.0.2";
/// The tap's name.
const TAP: &str = "far0";

/// The network beyond l2fwd: a namespace with a tap of l2fwd's, where iperf3 serves.
pub struct Beyond {
    // Declared first: it ends before its namespace goes.
    _server: Program,
    /// Where it is.
    pub space: Namespace,
}

impl Beyond {
    /// A namespace in which interfaces are called by nobody yet.
    pub fn new() -> Result<Self> {
        if !geteuid().is_root() {
            return Err(Missing(vec!["root: network namespaces need it".to_owned()]).into());
        }
        need_packages(&["iperf3", "iproute2"])?;
        let space = Namespace::new("far")?;
        let mut serve = space.command("iperf3");
        serve.arg("-s").stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self {
            _server: Program::start(&mut serve)?,
            space,
        })
    }

    /// Gives the address that the guest knows to an interface, once it is there.
    pub fn address(&self, interface: &str) -> Result<()> {
        self.patiently(&["addr", "add", "10.7.0.2/24", "dev", interface])?;
        self.space.ip(&["link", "set", interface, "up"])
    }

    /// Runs `ip` in it until it succeeds: for interfaces that somebody is about to make.
    pub fn patiently(&self, arguments: &[&str]) -> Result<()> {
        let mut last = None;
        for _ in 0..500 {
            match self.space.ip(arguments) {
                Ok(()) => return Ok(()),
                Err(error) => last = Some(error),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(last.context("ip was not run")?)
    }
}

/// iperf3 both ways, a reboot, and again.
pub fn run(bed: &Bed<'_>, variant: &Variant) -> Result<Vec<Check>> {
    need_packages(&["tcpdump"])?;
    let beyond = Beyond::new()?;
    let shape = variant.shape;
    // Names of sockets must be short.
    let dir = tempfile::tempdir().context("cannot make a directory")?;
    let sockets = [dir.path().join("a")];
    let ports = [port(&sockets[0], variant.options), format!("tap:{TAP}")];
    let host = Host::start(bed, "l2fwd", &ports, &sockets, Some(&beyond.space), shape)?;
    beyond.address(TAP)?;
    let mut vm = Vm::new(bed.kernel.clone(), include_str!("guest/vhost-iperf.sh"));
    vm.modules = vec!["virtio_net".to_owned()];
    vm.huge_pages = 0;
    vm.arguments = arguments(&sockets, vm.memory, &[ring(variant.packed)]);
    vm.payload = vec!["/usr/bin/iperf3".into()];
    vm.settings = vec![("BYTES".to_owned(), BYTES.to_string())];
    let captures = [("from-guest", GUEST), ("to-guest", FAR)];
    let captures = captures.map(|(name, from)| (name, Capture::start(&beyond.space, TAP, from)));
    let mut guest = vm.start(bed.tools, &bed.dir)?;
    let mut checks = boot(&mut guest)?;
    for (name, capture) in captures {
        checks.push(capture?.check(format!("packets-{name}"), shape)?);
    }
    guest.tell("reboot")?;
    guest.wait_for("REBOOTS")?;
    checks.extend(boot(&mut guest)?);
    guest.tell("stop")?;
    guest.wait_for("DONE")?;
    checks.extend(guest.finish()?);
    checks.extend(host.end(if shape == Shape::Long { FEW } else { FRAMES })?);
    Ok(checks)
}

/// What iperf3 in the guest says in one boot.
fn boot(guest: &mut Running) -> Result<Vec<Check>> {
    let there = guest.wait_for("THERE")?;
    let here = guest.wait_for("HERE")?;
    Ok(vec![
        verdict("tcp-from-guest", &there),
        verdict("tcp-to-guest", &here),
    ])
}

/// Whether a run came to its end, with all bytes received.
pub fn verdict(name: &str, said: &str) -> Check {
    let report: Value = serde_json::from_str(said).unwrap_or_default();
    let end = &report["end"];
    let received = end["sum_received"]["bytes"].as_u64().unwrap_or(0);
    let sent = end["sum_sent"]["bytes"].as_u64().unwrap_or(0);
    let (Some(rate), None) = (
        end["sum_received"]["bits_per_second"].as_f64(),
        report["error"].as_str(),
    ) else {
        return Check::new(name, false, format!("iperf3 said {said}"));
    };
    let again = end["sum_sent"]["retransmits"].as_u64().unwrap_or(0);
    let text = format!(
        "{received} of {sent} bytes, {:.0} Mbit/s, {again} segments sent again",
        rate / 1e6
    );
    // What is on its way when the sender has done its part, its socket's buffer full, is not counted any more.
    Check::new(name, sent >= BYTES && received >= BYTES / 2, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_must_have_come_to_its_end() {
        let said = |received: u64| {
            format!(
                r#"{{"end":{{"sum_sent":{{"bytes":{BYTES}}},"sum_received":{{"bytes":{received},"bits_per_second":1e6}}}}}}"#
            )
        };
        assert!(verdict("tcp", &said(BYTES)).ok);
        assert!(!verdict("tcp", &said(BYTES / 3)).ok);
        assert!(!verdict("tcp", r#"{"error":"unable to connect"}"#).ok);
        assert!(!verdict("tcp", "").ok);
    }
}
