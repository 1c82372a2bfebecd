//! A guest that rewrites its rings, tables and headers while they are read: what was checked is what is used.

mod common;

use barline::offload::{Checksum, LONG_ROOM, Offloads, SegmentKind};
use barline::pool::Batch;
use barline::port::Port;
use barline_vhost::Features;
use common::memory::{GUEST, Memory};
use common::ring::Ring;
use common::*;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use vhost::VhostBackend;

const CSUM: u64 = 1 << 0;
const HOST_TSO4: u64 = 1 << 11;

const SIZE: u16 = 8;
const NEXT: u64 = 1;
const WRITE: u64 = 2;
const TABLE: u64 = 4;

/// What of a ring is rewritten: offsets in the memory.
#[derive(Clone, Copy)]
struct Place {
    desc: u64,
    driver: u64,
    device: u64,
    /// Tables, 256 bytes a descriptor, and behind them buffers.
    tables: u64,
    buffers: u64,
    /// The flag of what the device writes to.
    write: u64,
}

impl Place {
    fn of(ring: &Ring, write: bool) -> Self {
        Self {
            desc: ring.desc,
            driver: ring.driver,
            device: ring.device,
            tables: ring.desc + 0x10000,
            buffers: ring.desc + Ring::BYTES,
            write: if write { WRITE } else { 0 },
        }
    }
}

/// Numbers, and the guest that draws them.
struct Scribbler {
    memory: Memory,
    packed: bool,
    state: u64,
}

impl Scribbler {
    fn draw(&mut self, below: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) % below
    }

    fn pick(&mut self, from: &[u64]) -> u64 {
        from[self.draw(from.len() as u64) as usize]
    }

    /// One of the good ones, seven times of eight: a ring is to be read for a while before it stops.
    fn mostly(&mut self, good: &[u64], bad: &[u64]) -> u64 {
        if self.draw(8) > 0 {
            self.pick(good)
        } else {
            self.pick(bad)
        }
    }

    /// Where a buffer is: mostly somewhere.
    fn address(&mut self, place: &Place, n: u64) -> u64 {
        let good = GUEST + place.buffers + n * 0x4000;
        let wild = self.state;
        self.mostly(&[good], &[good + 0x3ff0, wild, u64::MAX - 20])
    }

    fn len(&mut self) -> u64 {
        let bad = [12, 13, 0, 4000, 40_000, 0x1_0000, u64::from(u32::MAX)];
        self.mostly(&[72, 74, 1526], &bad)
    }

    fn flags(&mut self, place: &Place) -> u64 {
        place.write ^ self.mostly(&[0], &[NEXT, WRITE, TABLE])
    }

    /// A table of descriptor `n`, and its length.
    fn table(&mut self, place: &Place, n: u64) -> (u64, u64) {
        let (at, entry) = (place.tables + n * 256, self.draw(8));
        let (address, len, flags) = (self.address(place, n), self.len(), self.flags(place));
        let rest = match self.packed {
            true => len | flags << 48,
            false => len | flags << 32 | self.draw(9) << 48,
        };
        self.memory.set_u64(at + entry * 16, address);
        self.memory.set_u64(at + entry * 16 + 8, rest);
        (GUEST + at, self.pick(&[16, 32, 64, 128, 17, 0]))
    }

    /// One descriptor, its header, and that it is available.
    fn scribble(&mut self, place: &Place) {
        let (n, flags) = (self.draw(SIZE.into()), self.flags(place));
        let (address, len) = match flags & TABLE != 0 {
            true => self.table(place, n),
            false => (self.address(place, n), self.len()),
        };
        // Flags, kind, header's length, size, and where the checksum starts and is (5.1.6): all of them near.
        let [flag, kind] = [self.draw(4), self.pick(&[0, 1, 4, 0x81])].map(|byte| byte as u8);
        let [header, size, start, offset] =
            [self.draw(80), self.draw(256), self.draw(80), self.draw(80)].map(|byte| byte as u8);
        let header = [flag, kind, header, 0, size, 1, start, 0, offset, 0];
        self.memory.write(place.buffers + n * 0x4000, &header);
        let rest = match self.packed {
            // Available in one round or the other.
            true => len | n << 32 | (flags | self.pick(&[1 << 7, 1 << 15])) << 48,
            false => len | flags << 32 | self.draw(9) << 48,
        };
        self.memory.set_u64(place.desc + n * 16, address);
        self.memory.set_u64(place.desc + n * 16 + 8, rest);
        if !self.packed {
            let slot = self.draw(SIZE.into());
            self.memory.set_u16(place.driver + 4 + slot * 2, n as u16);
            let more = self.mostly(&[1, 2, 4, 8], &[0, 9]) as u16;
            let next = self.memory.u16(place.device + 2).wrapping_add(more);
            self.memory.set_u16(place.driver + 2, next);
        }
    }
}

/// What comes must be frames that ask for nothing outside of them; returns how many.
fn receive(near: &mut Near) -> u64 {
    rest();
    let mut batch = Batch::new();
    near.queues.rx[0].receive(&mut near.cache, &mut batch);
    for packet in batch.as_slice() {
        let offload = packet.offload();
        assert!((14..=LONG_ROOM).contains(&packet.len()));
        if let Checksum::Partial { start, offset } = offload.checksum {
            assert!(usize::from(start) + usize::from(offset) + 2 <= packet.len());
        }
        let kind = offload.segmentation.map(|segmentation| segmentation.kind);
        assert!(kind.is_none_or(|kind| kind == SegmentKind::Tcp4));
    }
    let count = batch.len() as u64;
    near.cache.free(&mut batch);
    count
}

/// Rings that were found malformed are set up anew, as they are by then.
fn repair(near: &Near, peer: &mut Peer) {
    if near.port.link().up {
        return;
    }
    for index in 0..2 {
        peer.frontend.get_vring_base(index).unwrap();
        let used = peer.memory.u16(peer.rings[index].device + 2);
        let packed = peer.rings[index].shape.packed;
        peer.start_ring_at(index, if packed { 1 << 15 } else { used });
    }
}

fn race(features: u64) {
    let mut near = Near::started(1, 1500, LONG_ROOM, Features::default(), |config| {
        config.offloads = Offloads::all();
    });
    let wish = Wish {
        features: features | INDIRECT | CSUM | HOST_TSO4,
        size: SIZE,
        ..Wish::default()
    };
    let mut peer = near.meet(wish);
    let places = [Place::of(&peer.rings[0], true), Place::of(&peer.rings[1], false)];
    let mut scribbler = Scribbler {
        memory: peer.memory.clone(),
        packed: features & PACKED != 0,
        state: features | 1,
    };
    let over = AtomicBool::new(false);
    let (mut got, mut taken) = (0, 0);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Relaxed) {
                places.iter().for_each(|place| scribbler.scribble(place));
            }
        });
        let play = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let (mut faults, mut turns) = (0, 0);
            until("frames and faults", || {
                for _ in 0..20 {
                    got += receive(&mut near);
                    taken += 2 - near.send(0, &[frame(60, 1), frame(1500, 2)]) as u64;
                    repair(&near, &mut peer);
                }
                let device = near.device();
                let bad = |(name, count): (&&str, &u64)| name.starts_with("peer_bad").then_some(*count);
                faults = device.iter().filter_map(bad).sum();
                turns += 1;
                if turns % 256 == 0 {
                    eprintln!("{got} frames came, {taken} went, {faults} faults");
                }
                got > 300 && taken > 50 && faults > 30
            });
        }));
        over.store(true, Relaxed);
        play.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    assert_eq!(near.queues.rx[0].counters().rx_packets.get(), got);
    let tx = near.queues.tx[0].counters();
    assert_eq!(tx.tx_packets.get() + tx.tx_lengths.get(), taken);
    drop(peer);
    until("the end of the link", || !near.port.link().up);
    near.serves_the_next(wish);
}

#[test]
fn a_guest_that_rewrites_split_rings_while_they_are_read() {
    race(0);
    race(MRG | EVENT_IDX);
}

#[test]
fn a_guest_that_rewrites_packed_rings_while_they_are_read() {
    race(PACKED);
    race(PACKED | MRG);
}
