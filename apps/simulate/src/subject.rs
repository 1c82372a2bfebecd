//! Drivers that have a model, and what a plan must know of each.

mod e82576;
mod virtio;

use crate::books::Books;
use crate::oracle::Oracle;
use crate::plan::PortPlan;
use anyhow::Result;
use barline::bus::PciFunction;
use barline::mem::LocalDomain;
use barline::pci::PciAddress;
use barline_sim::{Clock, Counts, Fault, Ledger, Peer};
use std::fmt::Debug;
use std::sync::Arc;

/// A register that can be stuck.
#[derive(Clone, Copy, Debug)]
pub struct Stuck {
    /// Region.
    pub bar: u8,
    /// Offset in bytes.
    pub offset: u32,
    /// Bits that stay 1.
    pub set: u32,
    /// Bits that stay 0.
    pub clear: u32,
}

/// What a device is built with.
#[derive(Debug)]
pub struct Parts {
    /// Its number.
    pub index: u8,
    /// The other end of its cable.
    pub peer: Box<dyn Peer>,
    /// The memory that it reaches.
    pub domain: Arc<LocalDomain>,
    /// Its time.
    pub clock: Arc<Clock>,
    /// What goes wrong with it.
    pub faults: Vec<Fault>,
}

impl Parts {
    /// Its address on the bus.
    fn address(&self) -> PciAddress {
        PciAddress {
            segment: 0xffff,
            bus: 1,
            device: self.index & 0x1f,
            function: 0,
        }
    }
}

/// The device side of a port, to look at.
pub trait Device: Send + Sync + Debug {
    /// Frames.
    fn ledger(&self) -> Ledger;
    /// Packets that it took in this start and dropped instead of sending them.
    fn unsent(&self) -> u64 {
        0
    }
    /// Accesses.
    fn counts(&self) -> Counts;
    /// What the driver did and must not do. What it did because of what was planned does not count; `mixed`: a device of the
    /// plan may write to buffers that are other devices' by now ([`PortPlan::mixes`]).
    fn complaints(&self, plan: &PortPlan, mixed: bool) -> Vec<String>;
    /// Whether it was removed.
    fn is_gone(&self) -> bool;
    /// Whether it is there and goes on: that it has not given up.
    fn works(&self) -> bool {
        !self.is_gone()
    }
    /// Whether it may reach memory.
    fn is_master(&self) -> bool;
    /// A second reader of a receive queue, which has just been started.
    fn oracle(&self, queue: usize) -> Box<dyn Oracle>;
    /// From now on it moves frames by [`Device::step`] alone.
    fn hold(&self);
    /// Moves up to so many frames each way.
    fn step(&self, frames: u32);
    /// Plugs the cable in or pulls it.
    fn set_link(&self, up: bool);
    /// There may be something to do.
    fn kick(&self);
}

/// What every model's device does alike.
macro_rules! same {
    () => {
        fn ledger(&self) -> barline_sim::Ledger {
            self.0.ledger()
        }

        fn counts(&self) -> barline_sim::Counts {
            self.0.counts()
        }

        fn is_gone(&self) -> bool {
            self.0.is_gone()
        }

        fn is_master(&self) -> bool {
            self.0.is_master()
        }

        fn hold(&self) {
            self.0.hold();
        }

        fn step(&self, frames: u32) {
            self.0.step(frames);
        }

        fn set_link(&self, up: bool) {
            self.0.set_link(up);
        }

        fn kick(&self) {
            barline_sim::Kick::kick(&*self.0);
        }
    };
}
use same;

/// A device: as a driver takes it over, and as it is looked at.
pub type Built = (Arc<dyn PciFunction>, Arc<dyn Device>);

/// A driver on its model.
#[derive(Debug)]
pub struct Subject {
    /// What it is called.
    pub name: &'static str,
    /// Its driver.
    pub driver: &'static str,
    /// The driver's options.
    pub options: &'static str,
    /// Builds a device.
    pub build: fn(Parts) -> Built,
    /// Registers that a driver waits for, or goes by.
    pub stuck: &'static [Stuck],
    /// Bits of a write-back's two words that may be wrong.
    pub lies: &'static [[u64; 2]],
    /// Whether a write-back names a buffer, so that a lie can give one back that the device still holds.
    pub names_buffers: bool,
    /// Whether it is set up by commands that it fetches from memory.
    pub has_commands: bool,
    /// Accesses to registers until a port is up, roughly.
    pub accesses: u64,
    /// Most queues that it is tried with.
    pub queues: u16,
    /// Compares the device's counters, as its driver shows them, with what it did: the table of counters.md.
    pub counters: fn(&Books<'_>) -> Result<()>,
}

/// All of them. A driver that gets a model gets a line here.
pub const SUBJECTS: &[Subject] = &[
    e82576::SUBJECT,
    virtio::SPLIT,
    virtio::PACKED,
    virtio::SPLIT_IN_ORDER,
    virtio::PACKED_IN_ORDER,
];

/// The address of a device.
pub fn mac(index: u8) -> [u8; 6] {
    [0x02, 0, 0, 0, 1, index]
}

const fn stuck(bar: u8, offset: u32, set: u32, clear: u32) -> Stuck {
    Stuck {
        bar,
        offset,
        set,
        clear,
    }
}
