//! What goes wrong is caught and shown.

mod common;

use barline::bus::local::LocalDevice;
use barline_models::e82576::Misuse;
use barline_sim::{Corrupt, Wire, WireEnd};
use common::{MAC, RS, Rig, data, frame};

fn rig() -> (Rig, WireEnd) {
    let (near, far) = Wire::pair();
    let mut rig = Rig::new(near);
    rig.start(1);
    (rig, far)
}

fn misuses(rig: &Rig) -> Vec<(usize, Misuse)> {
    rig.device.model(|model| model.misuses().to_vec())
}

#[test]
fn no_dma_without_bus_master() {
    let (mut rig, far) = rig();
    rig.master(false);
    far.send(&frame(MAC, 60, 1));
    rig.send(0, &frame(MAC, 60, 2));
    assert!(rig.receive(0).is_none() && far.next_frame().is_none());
    let counts = rig.device.counts();
    assert!(
        counts.dma_without_master >= 2 && counts.dma_faults == counts.dma_without_master,
        "{counts:?}"
    );
    assert!(rig.domain.take_faults().is_empty(), "the IOMMU never saw it");
}

#[test]
fn gio_master_disable_stops_dma() {
    let (mut rig, far) = rig();
    let control = rig.read(0);
    rig.write(0, control | 1 << 2);
    assert_eq!(rig.read(8) & 1 << 19, 0);
    far.send(&frame(MAC, 60, 1));
    assert!(rig.receive(0).is_none());
    assert_eq!(rig.device.counts().dma_faults, 0);
}

#[test]
fn a_wrong_buffer_address_faults_and_stops_the_queue() {
    let (near, far) = Wire::pair();
    let mut rig = Rig::new(near);
    rig.start_stopped(1);
    let at = rig.rx_desc(0, 0);
    rig.domain.store(at, 0xdead_0000).unwrap();
    rig.domain.store(at.offset(8), 0).unwrap();
    rig.write(0xC018, 1);
    far.send(&frame(MAC, 60, 1));
    let faults = rig.domain.take_faults();
    assert_eq!(faults.len(), 1);
    assert!(faults[0].write && faults[0].iova.raw() == 0xdead_0000 && faults[0].len == 60);
    assert_eq!(rig.device.counts().dma_faults, 1);
    rig.put_words(0, [0xdead_0000, 60 | data(60)]);
    rig.ring(0);
    assert_eq!(rig.domain.take_faults().len(), 1);
    assert!(far.next_frame().is_none());
}

#[test]
fn stray_dma_is_caught_before_start_and_after_unmap() {
    let (near, _far) = Wire::pair();
    let mut rig = Rig::new(near);
    let inside = rig.memory.iova().raw();
    assert!(
        rig.device.stray_write(inside, &[1]).is_err(),
        "no bus master before start"
    );
    rig.start(1);
    assert!(rig.device.stray_write(inside, &[1]).is_ok());
    assert!(rig.device.stray_write(inside - 1, &[1]).is_err());
    assert!(
        rig.device
            .stray_write(inside + rig.memory.len() as u64 - 1, &[1, 2])
            .is_err()
    );
    let (device, domain) = (rig.device.clone(), rig.domain.clone());
    drop(rig);
    assert!(device.stray_write(inside, &[1]).is_err(), "after unmap");
    assert_eq!(domain.take_faults().len(), 3);
    assert_eq!(device.counts().dma_faults, 4);
}

#[test]
fn write_backs_can_be_spoiled() {
    let (rig, far) = rig();
    rig.device.corrupt_next_receive(Corrupt::Length(0xffff));
    rig.device.corrupt_next_receive(Corrupt::Flip(1 << 31));
    rig.device
        .corrupt_next_receive(Corrupt::Words(Box::new(|words| words[0] = 7)));
    for _ in 0..4 {
        far.send(&frame(MAC, 60, 1));
    }
    let words: Vec<_> = (0..4)
        .map(|at| [0, 8].map(|word| rig.domain.load(rig.rx_desc(0, at).offset(word)).unwrap()))
        .collect();
    assert_eq!(words[0][1] >> 32, 0xffff);
    assert_eq!(words[1][1] & 0xffff_ffff, 1 << 31 | 3);
    assert_eq!((words[2][0], words[3][0], words[3][1]), (7, 0, 60 << 32 | 3));
}

type Expect = fn(&Misuse) -> bool;

#[test]
fn malformed_transmit_descriptors_stop_the_queue() {
    let cases: [(u64, Expect); 5] = [
        (60 | 1 << 24 | 1 << 25, |why| {
            matches!(why, Misuse::TransmitType(_))
        }),
        (60 | data(60) & !(1 << 21), |why| {
            matches!(why, Misuse::TransmitType(_))
        }),
        (data(0), |why| matches!(why, Misuse::EmptyTransmit(0))),
        (60 | data(60) | 1 << 31, |why| matches!(why, Misuse::Segmentation)),
        (0xffff | data(0xffff), |why| {
            matches!(why, Misuse::TransmitTooLong(0xffff))
        }),
    ];
    for (word, good) in cases {
        let (mut rig, far) = rig();
        let buffer = rig.tx_buffer(0, 0).raw();
        rig.put_words(0, [buffer, word]);
        rig.send(0, &frame(MAC, 60, 1));
        assert!(far.next_frame().is_none(), "the queue stopped");
        let misuses = misuses(&rig);
        assert!(
            misuses.len() == 1 && good(&misuses[0].1),
            "{word:#x}: {misuses:?}"
        );
        assert_eq!(rig.device.model(|model| model.malformed_descriptors()), 1);
        // Disabled and enabled again, it runs.
        rig.write(0xE028, 0);
        rig.write(0xE028, 1 << 25);
        assert_eq!(rig.read(0xE028), 1 << 25);
        rig.write(0xE018, 0);
        assert_eq!(rig.read(0xE010), 0);
    }
}

#[test]
fn driver_mistakes_are_recorded() {
    let (mut rig, far) = rig();
    // A done bit left standing in a descriptor that is given back.
    far.send(&frame(MAC, 60, 1));
    rig.post(0, 1);
    for _ in 0..64 {
        far.send(&frame(MAC, 60, 1));
    }
    rig.write(0xC018, 1);
    assert!(misuses(&rig).contains(&(0, Misuse::DoneNotCleared(0))));
    rig.put(0, &frame(MAC, 60, 1), data(61) | RS);
    rig.ring(0);
    rig.put(0, &frame(MAC, 60, 1), data(60) & !(1 << 25));
    rig.ring(0);
    rig.send(0, &[0; 16]);
    let found = misuses(&rig);
    for expected in [
        Misuse::PayloadLength { said: 61, is: 60 },
        Misuse::BadFcs,
        Misuse::TransmitTooShort(16),
    ] {
        assert!(found.contains(&(0, expected)), "{expected:?} in {found:?}");
    }
    rig.write(0xC018 + 0x40, 5);
    rig.write(0xC008 + 0x80, 256);
    rig.write(0xC028 + 0x80, 1 << 25);
    rig.write(0xC018 + 0x80, 5);
    rig.write(0xC000 + 0x40, 0x1010);
    rig.write(0xC008, 128);
    rig.write(0xC018, 64);
    rig.write(0xC010, 9);
    rig.write(0xE00C, 9);
    let found = misuses(&rig);
    for expected in [
        (1, Misuse::TailWhileDisabled),
        (2, Misuse::TailBeforeEnabled),
        (1, Misuse::Unaligned(0x1010)),
        (0, Misuse::RingWhileEnabled),
        (0, Misuse::TailOutside(64)),
        (0, Misuse::HeadWhileEnabled),
        (0, Misuse::QueueRegister(0x0C)),
    ] {
        assert!(found.contains(&expected), "{expected:?} in {found:?}");
    }
}

#[test]
fn wrong_descriptor_type_stops_the_queue() {
    let (mut rig, far) = rig();
    rig.write(0xC00C, 2);
    far.send(&frame(MAC, 60, 1));
    assert!(rig.receive(0).is_none());
    assert_eq!(misuses(&rig), [(0, Misuse::DescriptorType(0))]);
}

#[test]
fn unknown_registers_are_shown() {
    let rig = rig().0;
    rig.write(0x1_F000, 5);
    assert_eq!(rig.read(0x4024), 0);
    let seen = rig
        .device
        .model(|model| format!("{:?}", model.unknown_registers()));
    assert_eq!(seen, "[write 0x5 to 0x1f000, read 0x4024]");
}

#[test]
fn a_removed_device_reads_as_all_ones() {
    let (mut rig, far) = rig();
    rig.device.surprise_remove();
    assert_eq!(rig.read(0x0008), u32::MAX);
    let mut id = [0; 4];
    rig.device.config_read(0, &mut id);
    assert_eq!(id, [0xff; 4]);
    far.send(&frame(MAC, 60, 1));
    rig.send(0, &frame(MAC, 60, 1));
    assert!(rig.receive(0).is_none() && far.next_frame().is_none());
}

#[test]
fn a_held_device_waits_and_steps() {
    let (mut rig, far) = rig();
    rig.device.hold();
    for fill in 0..3 {
        far.send(&frame(MAC, 60, fill));
        rig.send(0, &frame(MAC, 60, fill));
    }
    assert!(rig.take(0).is_none() && far.next_frame().is_none());
    assert_eq!(rig.device.step(1), 1);
    assert_eq!(rig.take(0).unwrap().frame[59], 0);
    assert!(rig.take(0).is_none());
    assert_eq!(far.next_frame().unwrap()[59], 0);
    assert!(far.next_frame().is_none());
    rig.device.release();
    assert_eq!((1..3).map(|_| rig.take(0).unwrap().frame[59]).sum::<u8>(), 3);
    assert!(far.next_frame().is_some() && far.next_frame().is_some());
    rig.assert_clean();
}

#[test]
fn a_pulled_cable_carries_nothing() {
    let (mut rig, far) = rig();
    rig.device.set_link(false);
    assert_eq!(rig.read(0x0008) & 2, 0);
    far.send(&frame(MAC, 60, 1));
    let waiting = rig.send(0, &frame(MAC, 60, 2));
    assert!(rig.receive(0).is_none() && !rig.tx_done(0, waiting));
    rig.device.set_link(true);
    assert!(
        rig.tx_done(0, waiting),
        "what was posted goes out when the link is back"
    );
    assert_eq!(far.next_frame().unwrap()[59], 2);
    assert!(rig.receive(0).is_none(), "what was sent to a dead link is lost");
}

#[test]
fn counts_tell_reads_writes_and_doorbells() {
    let (mut rig, far) = rig();
    for fill in 0..8 {
        far.send(&frame(MAC, 60, fill));
    }
    let before = rig.device.counts();
    while rig.take(0).is_some() {}
    for fill in 0..8 {
        rig.put(0, &frame(MAC, 60, fill), data(60));
    }
    rig.ring(0);
    rig.post(0, 8);
    let after = rig.device.counts();
    assert_eq!((after.reads - before.reads, after.writes - before.writes), (0, 2));
    assert_eq!(after.tx_doorbells[0] - before.tx_doorbells[0], 1);
    assert_eq!(after.rx_doorbells[0] - before.rx_doorbells[0], 1);
    assert_eq!(after.doorbells() - before.doorbells(), 2);
}

/// Pseudo-random writes all over: no panic, no hang, and the device works again after a reset.
#[test]
fn no_write_whatever_breaks_the_model() {
    let (mut rig, far) = rig();
    let mut state = 0x1234_5678_9abc_def1u64;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u32
    };
    for round in 0..60_000 {
        let (pick, value) = (draw(), draw());
        // Mostly the queues, and mostly values near what is sensible there.
        let offset = match pick % 4 {
            0 => pick % (128 << 10),
            1 => 0xC000 + pick / 4 % 0x400,
            2 => 0xE000 + pick / 4 % 0x400,
            _ => pick / 4 % 0x6000,
        } & !3;
        let value = match value % 3 {
            0 => value,
            1 => value & 0x0200_00ff | if value & 8 != 0 { 1 << 25 } else { 0 },
            _ => rig.memory.iova().raw() as u32 + (value & 0xf80),
        };
        if offset == 0 && value & 1 << 26 != 0 && round % 7 != 0 {
            continue;
        }
        rig.write(offset as usize, value);
        if round % 16 == 0 {
            far.send(&frame(
                if round % 32 == 0 { MAC } else { [0xff; 6] },
                60 + round % 2000,
                1,
            ));
            rig.read(offset as usize);
        }
        while far.next_frame().is_some() {}
    }
    rig.start(1);
    rig.write(0x5818, 0);
    rig.write(0x2404, 0x40);
    rig.domain.take_faults();
    far.send(&frame(MAC, 60, 77));
    let last = std::iter::from_fn(|| rig.take(0)).last().unwrap();
    assert_eq!(last.frame[59], 77);
}
