//! Cables with several queues: QEMU gives a NIC more than one only on a tap interface of the host. A bridge joins it
//! with another tap, and that one a hub inside QEMU with the wire. It takes an administrator of the network.

use super::qemu::{Cable, Nic};
use crate::cmd;
use crate::host::Missing;
use anyhow::Result;
use std::path::Path;
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};

/// Cables named so far.
static MADE: AtomicU32 = AtomicU32::new(0);

/// Interfaces of one cable; removed with it.
pub struct Taps {
    nic: String,
    wire: String,
    bridge: String,
}

/// Names of interfaces of these kinds that nobody has.
pub fn fresh<const N: usize>(kinds: [&str; N]) -> [String; N] {
    // Guests run side by side; 15 letters at most.
    let number = MADE.fetch_add(1, Ordering::Relaxed) % 0x1000;
    kinds.map(|kind| format!("brl{kind}{number:x}-{:x}", process::id() % 0x10_0000))
}

impl Taps {
    /// Makes the interfaces of a NIC.
    pub fn new() -> Result<Self> {
        if !Path::new("/dev/net/tun").exists() {
            return Err(Missing(vec!["tap interfaces: modprobe tun".to_owned()]).into());
        }
        let [nic, wire, bridge] = fresh(["n", "w", "b"]);
        let taps = Self { nic, wire, bridge };
        let made = taps.make();
        made.map_err(|error| Missing(vec![format!("the right to make tap interfaces ({error:#})")]))?;
        Ok(taps)
    }

    fn make(&self) -> Result<()> {
        ip(&["tuntap", "add", &self.nic, "mode", "tap", "multi_queue"])?;
        ip(&["tuntap", "add", &self.wire, "mode", "tap"])?;
        ip(&[
            "link",
            "add",
            &self.bridge,
            "type",
            "bridge",
            "mcast_snooping",
            "0",
        ])?;
        for tap in [&self.nic, &self.wire] {
            ip(&["link", "set", tap, "master", &self.bridge])?;
        }
        for name in [&self.nic, &self.wire, &self.bridge] {
            // The host's own chatter is no part of the test.
            std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1").ok();
            ip(&["link", "set", name, "up"])?;
        }
        Ok(())
    }

    /// Puts the interfaces between a NIC with so many queues and its wire: the NIC's cable, and what else QEMU has to be told.
    pub fn join(&self, nic: &mut Nic, index: usize, queues: u32) -> Vec<String> {
        let cable = Cable::Tap {
            name: self.nic.clone(),
            queues,
        };
        let Cable::Wire { qemu, host } = std::mem::replace(&mut nic.cable, cable) else {
            return Vec::new();
        };
        let hub = 100 + index;
        let wire = format!(
            "dgram,id=wire{index},local.type=unix,local.path={},remote.type=unix,remote.path={}",
            qemu.display(),
            host.display()
        );
        [
            wire,
            format!("hubport,id=wireport{index},hubid={hub},netdev=wire{index}"),
            format!("tap,id=far{index},ifname={},script=no,downscript=no", self.wire),
            format!("hubport,id=farport{index},hubid={hub},netdev=far{index}"),
        ]
        .into_iter()
        .flat_map(|netdev| ["-netdev".to_owned(), netdev])
        .collect()
    }
}

impl Drop for Taps {
    fn drop(&mut self) {
        for name in [&self.bridge, &self.nic, &self.wire] {
            // Those that were not made cannot be removed.
            ip(&["link", "del", name]).ok();
        }
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    cmd::output(Command::new("ip").args(arguments)).map(|_| ())
}
