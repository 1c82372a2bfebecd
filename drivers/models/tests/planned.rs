//! Planned faults, and where the device says that frames ended.

mod common;

use barline_sim::{Clock, Fate, Fault, Impaired, Impairment, Side, Spoiled, Wire, WireEnd};
use common::{MAC, Rig, frame};
use std::time::Duration;

const US: Duration = Duration::from_micros(1);

fn rig(faults: Vec<Fault>) -> (Rig, WireEnd, std::sync::Arc<Clock>) {
    let ((near, far), clock) = (Wire::pair(), Clock::virtual_until(Duration::from_secs(1)));
    let mut rig = Rig::faulty(near, &clock, faults);
    rig.start(1);
    (rig, far, clock)
}

/// Both words of receive descriptor `at`.
fn words(rig: &Rig, at: u32) -> [u64; 2] {
    [0, 8].map(|word| rig.domain.load(rig.rx_desc(0, at).offset(word)).unwrap())
}

fn spoiled(nth: u64, how: Spoiled) -> Fault {
    Fault::WriteBack {
        side: Side::Rx,
        nth,
        how,
    }
}

#[test]
fn write_backs_are_late_torn_lost_wrong_and_elsewhere() {
    let flip = Spoiled::Words {
        clear: [0, 0xffff << 32],
        flip: [0, 1 << 31],
    };
    let (rig, far, clock) = rig(vec![
        spoiled(0, Spoiled::Late(20 * US)),
        spoiled(1, Spoiled::Torn(10 * US)),
        spoiled(2, Spoiled::Never),
        spoiled(3, flip),
        spoiled(4, Spoiled::Elsewhere(3)),
    ]);
    (0..6).for_each(|fill| assert!(far.send(&frame(MAC, 60, fill))));
    let done = |at| words(&rig, at)[1] as u32 & 3;
    assert_eq!([0, 1, 2, 3, 4, 5, 7].map(done), [0, 3, 0, 3, 0, 3, 3]);
    assert_eq!(
        [1, 3, 5, 7].map(|at| words(&rig, at)[1] >> 32),
        [0, 0, 60, 60],
        "lengths"
    );
    assert_eq!(words(&rig, 3)[1] as u32, 1 << 31 | 3);
    clock.pass(10 * US);
    rig.device.step(0);
    assert_eq!([0, 1].map(|at| words(&rig, at)[1] >> 32), [0, 60]);
    clock.pass(10 * US);
    rig.device.step(0);
    assert_eq!([0, 2, 4].map(done), [3, 0, 0]);
    assert_eq!(rig.device.ledger().count(Fate::Delivered), 6);
}

#[test]
fn what_was_put_off_does_not_come_after_a_reset() {
    let (rig, far, clock) = rig(vec![spoiled(0, Spoiled::Late(20 * US))]);
    far.send(&frame(MAC, 60, 1));
    barline::bus::local::LocalDevice::reset(&*rig.device);
    let before = rig.device.counts();
    clock.pass(30 * US);
    rig.device.step(1);
    let after = rig.device.counts();
    assert_eq!((after.dma_writes, after.dma_faults), (before.dma_writes, 0));
}

#[test]
fn an_access_is_refused_and_the_device_goes_when_planned() {
    // Descriptor address and status are read, then the frame is written.
    let (mut rig, far, _clock) = rig(vec![Fault::Dma { nth: 2 }]);
    far.send(&frame(MAC, 60, 1));
    assert!(rig.receive(0).is_none());
    let counts = rig.device.counts();
    assert_eq!((counts.dma_refused, counts.dma_faults), (1, 0));
    assert_eq!(rig.device.ledger().count(Fate::Lost), 1);
    let (rig, ..) = self::rig(Vec::new());
    let accesses = rig.device.counts().reads + rig.device.counts().writes + 1; // and bus mastering
    let (rig, ..) = self::rig(vec![Fault::Removed { access: accesses + 1 }]);
    assert_ne!(rig.read(8), u32::MAX);
    assert_eq!((rig.read(8), rig.device.is_gone()), (u32::MAX, true));
}

#[test]
fn the_cable_is_pulled_when_planned() {
    let link = |at, up| Fault::Link { at, up };
    let (rig, far, clock) = rig(vec![link(10 * US, false), link(20 * US, true)]);
    let up = |rig: &Rig| rig.read(8) & 2 != 0;
    clock.pass(50 * US);
    assert!(up(&rig), "times are since the first frame");
    far.send(&frame(MAC, 60, 1));
    clock.pass(10 * US);
    assert!(!up(&rig));
    far.send(&frame(MAC, 60, 2));
    clock.pass(10 * US);
    assert!(up(&rig));
    let ledger = rig.device.ledger();
    assert_eq!(
        (ledger.arrived, ledger.count(Fate::Off), ledger.inside()),
        (2, 1, 0)
    );
}

#[test]
fn damaged_frames_are_counted_and_go_no_further() {
    let how = Impairment {
        corruption: 1000,
        ..Impairment::default()
    };
    let (near, far) = Wire::pair();
    let mut rig = Rig::new(Impaired::new(near, how).0);
    rig.start(1);
    (0..5).for_each(|fill| assert!(far.send(&frame(MAC, 60, fill))));
    assert!(rig.receive(0).is_none());
    assert_eq!((rig.read(0x4000), rig.read(0x4000)), (5, 0), "CRCERRS");
    assert_eq!((rig.read(0x4074), rig.read(0x40D0)), (0, 5), "GPRC, TPR");
    assert_eq!(rig.device.ledger().count(Fate::Damaged), 5);
}
