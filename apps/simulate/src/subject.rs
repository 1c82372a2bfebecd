//! Drivers that have a model, and what a plan must know of each.

use barline::bus::PciFunction;
use barline::bus::local::LocalFunction;
use barline::mem::LocalDomain;
use barline_models::e82576::{E82576, Misuse, Options, RingPlace};
use barline_sim::{Clock, Counts, Fault, Kick, Ledger, Mode, Peer, SimDevice};
use std::fmt::Debug;
use std::sync::Arc;

/// What a receive descriptor says to whoever reads it by the data sheet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// Nothing yet.
    Pending,
    /// A buffer is full, and its frame goes on in the next.
    Part,
    /// A frame ends here.
    End {
        /// Bytes in the last buffer.
        len: u32,
        /// The frame is damaged.
        damaged: bool,
    },
}

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

/// The device side of a port, to look at.
pub trait Device: Send + Sync + Debug {
    /// Frames.
    fn ledger(&self) -> Ledger;
    /// Accesses.
    fn counts(&self) -> Counts;
    /// What the driver did and must not do; `lied` says that the device itself has written where it must not.
    fn complaints(&self, lied: bool) -> Vec<String>;
    /// Whether it was removed.
    fn is_gone(&self) -> bool;
    /// Whether it may reach memory.
    fn is_master(&self) -> bool;
    /// A receive queue's ring, as the driver set it up.
    fn receive_ring(&self, queue: usize) -> Option<RingPlace>;
    /// From now on it moves frames by [`Device::step`] alone.
    fn hold(&self);
    /// Moves up to so many frames each way.
    fn step(&self, frames: u32);
    /// Plugs the cable in or pulls it.
    fn set_link(&self, up: bool);
    /// There may be something to do.
    fn kick(&self);
}

/// A device: as a driver takes it over, and as it is looked at.
pub type Built = (Arc<dyn PciFunction>, Arc<dyn Device>);

/// A driver on its model.
#[derive(Debug)]
pub struct Subject {
    /// Its name, that of the driver.
    pub name: &'static str,
    /// Builds a device.
    pub build: fn(Parts) -> Built,
    /// Reads a write-back.
    pub completion: fn([u64; 2]) -> Completion,
    /// Registers that a driver waits for.
    pub stuck: &'static [Stuck],
    /// Bits of a write-back's second word that may be wrong: length, end of packet, errors, done.
    pub lies: &'static [u64],
    /// Most queues that it is tried with.
    pub queues: u16,
}

/// All of them. A driver that gets a model gets a line here.
pub const SUBJECTS: &[Subject] = &[Subject {
    name: "igb",
    build: build_82576,
    completion: completion_82576,
    stuck: STUCK_82576,
    lies: LIES_82576,
    queues: 4,
}];

fn build_82576(parts: Parts) -> Built {
    let options = Options {
        mac: mac(parts.index),
        peer: parts.peer,
        domain: parts.domain.clone(),
        mode: Mode::Sync,
    };
    let device = E82576::faulty(options, parts.clock, parts.faults);
    let address = barline::pci::PciAddress {
        segment: 0xffff,
        bus: 1,
        device: parts.index & 0x1f,
        function: 0,
    };
    let function = LocalFunction::new(device.clone(), address, parts.domain);
    (Arc::new(function), Arc::new(On82576(device)))
}

/// The address of a device.
pub fn mac(index: u8) -> [u8; 6] {
    [0x02, 0, 0, 0, 1, index]
}

/// Advanced receive write-back, second word (82576 data sheet 7.1.5.2): DD, EOP; RXE; length.
const DD: u64 = 1 << 0;
const EOP: u64 = 1 << 1;
const RXE: u64 = 1 << 31;
const L4E_IPE: u64 = 3 << 29;

fn completion_82576(words: [u64; 2]) -> Completion {
    match words[1] {
        word if word & DD == 0 => Completion::Pending,
        word if word & EOP == 0 => Completion::Part,
        word => Completion::End {
            len: (word >> 32) as u32 & 0xffff,
            damaged: word & RXE != 0,
        },
    }
}

const LIES_82576: &[u64] = &[DD, EOP, RXE, L4E_IPE, 0xffff << 32, 1 << 43, 0xffff << 48];

/// By 8.2 to 8.12: CTRL.RST does not end; EEC never says that the EEPROM was read; GIO master stays on; no link;
/// MDIC is never ready; the semaphores are never free, or never taken; queues do not come on.
const STUCK_82576: &[Stuck] = &[
    stuck(0x0000, 1 << 26, 0),
    stuck(0x0010, 0, 1 << 9),
    stuck(0x0008, 1 << 19, 0),
    stuck(0x0008, 0, 1 << 1),
    stuck(0x0020, 0, 1 << 28),
    stuck(0x5B50, 0, 1 << 1),
    stuck(0x5B5C, 0x7 << 16, 0),
    stuck(0xC028, 0, 1 << 25),
    stuck(0xE028, 0, 1 << 25),
    stuck(0xC068, 0, 1 << 25),
];

const fn stuck(offset: u32, set: u32, clear: u32) -> Stuck {
    Stuck {
        bar: 0,
        offset,
        set,
        clear,
    }
}

#[derive(Debug)]
struct On82576(Arc<SimDevice<E82576>>);

impl Device for On82576 {
    fn ledger(&self) -> Ledger {
        self.0.ledger()
    }

    fn counts(&self) -> Counts {
        self.0.counts()
    }

    fn complaints(&self, lied: bool) -> Vec<String> {
        self.0.model(|model| {
            // What the device wrote over a descriptor that it had not read yet.
            let caused = |what: &Misuse| {
                let own = matches!(
                    what,
                    Misuse::DoneNotCleared(_) | Misuse::TransmitType(_) | Misuse::EmptyTransmit(_)
                );
                lied && own
            };
            let misuses = model.misuses().iter().filter(|(_, what)| !caused(what));
            let unknown = model.unknown_registers().iter();
            misuses
                .map(|(queue, what)| format!("queue {queue}: {what:?}"))
                .chain(unknown.map(|touch| format!("no such register: {touch:?}")))
                .collect()
        })
    }

    fn is_gone(&self) -> bool {
        self.0.is_gone()
    }

    fn is_master(&self) -> bool {
        self.0.is_master()
    }

    fn receive_ring(&self, queue: usize) -> Option<RingPlace> {
        self.0.model(|model| model.receive_ring(queue))
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
        self.0.kick();
    }
}
