//! Notifications both ways, and what suppresses them.

use crate::driver::{MAC, Rig, bit, frame};
use crate::rings::taken;
use barline_models::virtio::Offer;
use std::io::Read;

const VERSION_1: u64 = bit(32);

#[test]
fn doorbells_are_wanted_as_the_driver_is_told() {
    for (set, expected) in [
        // Without event index each addition is notified.
        (0, [true, true, true]),
        (bit(34), [true, true, true]),
        // With it, only what comes after the device had nothing left.
        (bit(29), [true, false, true]),
        (bit(29) | bit(34), [true, false, true]),
    ] {
        let (mut rig, far) = Rig::new(Offer::default());
        rig.start(VERSION_1 | set, 1, 16);
        rig.send(0, &frame(MAC, 60, 1));
        assert_eq!(taken(&far).len(), 1);
        rig.device.hold();
        let mut rang = [0; 3].map(|_| false);
        for (n, rang) in rang.iter_mut().enumerate() {
            if n == 2 {
                rig.device.release();
                assert_eq!(taken(&far).len(), 2);
            }
            rig.put(0, [0; 12], &frame(MAC, 60, n as u8), &[]);
            *rang = rig.kick(1);
        }
        assert_eq!(rang, expected, "{set:#x}");
        assert_eq!(taken(&far).len(), 1);
        let counts = rig.device.counts();
        let rang = rang.iter().filter(|rang| **rang).count() as u64;
        assert_eq!(counts.tx_doorbells[0], rang + 1);
        rig.assert_clean();
    }
}

#[test]
fn without_a_notification_the_device_does_not_look() {
    for packed in [0, bit(34)] {
        let (mut rig, far) = Rig::new(Offer::default());
        rig.start(VERSION_1 | packed, 1, 16);
        rig.send(0, &frame(MAC, 60, 1));
        rig.put(0, [0; 12], &frame(MAC, 60, 2), &[]);
        // Something else wakes the device.
        assert!(far.send(&frame(MAC, 60, 3)));
        assert_eq!(
            taken(&far).len(),
            1,
            "a driver that forgets its doorbell is found out"
        );
        rig.notify(1);
        assert_eq!(taken(&far).len(), 1);
    }
}

#[test]
fn a_device_that_polls_wants_no_doorbell() {
    for set in [0, bit(34), bit(29), bit(29) | bit(34)] {
        let (mut rig, far) = Rig::new(Offer {
            polls: true,
            ..Offer::default()
        });
        rig.start(VERSION_1 | set, 1, 8);
        for n in 0..40 {
            rig.put(0, [0; 12], &frame(MAC, 60, n), &[]);
            assert!(!rig.kick(1), "{set:#x}: frame {n}");
            rig.device.step(64);
            assert_eq!(taken(&far).len(), 1);
            assert!(far.send(&frame(MAC, 60, n)));
            assert_eq!(rig.receive_all(0).len(), 1);
            rig.reclaim(0);
        }
        assert_eq!(rig.device.counts().doorbells(), 0);
        rig.assert_clean();
    }
}

/// How often a vector was raised since this was asked last.
fn raised(rig: &mut Rig, vector: usize) -> u64 {
    let mut bytes = [0; 8];
    match rig.vectors[vector].read(&mut bytes) {
        Ok(8) => u64::from_ne_bytes(bytes),
        _ => 0,
    }
}

#[test]
fn interrupts_come_when_they_are_wanted() {
    for set in [0, bit(34), bit(29), bit(29) | bit(34)] {
        let (mut rig, far) = Rig::new(Offer::default());
        rig.wire_vectors(3);
        rig.start(VERSION_1 | set, 1, 16);
        let event_idx = set & bit(29) != 0;
        let send = |n: u8| assert!(far.send(&frame(MAC, 60, n)));
        for round in 0..20 {
            rig.queues[&0].want_interrupt(None);
            send(1);
            assert_eq!(raised(&mut rig, 1), 0, "{set:#x}, round {round}: unwanted");
            rig.receive_all(0);
            rig.queues[&0].want_interrupt(Some(1));
            send(2);
            assert_eq!(raised(&mut rig, 1), 1, "{set:#x}, round {round}");
            rig.receive_all(0);
            if event_idx {
                rig.queues[&0].want_interrupt(Some(3));
                let counts = [0; 4].map(|_| {
                    send(3);
                    raised(&mut rig, 1)
                });
                assert_eq!(counts, [0, 0, 1, 0], "{set:#x}, round {round}: after three");
                rig.receive_all(0);
            }
            // The transmit queue has a vector of its own.
            rig.queues[&1].want_interrupt(Some(1));
            rig.send(0, &frame(MAC, 60, 4));
            assert_eq!((raised(&mut rig, 1), raised(&mut rig, 2)), (0, 1));
            rig.reclaim(0);
        }
        assert_eq!(rig.read(3, 0, 1), 0, "ISR status is not for queues with MSI-X");
        rig.assert_clean();
    }
}

#[test]
fn without_vectors_isr_status_says_it() {
    let (mut rig, far) = Rig::new(Offer::default());
    rig.start(VERSION_1, 1, 16);
    assert_eq!(rig.read(3, 0, 1), 0);
    assert!(far.send(&frame(MAC, 60, 1)));
    assert_eq!((rig.read(3, 0, 1), rig.read(3, 0, 1)), (1, 0));
    assert_eq!(rig.device.counts().interrupts, 0);
}

#[test]
fn a_multiplier_of_nought_makes_one_doorbell_for_all() {
    for multiplier in [0, 2, 4096] {
        let (mut rig, far) = Rig::new(Offer {
            multiplier,
            ..Offer::default()
        });
        assert_eq!(rig.multiplier, multiplier);
        rig.start(VERSION_1, 1, 16);
        rig.send(0, &frame(MAC, 60, 1));
        assert_eq!(taken(&far).len(), 1);
        assert_eq!(rig.device.counts().tx_doorbells[0], 1);
        rig.assert_clean();
    }
}
