//! The 82576 on its model, as a subject of the suite.
#![allow(dead_code, reason = "each test file uses its own part")]

use barline::bus::local::LocalFunction;
use barline::mem::LocalDomain;
use barline_conformance::local::LocalFar;
use barline_conformance::{Station, Subject};
use barline_igb::Igb;
use barline_models::e82576::{E82576, Options};
use barline_sim::{Corrupt, Mode, SimDevice, Wire};
use std::sync::Arc;

/// RXE of the write-back's second word (data sheet 7.1.5.2).
const RXE: u64 = 1 << 31;

/// Ports on the model, which runs in one of its ways.
#[derive(Debug)]
pub struct OnModel(pub Mode);

/// A station whose device can be reached from the test too.
pub fn station(domain: &Arc<LocalDomain>, mode: Mode, index: u8) -> (Station, Arc<SimDevice<E82576>>) {
    let (near, far) = Wire::pair();
    let device = E82576::new(Options {
        mac: [0x02, 0, 0, 0, 0, index + 1],
        peer: Box::new(near),
        domain: domain.clone(),
        mode,
    });
    let address = format!("0000:{:02x}:00.0", index + 1).parse().unwrap();
    let function = Arc::new(LocalFunction::new(device.clone(), address, domain.clone()));
    let damage = || Corrupt::Flip(RXE);
    let far = Arc::new(LocalFar::new(&device, domain, far, misuses, damage));
    let open = Box::new(move || Ok(Box::new(Igb::open(function.clone())?) as Box<_>));
    (Station { open, far }, device)
}

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
