//! What is asked of the machine, so that tests can give other answers.

use barline::bus::scan::{Found, Roots, scan};
use barline_netif::{Facts, all, program_of, zero_copy};
use nix::unistd::{AccessFlags, access};
use std::io;
use std::path::{Path, PathBuf};

/// Capabilities (linux/capability.h).
pub const NET_ADMIN: u32 = 12;
pub const NET_RAW: u32 = 13;
pub const SYS_ADMIN: u32 = 21;
pub const BPF: u32 = 39;

/// An interface of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Netdev {
    pub facts: Facts,
    /// Mbit/s, where its driver says.
    pub speed: Option<u32>,
    /// The kernel's driver, and where on its bus the device is.
    pub driver: Option<(String, String)>,
    /// The XDP program that it has.
    pub program: Option<u32>,
    /// Whether its driver has AF_XDP's zero copy, where the kernel says.
    pub zero_copy: Option<bool>,
}

/// This machine, as far as ports are concerned.
#[derive(Debug)]
pub struct Machine {
    pub roots: Roots,
    /// What this process may do.
    pub capabilities: u64,
    /// Interfaces of this process's network namespace.
    pub netdevs: io::Result<Vec<Netdev>>,
    /// The kernel has AF_XDP sockets.
    pub xdp: bool,
}

impl Machine {
    /// The one at hand.
    pub fn this() -> Self {
        let roots = Roots::default();
        Self {
            capabilities: capabilities(&roots),
            netdevs: netdevs(),
            xdp: has_xdp(&roots),
            roots,
        }
    }

    pub fn may(&self, capability: u32) -> bool {
        self.capabilities >> capability & 1 != 0
    }

    /// PCI functions; none where there is no PCI.
    pub fn functions(&self) -> Vec<Found> {
        scan(&self.roots).unwrap_or_default()
    }

    /// A device node, and whether this process may read and write it; none where there is no such node.
    pub fn node(&self, name: &str) -> Option<(PathBuf, bool)> {
        let path = self.roots.dev.join(name);
        let usable = may_use(&path);
        path.exists().then_some((path, usable))
    }
}

fn may_use(path: &Path) -> bool {
    access(path, AccessFlags::R_OK | AccessFlags::W_OK).is_ok()
}

/// CapEff of proc(5).
fn capabilities(roots: &Roots) -> u64 {
    let status = std::fs::read_to_string(roots.proc.join("self/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

/// The protocols of proc(5); a kernel that does not list them is taken to have it.
fn has_xdp(roots: &Roots) -> bool {
    let protocols = std::fs::read_to_string(roots.proc.join("net/protocols"));
    protocols.map_or(true, |text| text.lines().any(|line| line.starts_with("XDP ")))
}

fn netdevs() -> io::Result<Vec<Netdev>> {
    let interfaces = all()?;
    Ok(interfaces
        .iter()
        .filter_map(|interface| {
            Some(Netdev {
                // One that went away between the two questions is left out.
                facts: interface.facts().ok()?,
                speed: interface.speed(),
                driver: interface.driver(),
                program: program_of(interface.index().unsigned_abs()).ok().flatten(),
                zero_copy: zero_copy(interface.index().unsigned_abs()).ok().flatten(),
            })
        })
        .collect())
}
