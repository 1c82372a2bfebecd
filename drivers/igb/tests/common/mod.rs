//! The 82576 on its model, as a subject of the suite.
#![allow(dead_code, reason = "each test file uses its own part")]

use barline::bus::local::LocalFunction;
use barline::mem::LocalDomain;
use barline_conformance::local::{LocalFar, Vices};
use barline_conformance::{Station, Subject};
use barline_igb::Igb;
use barline_models::e82576::{E82576, Options};
use barline_sim::{Clock, Corrupt, Fault, Mode, SimDevice, Wire, WireEnd};
use std::sync::Arc;
use std::time::Duration;

/// RXE of the write-back's second word (data sheet 7.1.5.2).
const RXE: u64 = 1 << 31;

/// Ports on the model, which runs in one of its ways.
#[derive(Debug)]
pub struct OnModel(pub Mode);

/// A station whose device can be reached from the test too.
pub fn station(domain: &Arc<LocalDomain>, mode: Mode, index: u8) -> (Station, Arc<SimDevice<E82576>>) {
    let (near, far) = Wire::pair();
    let device = E82576::new(options(domain, near, mode, index));
    (plugged(domain, &device, far, index), device)
}

/// A station whose device has planned faults, and its time.
pub fn faulty(
    domain: &Arc<LocalDomain>,
    faults: Vec<Fault>,
) -> (Station, Arc<SimDevice<E82576>>, Arc<Clock>) {
    let (near, far) = Wire::pair();
    let clock = Clock::virtual_until(Duration::from_secs(1000));
    let device = E82576::faulty(options(domain, near, Mode::Sync, 0), clock.clone(), faults);
    (plugged(domain, &device, far, 0), device, clock)
}

fn options(domain: &Arc<LocalDomain>, near: WireEnd, mode: Mode, index: u8) -> Options {
    Options {
        mac: [0x02, 0, 0, 0, 0, index + 1],
        peer: Box::new(near),
        domain: domain.clone(),
        mode,
    }
}

fn plugged(domain: &Arc<LocalDomain>, device: &Arc<SimDevice<E82576>>, far: WireEnd, index: u8) -> Station {
    let address = format!("0000:{:02x}:00.0", index + 1).parse().unwrap();
    let function = Arc::new(LocalFunction::new(device.clone(), address, domain.clone()));
    let damage = || Corrupt::Flip(RXE);
    let far = LocalFar::new(device, domain, far, misuses, damage).with_vices(VICES);
    let far = Arc::new(far);
    let open = Box::new(move || Ok(Box::new(Igb::open(function.clone())?) as Box<_>));
    Station { open, far }
}

/// EOP (7.1.5.2); CTRL.RST and STATUS.GIO_MASTER_EN (8.2.1, 8.2.2); RDH, RDT, TDH, TDT of queue 0 (8.10, 8.12), of
/// which no ring has the number.
const VICES: Vices = Vices {
    end: Some([0, 1 << 1]),
    parts: None,
    vector: 0,
    wedged: &[(0, 0x0000, 1 << 26, 0), (0, 0x0008, 1 << 19, 0)],
    pointers: &[
        (0, 0xC010, 0xffff, 0),
        (0, 0xC018, 0xfffe, 0),
        (0, 0xE010, 0xffff, 0),
        (0, 0xE018, 0xfffe, 0),
    ],
    own: |complaint| {
        ["DoneNotCleared", "TransmitType", "EmptyTransmit"]
            .iter()
            .any(|what| complaint.contains(what))
    },
};

fn misuses(model: &E82576) -> Vec<String> {
    let misuses = model
        .misuses()
        .iter()
        .map(|(queue, what)| format!("queue {queue}: {what:?}"));
    let unknown = model
        .unknown_registers()
        .iter()
        .map(|touch| format!("no such register: {touch:?}"));
    misuses.chain(unknown).collect()
}

impl Subject for OnModel {
    fn bench(&self, ports: usize) -> Vec<Station> {
        let domain = Arc::new(LocalDomain::new());
        (0..ports)
            .map(|index| station(&domain, self.0, index as u8).0)
            .collect()
    }
}
