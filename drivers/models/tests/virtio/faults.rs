//! Planned faults: the device lies, is late, loses interrupts, goes away.

use crate::driver::{MAC, Rig, bit, frame};
use barline_models::virtio::Offer;
use barline_sim::{Clock, Fate, Fault, Nobody, Wire, WireEnd};
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

pub const US: Duration = Duration::from_micros(1);
pub const VERSION_1: u64 = bit(32);
pub const FORMATS: [u64; 2] = [0, bit(34)];

pub fn rig(set: u64, faults: Vec<Fault>) -> (Rig, WireEnd, Arc<Clock>) {
    let ((near, far), clock) = (Wire::pair(), Clock::virtual_until(Duration::from_secs(1)));
    let mut rig = Rig::faulty(Offer::default(), near, &clock, faults);
    rig.start(VERSION_1 | set, 1, 16);
    (rig, far, clock)
}

pub fn send(far: &WireEnd, count: u8) {
    (0..count).for_each(|n| assert!(far.send(&frame(MAC, 60, n))));
}

#[test]
fn interrupts_are_lost_and_come_from_nowhere() {
    let clock = Clock::virtual_until(Duration::from_secs(1));
    let (near, far) = Wire::pair();
    let plan = vec![
        Fault::LostInterrupt { nth: 0 },
        Fault::SpuriousInterrupt {
            at: 10 * US,
            vector: 2,
        },
    ];
    let mut rig = Rig::faulty(Offer::default(), near, &clock, plan);
    rig.wire_vectors(3);
    rig.start(VERSION_1, 1, 16);
    let raised = |rig: &mut Rig, vector: usize| rig.vectors[vector].read(&mut [0; 8]).is_ok();
    send(&far, 1);
    assert!(!raised(&mut rig, 1));
    send(&far, 1);
    assert!(raised(&mut rig, 1));
    assert!(!raised(&mut rig, 2));
    clock.pass(10 * US);
    rig.device.step(0);
    assert!(raised(&mut rig, 2));
}

#[test]
fn the_cable_is_pulled_and_the_configuration_says_so() {
    let link = |at, up| Fault::Link { at, up };
    let clock = Clock::virtual_until(Duration::from_secs(1));
    let (near, far) = Wire::pair();
    let mut rig = Rig::faulty(
        Offer::default(),
        near,
        &clock,
        vec![link(10 * US, false), link(40 * US, true)],
    );
    rig.wire_vectors(2);
    rig.write(1, 0x10, 2, 0);
    rig.start(VERSION_1 | bit(16), 1, 16);
    rig.write(1, 0x10, 2, 0);
    assert_eq!(rig.read(1, 0x10, 2), 0);
    send(&far, 1);
    let look = |rig: &mut Rig| (rig.read(4, 6, 2), rig.vectors[0].read(&mut [0; 8]).is_ok());
    assert_eq!(look(&mut rig), (1, false));
    clock.pass(10 * US);
    rig.device.step(0);
    assert_eq!(look(&mut rig), (0, true));
    send(&far, 1);
    rig.send(0, &frame(MAC, 60, 1));
    assert_eq!(
        (rig.reclaim(0), far.next_frame()),
        (1, None),
        "lost on the wire, not to the driver"
    );
    clock.pass(30 * US);
    rig.device.step(0);
    assert_eq!(look(&mut rig), (1, true));
    assert_eq!(rig.device.ledger().count(Fate::Off), 1);
}

#[test]
fn a_reset_does_not_end_in_its_time() {
    let clock = Clock::virtual_until(Duration::from_secs(1));
    let probe = Rig::faulty(Offer::default(), Nobody, &clock, Vec::new());
    let (bar, offset, _) = probe.places[&1];
    let stuck = Fault::Stuck {
        bar,
        offset: offset as u32 + 0x14,
        set: 0xf,
        clear: 0,
        after: 0,
        reads: 3,
    };
    let rig = Rig::faulty(Offer::default(), Nobody, &clock, vec![stuck]);
    rig.set_status(0);
    assert_eq!([0; 4].map(|_| rig.status()), [0xf, 0xf, 0xf, 0]);
}

/// A start and some frames both ways, by somebody who does not mind what happens.
fn careless(faults: Vec<Fault>, set: u64) -> (Rig, u64) {
    let clock = Clock::virtual_until(Duration::from_secs(10));
    let (near, far) = Wire::pair();
    let mut rig = Rig::faulty(Offer::default(), near, &clock, faults);
    let up = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| rig.start(VERSION_1 | set, 1, 8)));
    if up.is_ok() {
        for n in 0..4 {
            far.send(&frame(MAC, 60, n));
            rig.put(0, [0; 12], &frame(MAC, 60, n), &[12]);
            rig.notify(1);
            rig.reclaim(0);
        }
    }
    let counts = rig.device.counts();
    (rig, counts.reads + counts.writes)
}

#[test]
fn the_device_goes_at_any_access() {
    for set in FORMATS {
        let (rig, accesses) = careless(Vec::new(), set);
        rig.assert_clean();
        for access in 0..accesses {
            let (rig, _) = careless(vec![Fault::Removed { access }], set);
            assert!(rig.device.is_gone(), "access {access}");
            assert_eq!(rig.config(0, 4), u32::MAX);
            let before = rig.device.counts();
            rig.device.step(100);
            let after = rig.device.counts();
            assert_eq!(
                (before.dma_reads, before.dma_writes),
                (after.dma_reads, after.dma_writes)
            );
            assert!(rig.domain.take_faults().is_empty());
        }
    }
}

#[test]
fn any_refused_access_to_memory_ends_in_needs_reset() {
    for set in [0, bit(34), bit(29), bit(29) | bit(34)] {
        let (rig, _) = careless(Vec::new(), set);
        let dmas = rig.device.counts().dma_reads + rig.device.counts().dma_writes;
        assert!(dmas > 40);
        for nth in 0..dmas {
            let (mut rig, _) = careless(vec![Fault::Dma { nth }], set);
            assert_eq!(rig.device.counts().dma_refused, 1, "access {nth}");
            assert_eq!(rig.status() & 0x40, 0x40, "access {nth}");
            assert_eq!(rig.device.ledger().inside(), 0);
            assert_eq!(rig.misuses(), [""; 0]);
            // A reset mends it.
            rig.start(VERSION_1 | set, 1, 8);
            rig.send(0, &frame(MAC, 60, 1));
            assert_eq!((rig.reclaim(0), rig.status()), (1, 0xf));
        }
    }
}
