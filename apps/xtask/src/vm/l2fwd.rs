//! Our forwarder in a guest: frames through it, and how it ends.

use super::frames::Frame;
use super::instructions;
use super::program::Program;
use super::qemu::{Cable, Check, Nic, Vm};
use super::scenario::Bed;
use super::taps::Taps;
use super::traffic::{COUNT, Lines};
use crate::kmod::build::{self as kmod, Options};
use crate::paths::Paths;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// One way to run the forwarder and to end it.
#[derive(Clone, Copy)]
pub struct Variant {
    /// QEMU's device, with its own options if any.
    pub model: &'static str,
    /// Options of our driver behind each port, as in `,packed=off`.
    pub options: &'static str,
    /// Queues of each NIC where there are several, on tap interfaces of the host; a processor each.
    pub taps: u32,
    /// Name of the signal that ends it.
    pub signal: &'static str,
    /// Arguments besides the ports.
    pub arguments: &'static str,
    /// Through our own kernel module instead of vfio-pci, as an ordinary user.
    pub kmod: bool,
    /// Times that the machine sleeps (the kernel's own test of it), with frames before and after.
    pub naps: u32,
}

impl Variant {
    /// Two igb, ended by SIGINT.
    pub const PLAIN: Self = Self {
        model: "igb",
        options: "",
        taps: 0,
        signal: "INT",
        arguments: "",
        kmod: false,
        naps: 0,
    };
}

/// Forwards frames both ways, ends the forwarder, and checks that it leaves the machine as it was.
pub fn run(bed: &Bed<'_>, variant: &Variant) -> Result<Vec<Check>> {
    let mut lines = Lines::new()?;
    // The host's tap moves flows between its queues as it learns where they are sent from.
    let taps_used = variant.taps > 0;
    lines.any_order = taps_used;
    let mut vm = Vm::new(bed.kernel.clone(), include_str!("guest/l2fwd.sh"));
    vm.nics = lines.nics(variant.model);
    let taps = match taps_used {
        true => (0..vm.nics.len())
            .map(|_| Taps::new())
            .collect::<Result<Vec<_>>>()?,
        false => Vec::new(),
    };
    let notified = bed.dir.join("notified.log");
    if taps_used {
        vm.smp = vm.smp.max(variant.taps);
        let trace = [
            "-trace",
            "enable=virtio_queue_notify",
            "-D",
            &notified.display().to_string(),
        ];
        vm.arguments.extend(trace.map(str::to_owned));
    }
    for (index, (tap, nic)) in taps.iter().zip(&mut vm.nics).enumerate() {
        vm.arguments.extend(tap.join(nic, index, variant.taps));
    }
    if variant.model.starts_with("virtio") {
        vm.modules.extend(["virtio_pci", "virtio_net"].map(str::to_owned));
    }
    vm.payload = vec![build(bed.paths)?];
    vm.settings = vec![
        ("OPTIONS".to_owned(), variant.options.to_owned()),
        ("SIGNAL".to_owned(), variant.signal.to_owned()),
        ("ARGUMENTS".to_owned(), variant.arguments.to_owned()),
    ];
    if variant.kmod {
        vm.payload
            .push(kmod::module(bed.paths, &bed.kernel, Options::default())?);
        let user = [("BUS", "kmod"), ("RUN_AS", "1000")];
        vm.settings
            .extend(user.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    let mut guest = vm.start(bed.tools, &bed.dir)?;
    let mut checks = Vec::new();
    // The guest says what is wrong when the forwarder did not start.
    let started = guest.wait_for("READY")? == "started";
    if started {
        if variant.model.starts_with("virtio") {
            let status = instructions::features(&guest)?;
            fs::write(bed.dir.join("features.txt"), &status).context("cannot write features.txt")?;
            checks.push(features_check(variant, &status));
        }
        checks.extend(lines.run(bed, Nic::mac, rewritten)?);
        for nap in 1..=variant.naps {
            guest.tell("sleep")?;
            guest.wait_for("AWAKE")?;
            let after = lines.run(bed, Nic::mac, rewritten)?.into_iter();
            checks.extend(after.map(|check| Check {
                name: format!("{}-after-sleep-{nap}", check.name),
                ..check
            }));
        }
    }
    guest.tell("stop")?;
    let summary = guest.wait_for("SUMMARY")?;
    if started && variant.signal != "KILL" {
        checks.extend(summary_checks(&summary, 1 + variant.naps));
    }
    guest.wait_for("DONE")?;
    checks.extend(guest.finish()?);
    if taps_used {
        checks.push(pairs_check(&notified, variant.taps));
    }
    Ok(checks)
}

/// What a scenario is about was agreed upon, in QEMU's words (`info virtio-status`).
fn features_check(variant: &Variant, status: &str) -> Check {
    let agreed = status.split_once("Guest features:").map_or("", |(_, rest)| {
        rest.split("Host features:").next().unwrap_or_default()
    });
    let wanted = [
        (variant.model, "packed=on", "VIRTIO_F_RING_PACKED"),
        (variant.model, "in_order=on", "VIRTIO_F_IN_ORDER"),
        (variant.options, "mrg=on", "VIRTIO_NET_F_MRG_RXBUF"),
        (variant.options, "event-idx=on", "VIRTIO_RING_F_EVENT_IDX"),
    ];
    let wanted = wanted
        .iter()
        .filter(|(options, option, _)| options.contains(option));
    let names: Vec<&str> = wanted.map(|(_, _, name)| *name).collect();
    let text = format!("agreed upon, of what it is about: {}", names.join(", "));
    Check::new("features", names.iter().all(|name| agreed.contains(name)), text)
}

/// All pairs of queues were sent from: QEMU was told of transmit queues 1, 3 and so on.
fn pairs_check(notified: &Path, pairs: u32) -> Check {
    let log = fs::read_to_string(notified).unwrap_or_default();
    let count = |pair: u32| {
        let queue = format!(" n {} ", pair * 2 + 1);
        log.lines().filter(|line| line.contains(&queue)).count()
    };
    let counts: Vec<usize> = (0..pairs).map(count).collect();
    fs::remove_file(notified).ok();
    let text = format!("notifications of the transmit queues by pair: {counts:?}");
    // The few that come with a start or an end do not count.
    Check::new("all-pairs", counts.iter().all(|count| *count > 20), text)
}

/// What the forwarder says where something is missing; `iommu` off is a machine of its own.
pub fn errors(bed: &Bed<'_>, iommu: bool) -> Result<Vec<Check>> {
    let mut vm = Vm::new(bed.kernel.clone(), include_str!("guest/errors.sh"));
    vm.nics = vec![
        Nic {
            model: "igb".into(),
            cable: Cable::Hub(1)
        };
        2
    ];
    vm.modules.push("e1000e".to_owned());
    vm.payload = vec![build(bed.paths)?];
    vm.settings = vec![("IOMMU".to_owned(), if iommu { "on" } else { "off" }.to_owned())];
    if !iommu {
        vm.append.push("intel_iommu=off".to_owned());
    }
    // Behind a switch without access control services nothing is kept apart: two NICs, one group (0000:05:00.0 and
    // 0000:06:00.0). A NIC that no driver of ours knows (0000:07:00.0). Two virtio devices that go past the IOMMU, of version 1
    // (0000:08:00.0) and transitional (0000:09:00.0).
    vm.arguments = [
        "pcie-root-port,id=rp3,chassis=3,slot=3,addr=3.0,disable-acs=on",
        "x3130-upstream,id=up,bus=rp3",
        "xio3130-downstream,id=dn1,bus=up,chassis=31,slot=31",
        "xio3130-downstream,id=dn2,bus=up,chassis=32,slot=32",
        "igb,bus=dn1,romfile=",
        "igb,bus=dn2,romfile=",
        "pcie-root-port,id=rp4,chassis=4,slot=4,addr=4.0",
        "e1000e,bus=rp4,romfile=",
        "pcie-root-port,id=rp5,chassis=5,slot=5,addr=5.0",
        "virtio-net-pci,bus=rp5,disable-legacy=on,romfile=",
        "pcie-root-port,id=rp6,chassis=6,slot=6,addr=6.0",
        "virtio-net-pci,bus=rp6,disable-legacy=off,romfile=",
    ]
    .iter()
    .flat_map(|device| ["-device".to_owned(), (*device).to_owned()])
    .collect();
    let mut guest = vm.start(bed.tools, &bed.dir)?;
    guest.wait_for("DONE")?;
    guest.finish()
}

/// What layer-2 forwarding makes of a frame: the port that sends it is in both addresses.
pub fn rewritten(frame: &Frame, port: usize) -> Frame {
    let mut out = frame.clone();
    out[..6].copy_from_slice(&[2, 0, 0, 0, 0, port as u8]);
    out[6..12].copy_from_slice(&Nic::mac(port));
    out
}

/// Builds the forwarder for a guest; `BARLINE_L2FWD` names one that is built already.
pub fn build(paths: &Paths) -> Result<PathBuf> {
    match env::var_os("BARLINE_L2FWD").map(PathBuf::from) {
        // Guests find it by its name.
        Some(path) if path.file_name().is_none_or(|name| name != "l2fwd") => {
            bail!(
                "BARLINE_L2FWD is {}: the file must be called l2fwd",
                path.display()
            )
        }
        Some(path) => Ok(path),
        None => Program::L2FWD.build(paths),
    }
}

/// The forwarder's own account after so many runs of frames: every frame is in exactly one number, and all were sent.
pub fn summary_checks(line: &str, runs: u32) -> Vec<Check> {
    let frames = 2 * u64::from(COUNT) * u64::from(runs);
    summary(line, |received, sent| received == frames && sent == frames)
}

/// The same where the kernel sends more than was asked of it, and as fast as it likes.
pub fn account(line: &str, least: u64) -> Vec<Check> {
    summary(line, |received, sent| received >= least && sent >= least)
}

fn summary(line: &str, good: impl Fn(u64, u64) -> bool) -> Vec<Check> {
    let Ok(summary) = serde_json::from_str::<Value>(line) else {
        return vec![Check::new("summary", false, format!("no JSON: {line}"))];
    };
    let number = |name: &str| summary.get(name).and_then(Value::as_u64);
    let dropped: Option<u64> = summary
        .get("dropped")
        .and_then(Value::as_object)
        .and_then(|reasons| reasons.values().map(Value::as_u64).sum::<Option<u64>>());
    let (Some(received), Some(sent), Some(held), Some(dropped)) =
        (number("received"), number("sent"), number("held"), dropped)
    else {
        return vec![Check::new(
            "summary",
            false,
            format!("received, sent, dropped or held is missing: {line}"),
        )];
    };
    let text = format!("received {received}, sent {sent}, dropped {dropped}, held {held}");
    vec![
        Check::new("summary-balance", received == sent + dropped + held, text.clone()),
        Check::new("summary-frames", good(received, sent), text),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_must_balance() {
        let line = |sent: u64| {
            format!(
                r#"{{"type":"summary","seconds":1,"received":20000,"sent":{sent},"dropped":{{"full":0}},"held":0}}"#
            )
        };
        assert!(summary_checks(&line(20_000), 1).iter().all(|check| check.ok));
        assert!(summary_checks(&line(19_999), 1).iter().all(|check| !check.ok));
        assert!(!summary_checks("none", 1)[0].ok);
        assert!(!summary_checks("{}", 1)[0].ok);
    }

    #[test]
    fn addresses_name_the_port_that_sends() {
        let out = rewritten(&vec![9; 60], 1);
        assert_eq!(out[..12], [2, 0, 0, 0, 0, 1, 0x52, 0x54, 0, 0, 0, 2]);
        assert_eq!(out[12..], [9; 48]);
    }
}
