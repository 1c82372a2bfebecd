//! The work that is measured, by name.

mod driver;
mod in_flight;
mod ports;
mod rings;
pub mod traffic;

use anyhow::{Result, bail};
use barline::pool::Pool;
use barline::port::Port;
use barline_modes::Mode;
use std::fmt;

pub use ports::PortKind;

/// Packets or objects that are moved at a time, where nothing else is asked for.
pub const BURST: usize = 32;

/// A loop that can be run for a number of rounds. A round is one burst, or one on each of a core's lanes.
pub trait Work: Send + fmt::Debug {
    /// Runs `n` rounds; returns how many packets or objects came through.
    fn rounds(&mut self, n: u32) -> u64;

    /// Counts of [`crate::tsc::now`] since the last call that are not its own: a device was played.
    fn foreign(&mut self) -> u64 {
        0
    }
}

/// How much there is of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of a packet, without FCS.
    pub size: usize,
    /// Packets or objects that are moved at a time.
    pub burst: usize,
    /// Slots of a ring, a power of two.
    pub ring: usize,
    /// Packets of a core's pool.
    pub packets: usize,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            size: 64,
            burst: BURST,
            ring: 1024,
            packets: 8192,
        }
    }
}

/// Work made of a function that does one round. Aligned, because cores that write to one cache line would measure
/// each other.
#[repr(align(128))]
pub struct Rounds<F>(pub F);

impl<F: FnMut() -> u64 + Send> Work for Rounds<F> {
    fn rounds(&mut self, n: u32) -> u64 {
        (0..n).map(|_| (self.0)()).sum()
    }
}

impl<F> fmt::Debug for Rounds<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rounds")
    }
}

/// What a comparison can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Two ports, packets forwarded both ways in a mode, all cores alike.
    Forward(Mode, PortKind),
    /// The traffic generator on null ports, all cores alike.
    Traffic(traffic::Kind),
    /// A ring with one producer and one consumer, both on one core.
    Spsc,
    /// The same, on a core each.
    SpscTwoCores,
    /// A ring that any number of producers and consumers may use, both sides on one core.
    Mpmc,
    /// Bare buffers out of the core's cache and back.
    Pool,
    /// Packets of 64 bytes out of the core's cache and back.
    AllocFree,
    /// Packets of 64 bytes out of one core's cache and into another's, on one thread.
    AllocHereFreeThere,
    /// The 82576 driver's receive and transmit, all cores alike, without the device.
    Driver,
    /// Packets that are written, wait for as long as the pool allows, and are read and freed; all cores alike.
    InFlight,
}

const NAMES: &[(&str, Workload)] = &[
    ("null-io", Workload::Forward(Mode::Io, PortKind::Null)),
    ("null-mac", Workload::Forward(Mode::Mac, PortKind::Null)),
    ("null-macswap", Workload::Forward(Mode::MacSwap, PortKind::Null)),
    ("null-rxonly", Workload::Forward(Mode::RxOnly, PortKind::Null)),
    ("null-txonly", Workload::Forward(Mode::TxOnly, PortKind::Null)),
    ("l2fwd-null", Workload::Forward(Mode::Mac, PortKind::Null)),
    ("l2fwd-igb", Workload::Forward(Mode::Mac, PortKind::SimulatedIgb)),
    ("pktgen-txonly", Workload::Traffic(traffic::Kind::One)),
    ("pktgen-marked", Workload::Traffic(traffic::Kind::Marked)),
    ("pktgen-flowgen", Workload::Traffic(traffic::Kind::Fields)),
    ("spsc-32", Workload::Spsc),
    ("spsc-32-two-cores", Workload::SpscTwoCores),
    ("mpmc-32", Workload::Mpmc),
    ("pool-32", Workload::Pool),
    ("packet-alloc-free-32", Workload::AllocFree),
    ("packet-two-caches-32", Workload::AllocHereFreeThere),
    ("igb-driver", Workload::Driver),
    ("in-flight", Workload::InFlight),
];

impl Workload {
    /// Every name there is.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(name, _)| *name)
    }

    /// The workload of that name.
    pub fn named(name: &str) -> Option<Self> {
        NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, work)| *work)
    }

    /// Whether its cores work on the same packets, one after another, instead of each on its own.
    pub fn is_relay(self) -> bool {
        self == Self::SpscTwoCores
    }
}

/// Work that is ready to run, and what has to stay while it does.
#[derive(Debug)]
pub struct Setup {
    /// One piece a core.
    pub works: Vec<Box<dyn Work>>,
    /// The ports whose queues the work has.
    pub ports: Vec<Box<dyn Port>>,
    /// Where its packets come from.
    pub pool: Option<Pool>,
}

/// Makes the work for so many cores.
///
/// # Errors
/// No memory, a shape that a port or ring cannot have, or a number of cores that the work cannot use.
pub fn setup(workload: Workload, cores: usize, shape: Shape) -> Result<Setup> {
    let wanted = if workload.is_relay() { 2 } else { 1 };
    match workload {
        Workload::Forward(mode, kind) => ports::forward(mode, kind, cores, shape),
        Workload::Traffic(kind) => traffic::sending(kind, cores, shape),
        Workload::Driver => driver::driver(cores, shape),
        Workload::InFlight => in_flight::in_flight(cores, shape),
        _ if cores != wanted => bail!("this takes {wanted} cores, not {cores}"),
        Workload::Spsc => rings::spsc(shape),
        Workload::SpscTwoCores => rings::spsc_two_cores(shape),
        Workload::Mpmc => rings::mpmc(shape),
        Workload::Pool => rings::slots(shape),
        Workload::AllocFree => rings::alloc_free(shape),
        Workload::AllocHereFreeThere => rings::alloc_here_free_there(shape),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_runs_and_leaves_its_pool_whole() {
        for name in Workload::names() {
            let workload = Workload::named(name).unwrap();
            let cores = if workload.is_relay() { 2 } else { 1 };
            let Setup {
                mut works,
                ports,
                pool,
            } = setup(workload, cores, Shape::default()).unwrap();
            let done: u64 = works.iter_mut().map(|work| work.rounds(4)).sum();
            assert!(done >= 4 * BURST as u64, "{name}: {done}");
            drop(works);
            drop(ports);
            let whole = pool.is_none_or(|pool| pool.available() == pool.packets());
            assert!(whole, "{name} keeps packets");
        }
    }

    #[test]
    fn names_are_unique_and_known() {
        let names: Vec<_> = Workload::names().collect();
        for (at, name) in names.iter().enumerate() {
            assert!(!names[..at].contains(name), "{name} twice");
        }
        assert_eq!(Workload::named("nothing"), None);
    }
}
