//! The 82576.

use super::{Built, Device, Parts, Stuck, Subject, mac, same, stuck};
use crate::books::Books;
use crate::oracle::Oracle;
use crate::oracle::in_place::{Completion, InPlace, Place};
use crate::plan::PortPlan;
use anyhow::{Result, ensure};
use barline::bus::local::LocalFunction;
use barline_models::e82576::{E82576, Misuse, Options};
use barline_sim::{Fate, Mode, SimDevice};
use std::sync::Arc;

pub(super) const SUBJECT: Subject = Subject {
    name: "igb",
    driver: "igb",
    options: "",
    build,
    stuck: STUCK,
    lies: LIES,
    names_buffers: false,
    has_commands: false,
    accesses: 250,
    queues: 4,
    counters,
};

fn build(parts: Parts) -> Built {
    let address = parts.address();
    let options = Options {
        mac: mac(parts.index),
        peer: parts.peer,
        domain: parts.domain.clone(),
        mode: Mode::Sync,
    };
    let device = E82576::faulty(options, parts.clock, parts.faults);
    let function = LocalFunction::new(device.clone(), address, parts.domain);
    (Arc::new(function), Arc::new(On(device)))
}

/// Advanced receive write-back, second word (82576 data sheet 7.1.5.2): DD, EOP; RXE; length.
const DD: u64 = 1 << 0;
const EOP: u64 = 1 << 1;
const RXE: u64 = 1 << 31;
const L4E_IPE: u64 = 3 << 29;

fn completion(words: [u64; 2]) -> Completion {
    match words[1] {
        word if word & DD == 0 => Completion::Pending,
        word if word & EOP == 0 => Completion::Part,
        word => Completion::End {
            len: (word >> 32) as u32 & 0xffff,
            damaged: word & RXE != 0,
        },
    }
}

/// The first word is the hash.
const LIES: &[[u64; 2]] = &[
    [!0, DD],
    [!0, EOP],
    [!0, RXE],
    [!0, L4E_IPE],
    [!0, 0xffff << 32],
    [!0, 1 << 43],
    [!0, 0xffff << 48],
];

/// By 8.2 to 8.12: CTRL.RST does not end; EEC never says that the EEPROM was read; GIO master stays on; no link;
/// MDIC is never ready; the semaphores are never free, or never taken; queues do not come on.
const STUCK: &[Stuck] = &[
    stuck(0, 0x0000, 1 << 26, 0),
    stuck(0, 0x0010, 0, 1 << 9),
    stuck(0, 0x0008, 1 << 19, 0),
    stuck(0, 0x0008, 0, 1 << 1),
    stuck(0, 0x0020, 0, 1 << 28),
    stuck(0, 0x5B50, 0, 1 << 1),
    stuck(0, 0x5B5C, 0x7 << 16, 0),
    stuck(0, 0xC028, 0, 1 << 25),
    stuck(0, 0xE028, 0, 1 << 25),
    stuck(0, 0xC068, 0, 1 << 25),
];

#[derive(Debug)]
struct On(Arc<SimDevice<E82576>>);

impl Device for On {
    same!();

    fn complaints(&self, plan: &PortPlan, _mixed: bool) -> Vec<String> {
        let strays = plan.strays();
        self.0.model(|model| {
            // What the device wrote over a descriptor that it had not read yet.
            let caused = |what: &Misuse| {
                let own = matches!(
                    what,
                    Misuse::DoneNotCleared(_) | Misuse::TransmitType(_) | Misuse::EmptyTransmit(_)
                );
                strays && own
            };
            let misuses = model.misuses().iter().filter(|(_, what)| !caused(what));
            let unknown = model.unknown_registers().iter();
            misuses
                .map(|(queue, what)| format!("queue {queue}: {what:?}"))
                .chain(unknown.map(|touch| format!("no such register: {touch:?}")))
                .collect()
        })
    }

    fn oracle(&self, queue: usize) -> Box<dyn Oracle> {
        let device = self.0.clone();
        let place = move || {
            let ring = device.model(|model| model.receive_ring(queue))?;
            Some(Place {
                base: ring.base,
                size: ring.size,
                tail: ring.tail,
            })
        };
        Box::new(InPlace::new(place, completion))
    }
}

fn counters(books: &Books<'_>) -> Result<()> {
    let (value, fated) = (
        |name: &str| books.value(name),
        |fates: &[Fate]| books.fated(fates),
    );
    books.equal(&[
        ("nic_rx_missed", fated(&[Fate::Missed])),
        ("nic_rx_queue_drops", fated(&[Fate::NoDescriptor])),
        ("nic_rx_crc_errors", fated(&[Fate::Damaged])),
        ("nic_rx_undersize", fated(&[Fate::Short])),
        ("nic_rx_oversize", fated(&[Fate::Long])),
        ("nic_tx_packets", books.sent()),
    ])?;
    let dropped: u64 = ["missed", "crc_errors", "undersize", "oversize"]
        .map(|reason| value(&format!("nic_rx_{reason}")))
        .iter()
        .sum();
    let (total, good) = (value("nic_rx_total"), value("nic_rx_packets"));
    let filtered = fated(&[Fate::Filtered]);
    ensure!(
        total == good + dropped + filtered,
        "nic_rx_total is {total}, nic_rx_packets {good}, {dropped} dropped, {filtered} for others"
    );
    // One that a patient source has lent to a device without room has not arrived by the device's count.
    let inside = books.inside();
    let arrived = books.arrived() - fated(&[Fate::Off]);
    let lent = u64::from(books.plan.patient) * u64::from(inside > 0);
    ensure!(
        (arrived - lent.min(arrived)..=arrived).contains(&total),
        "{arrived} frames arrived while the receiver was on, nic_rx_total is {total}"
    );
    let passed = fated(&[Fate::Delivered, Fate::NoDescriptor, Fate::Lost]);
    ensure!(
        (passed..=passed + inside).contains(&good),
        "nic_rx_packets is {good}, {passed} frames passed and {inside} wait"
    );
    Ok(())
}
