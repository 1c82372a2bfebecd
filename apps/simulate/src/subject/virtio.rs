//! The virtio network device.

use super::{Built, Device, Parts, Stuck, Subject, mac, same, stuck};
use crate::books::Books;
use crate::oracle::Oracle;
use crate::oracle::used::Used;
use crate::plan::PortPlan;
use anyhow::{Result, ensure};
use barline::bus::local::LocalFunction;
use barline_models::virtio::{Misuse, Offer, Options, RssOffer, VirtioNet};
use barline_sim::{Fate, Fault, Mode, SimDevice};
use std::sync::Arc;

/// Split rings, completions in any order.
pub(super) const SPLIT: Subject = Subject {
    name: "virtio split",
    driver: "virtio",
    options: "packed=off,in-order=off",
    build: |parts| build(parts, false, false),
    stuck: STUCK,
    lies: LIES,
    names_buffers: true,
    has_commands: true,
    accesses: 120,
    queues: 4,
    counters,
};

/// Packed rings, likewise.
pub(super) const PACKED: Subject = Subject {
    name: "virtio packed",
    options: "in-order=off",
    build: |parts| build(parts, true, false),
    ..SPLIT
};

/// Split rings, completions in order and in batches.
pub(super) const SPLIT_IN_ORDER: Subject = Subject {
    name: "virtio split in order",
    options: "packed=off",
    build: |parts| build(parts, false, true),
    ..SPLIT
};

/// Packed rings, likewise, and notifications at a position.
pub(super) const PACKED_IN_ORDER: Subject = Subject {
    name: "virtio packed in order",
    options: "event-idx=on",
    build: |parts| build(parts, true, true),
    ..SPLIT
};

fn build(parts: Parts, packed: bool, in_order: bool) -> Built {
    let address = parts.address();
    let options = Options {
        mac: mac(parts.index),
        peer: parts.peer,
        domain: parts.domain.clone(),
        mode: Mode::Sync,
        offer: Offer {
            pairs: 4,
            rss: parts.index.is_multiple_of(2).then(RssOffer::default),
            vectors: 5,
            statistics: true,
            backwards: true,
            batch: 4,
            ..Offer::default()
        },
    };
    let device = VirtioNet::faulty(options, parts.clock, parts.faults);
    let function = LocalFunction::new(device.clone(), address, parts.domain);
    (Arc::new(function), Arc::new(On(device, (packed, in_order))))
}

/// As the model words it: the id; the index; flags of a packed descriptor; the length.
const LIES: &[[u64; 2]] = &[
    [0x3f, 0],
    [0xffff_ffff, 0],
    [0x1f << 48, 0],
    [0, 0xffff],
    [0, 0xffff << 32],
    [0, 0xffff_ffff << 32],
    [0, 1 << 43],
];

/// By 4.1.4.3 and 5.1.4: a reset that does not end; features that are not taken, or not there; a device that needs a
/// reset, or is not on; queues without positions; no queues; notification registers far outside; a vector refused; a
/// configuration that never stands still; no link; more pairs than there can be.
const STUCK: &[Stuck] = &[
    stuck(4, 0x1014, 1 << 2, 0),
    stuck(4, 0x1014, 0, 1 << 3),
    stuck(4, 0x1004, 0, !0),
    stuck(4, 0x1014, 1 << 6, 0),
    stuck(4, 0x1014, 0, 1 << 2),
    stuck(4, 0x1018, 0, 0xffff),
    stuck(4, 0x1012, 0, 0xffff),
    stuck(4, 0x101E, 0xffff, 0),
    stuck(4, 0x101A, 0xffff, 0),
    stuck(4, 0x1015, 1, 0),
    stuck(4, 0x0006, 0, 1),
    stuck(4, 0x0008, 0xffff, 0),
];

#[derive(Debug)]
struct On(Arc<SimDevice<VirtioNet>>, (bool, bool));

/// `DEVICE_NEEDS_RESET` (2.1).
const NEEDS_RESET: u8 = 64;
/// More pairs than the device has.
const MOST_PAIRS: u16 = 16;

impl Device for On {
    same!();

    fn unsent(&self) -> u64 {
        let drops = |model: &VirtioNet| {
            let queues = (0..MOST_PAIRS).filter_map(|pair| model.queue_stats(2 * pair + 1));
            queues.map(|stats| stats.drops).sum()
        };
        self.0.model(drops)
    }

    fn complaints(&self, plan: &PortPlan, mixed: bool) -> Vec<String> {
        let stuck = plan.has(|fault| matches!(fault, Fault::Stuck { .. }));
        // A driver goes by registers that lie.
        let caused = |what: &Misuse| {
            let led = matches!(
                what,
                Misuse::StatusCleared(..)
                    | Misuse::StatusOrder(..)
                    | Misuse::NoQueue
                    | Misuse::QueueEarly
                    | Misuse::NotifiedEarly
                    | Misuse::NotifiedDisabled
                    | Misuse::Lacks(_)
            );
            // The header of a received frame, written over that of one that is being sent.
            stuck && led || mixed && matches!(what, Misuse::TxBuffers(_))
        };
        self.0.model(|model| {
            let misuses = model.misuses().iter().filter(|(_, what)| !caused(what));
            misuses
                .map(|(queue, what)| format!("queue {queue:?}: {what:?}"))
                .collect()
        })
    }

    fn works(&self) -> bool {
        !self.0.is_gone() && self.0.model(|model| model.status() & NEEDS_RESET == 0)
    }

    fn oracle(&self, queue: usize) -> Box<dyn Oracle> {
        Box::new(Used::new(&self.0, queue, self.1))
    }
}

/// What it drops it counts by queues; what is for others it does not count.
fn counters(books: &Books<'_>) -> Result<()> {
    // Counters are asked for on the control queue: not of a device that has given up or lies about being there.
    if !books.device.works() || books.plan.has(|fault| matches!(fault, Fault::Stuck { .. })) {
        return Ok(());
    }
    let sent = books.asked.sent - books.before.sent..=books.sent();
    let others = [Fate::Damaged, Fate::Short, Fate::Long];
    let passed = [Fate::Delivered, Fate::NoDescriptor];
    for (name, wanted) in [
        ("nic_tx_packets", sent),
        ("nic_tx_drops", 0..=books.device.unsent()),
        ("nic_rx_queue_drops", books.told(&[Fate::NoDescriptor])),
        ("nic_rx_other_drops", books.told(&others)),
        ("nic_rx_packets", books.told(&passed)),
    ] {
        let is = books.value(name);
        ensure!(wanted.contains(&is), "{name} is {is}, {wanted:?} it was");
    }
    Ok(())
}
