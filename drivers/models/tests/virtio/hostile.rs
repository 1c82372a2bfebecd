//! Whatever a driver leaves in memory or writes to registers: no panic, no end to nothing, no byte outside.

use crate::driver::{MAC, Rig, bit, frame};
use barline::bus::local::LocalDevice;
use barline::mem::Iova;
use barline_models::virtio::{Offer, RssOffer};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const VERSION_1: u64 = bit(32);
/// Features that change how rings are read: packed, mergeable, in order, event index, indirect, checksum, control.
const CHOICE: [u32; 9] = [34, 15, 35, 29, 28, 0, 17, 11, 12];
const SIZE: u16 = 8;

fn config() -> Config {
    Config {
        cases: 400,
        failure_persistence: None,
        ..Config::default()
    }
}

/// A descriptor's address: in the arena, or anywhere.
#[derive(Clone, Copy, Debug)]
enum At {
    Arena(u16),
    Rings(u16),
    Anywhere(u64),
}

#[derive(Clone, Debug)]
struct Desc {
    at: At,
    len: u32,
    flags: u16,
    next: u16,
}

fn desc() -> impl Strategy<Value = Desc> {
    let at = prop_oneof![
        6 => any::<u16>().prop_map(At::Arena),
        1 => any::<u16>().prop_map(At::Rings),
        1 => any::<u64>().prop_map(At::Anywhere),
    ];
    let len = prop_oneof![4 => 0u32..200, 2 => (1u32..9).prop_map(|n| n * 16), 1 => any::<u32>()];
    // Mostly flags that mean something; available in the first and second turn.
    let flags = prop_oneof![
        4 => (0u16..8).prop_map(|low| low | 1 << 7),
        2 => (0u16..8).prop_map(|low| low | 1 << 15),
        3 => 0u16..8,
        1 => any::<u16>(),
    ];
    let next = prop_oneof![4 => 0..SIZE, 1 => any::<u16>()];
    (at, len, flags, next).prop_map(|(at, len, flags, next)| Desc { at, len, flags, next })
}

fn features() -> impl Strategy<Value = u64> {
    (0u32..512).prop_map(|mix| {
        let on = |(n, feature): (usize, &u32)| if mix >> n & 1 != 0 { bit(*feature) } else { 0 };
        let all = CHOICE.iter().enumerate().map(on);
        let set = all.fold(VERSION_1, |set, bit| set | bit);
        // Segmentation requires CSUM.
        if set & bit(0) != 0 {
            set
        } else {
            set & !(bit(11) | bit(12))
        }
    })
}

/// Sixty-four KiB that no descriptor leads to, and what is in it.
const CANARY: u8 = 0x5a;

struct Scene {
    rig: Rig,
    arena: Iova,
    canary: Iova,
}

impl Scene {
    fn new(set: u64) -> (Self, barline_sim::WireEnd) {
        let (mut rig, far) = Rig::new(Offer {
            batch: 3,
            segmentation: true,
            ..Offer::default()
        });
        let canary = rig.keep(64 << 10);
        rig.domain.write(canary, &[CANARY; 64 << 10]).unwrap();
        let arena = rig.keep(80 << 10);
        rig.rx_shape = (64, 1);
        rig.start(set, 1, SIZE);
        (Self { rig, arena, canary }, far)
    }

    fn put(&self, queue: u16, table: Iova, index: u16, desc: &Desc) {
        let vq = &self.rig.queues[&queue];
        let at = match desc.at {
            At::Arena(offset) => self.arena.offset(offset.into()),
            At::Rings(offset) => vq.desc.offset(u64::from(offset) % 256),
            At::Anywhere(at) if self.near_canary(at) => Iova::new(0),
            At::Anywhere(at) => Iova::new(at),
        };
        let (third, fourth) = match vq.how.packed {
            true => (desc.next, desc.flags),
            false => (desc.flags, desc.next),
        };
        vq.put_desc(table, index, (at, desc.len), third, fourth);
    }

    fn near_canary(&self, at: u64) -> bool {
        at.wrapping_sub(self.canary.raw()) < 1 << 32 || self.canary.raw().wrapping_sub(at) < 1 << 33
    }

    /// What must hold whatever happened.
    fn check(&mut self, far: &barline_sim::WireEnd) {
        let mut seen = vec![0; 64 << 10];
        self.rig.domain.read(self.canary, &mut seen).unwrap();
        assert!(seen.iter().all(|byte| *byte == CANARY), "written outside");
        let status = self.rig.status();
        assert!(status == 0xf || status == 0x4f, "{status:#x}");
        // A reset, and everything works.
        let set = self.rig.features;
        self.rig.rx_shape = (2048, 1);
        self.rig.start(set, 1, SIZE);
        while far.next_frame().is_some() {}
        let frame = frame(MAC, 100, 9);
        self.rig.send(0, &frame);
        assert_eq!(far.next_frame().as_ref(), Some(&frame));
        assert!(far.send(&frame));
        assert_eq!(self.rig.receive_all(0), [frame]);
        assert_eq!(self.rig.device.ledger().inside(), 0);
    }
}

#[test]
fn any_rings_are_survived() {
    let turn = (
        0u16..3,
        proptest::collection::vec(desc(), SIZE as usize),
        proptest::collection::vec(prop_oneof![4 => 0..SIZE, 1 => any::<u16>()], SIZE as usize),
        prop_oneof![4 => 0u16..12, 1 => any::<u16>()],
        any::<[u8; 4]>(),
    );
    let tables = proptest::collection::vec(desc(), 0..12);
    let script = (features(), tables, proptest::collection::vec(turn, 1..6));
    let result = TestRunner::new(config()).run(&script, |(set, tables, turns)| {
        let (mut scene, far) = Scene::new(set);
        // Tables for indirect descriptors, all over the arena.
        for (n, table) in tables.iter().enumerate() {
            let at = scene.arena.offset(n as u64 * 16);
            scene.put(0, at, 0, table);
        }
        for (queue, descs, heads, index, event) in turns {
            let queue = queue.min(if set & bit(17) != 0 { 2 } else { 1 });
            for (n, desc) in descs.iter().enumerate() {
                scene.put(queue, scene.rig.queues[&queue].desc, n as u16, desc);
            }
            let vq = &scene.rig.queues[&queue];
            if vq.how.packed {
                scene.rig.domain.write(vq.driver, &event).unwrap();
            } else {
                for (n, head) in heads.iter().enumerate() {
                    vq.put16(vq.driver.offset(4 + 2 * n as u64), *head);
                }
                vq.put16(vq.driver, u16::from_le_bytes([event[0], event[1]]) & 3);
                vq.put16(vq.driver.offset(2), vq.avail as u16 + index);
            }
            scene.rig.notify(queue);
            far.send(&frame(MAC, 60, 1));
            far.send(&frame(MAC, 400, 2));
            scene.rig.device.step(8);
        }
        scene.check(&far);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn any_registers_are_survived() {
    let access = (0u8..6, any::<u16>(), 0u8..3, any::<u32>(), any::<bool>());
    // Mostly values that mean something to some field.
    let value = prop_oneof![3 => 0u32..20, 1 => any::<u32>()];
    let script = (features(), proptest::collection::vec((access, value), 1..200));
    let result = TestRunner::new(config()).run(&script, |(set, accesses)| {
        let offer = Offer {
            pairs: 3,
            rss: Some(RssOffer::default()),
            ..Offer::default()
        };
        let (mut rig, far) = Rig::new(offer);
        rig.start(set, 1, SIZE);
        for ((kind, offset, width, wide, is_read), value) in accesses {
            let bytes: usize = 1 << width;
            let (bar, start, len) = rig.places.get(&kind).copied().unwrap_or((4, 0, 0x4000));
            let inside = (usize::from(offset) % (len.max(4) as usize)) & !(bytes - 1);
            let at = start + inside;
            match (kind, is_read) {
                (5, true) => drop(rig.config(offset % 4092, 4)),
                (5, false) => rig
                    .device
                    .config_write(offset % 4092, &wide.to_le_bytes()[..bytes]),
                (_, true) => drop(rig.device.bar_read_part(bar, at, bytes)),
                (_, false) => rig.device.bar_write_part(bar, at, bytes, value),
            }
            far.send(&frame(MAC, 60, 1));
        }
        // A reset, and everything works.
        LocalDevice::reset(&*rig.device);
        rig.device.config_write(4, &[6, 0]);
        rig.rx_shape = (2048, 1);
        rig.start(set, 1, SIZE);
        let frame = frame(MAC, 100, 9);
        assert!(far.send(&frame));
        assert_eq!(rig.receive_all(0), [frame]);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn any_commands_are_survived() {
    let data = proptest::collection::vec(any::<u8>(), 0..80);
    let command = (0u8..10, 0u8..7, data, 0u32..40);
    let script = proptest::collection::vec(command, 1..20);
    let all = [5, 16, 17, 18, 19, 20, 22, 23, 50, 60]
        .map(bit)
        .iter()
        .fold(VERSION_1, |set, bit| set | bit);
    let result = TestRunner::new(config()).run(&script, |commands| {
        let offer = Offer {
            pairs: 2,
            rss: Some(RssOffer::default()),
            statistics: true,
            ..Offer::default()
        };
        let (mut rig, far) = Rig::new(offer);
        rig.start(all, 2, 16);
        for (class, command, data, room) in commands {
            let (ack, _) = rig.command(class, command, &data, room);
            assert!(ack < 2);
            far.send(&frame(MAC, 60, 1));
        }
        assert_eq!(rig.status(), 0xf);
        assert_eq!(rig.device.counts().dma_faults, 0);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
