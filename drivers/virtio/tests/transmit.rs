//! Transmit rings, split and packed, against a device that completes as it likes.

mod common;

use barline::mem::Iova;
use barline::pool::{Batch, PoolCache};
use barline::port::TxQueue;
use barline::ring::completion::TxRing;
use barline_virtio::{Packed, Split, Traits};
use common::{Dice, Far, HEADER, Hand, Kicks, Rig, Shape, frame, pool, with_headroom};
use proptest::prelude::*;

struct Sending<S: Shape> {
    rig: Rig,
    other: barline::pool::Pool,
    ring: TxRing<S, Kicks>,
    far: S::Far,
    hand: Hand,
    /// What the device read, by id.
    read: Vec<Vec<u8>>,
    cache: PoolCache,
    len: usize,
    numbers: u32,
    seen: u32,
}

impl<S: Shape> Sending<S> {
    fn new(len: u32, with: Traits) -> Self {
        let rig = Rig::new(4 * len as usize);
        let other = pool(4 * len as usize);
        let (format, far) = S::make(&rig, len, with);
        let others = [other.map(&rig.domain).unwrap()];
        let ring = TxRing::new(
            format,
            rig.kicks.clone(),
            &rig.map,
            &others,
            &rig.custody,
            &rig.limit,
            &rig.health,
        );
        let (ring, cache) = (ring.unwrap(), rig.pool.cache());
        Self {
            rig,
            other,
            ring,
            far,
            hand: Hand::default(),
            read: vec![Vec::new(); len as usize],
            cache,
            len: len as usize,
            numbers: 0,
            seen: 0,
        }
    }

    /// Sends up to `n` frames of `len` bytes with so much headroom, some of another pool.
    fn send(&mut self, n: usize, len: u32, headroom: usize, dice: &mut Dice) -> usize {
        let mut batch = Batch::new();
        let mut other = self.other.cache();
        for i in 0..n {
            let from = if dice.below(5) == 0 {
                &mut other
            } else {
                &mut self.cache
            };
            let Some(mut packet) = from.alloc() else { break };
            with_headroom(&mut packet, headroom, &frame(self.numbers + i as u32, len));
            batch.push(packet).unwrap();
        }
        let (before, all) = (self.ring.in_flight(), batch.len());
        let sent = self.ring.transmit(&mut self.cache, &mut batch);
        // What finds no room stays, and nothing else does.
        assert!(
            batch.is_empty() || self.ring.has_ended() || before + all > self.len,
            "{sent} of {all} behind {before}"
        );
        self.numbers += sent as u32;
        batch.clear();
        sent
    }

    /// The device reads what is there, and completes some of it in any order.
    fn work(&mut self, complete: usize, dice: &mut Dice, in_order: bool) {
        let before = self.hand.0.len();
        self.hand.fetch(&mut self.far);
        for buffer in self.hand.0.iter().skip(before) {
            let bytes = self.far.read(buffer);
            self.read[usize::from(buffer.id)].clone_from(&bytes);
            let (header, data) = bytes.split_at(HEADER as usize);
            assert!(header.iter().all(|byte| *byte == 0), "{header:?}");
            assert_eq!(data, frame(self.seen, data.len() as u32));
            self.seen += 1;
        }
        let mut left = complete.min(self.hand.0.len());
        while left > 0 {
            let skips = if in_order { dice.below(left) } else { 0 };
            let pick = if in_order {
                skips
            } else {
                dice.below(self.hand.0.len())
            };
            // Until now the packets were the device's: nobody has written to them.
            let range = if in_order { 0..pick + 1 } else { pick..pick + 1 };
            for held in self.hand.0.iter().skip(range.start).take(range.len()) {
                assert_eq!(self.far.read(held), self.read[usize::from(held.id)]);
            }
            let id = self.hand.0[pick].id;
            self.hand
                .0
                .drain(if in_order { 0..pick + 1 } else { pick..pick + 1 });
            self.far.give(id, 0, skips as u32);
            left -= 1 + skips;
        }
    }

    fn end(mut self, in_order: bool) {
        self.work(usize::MAX, &mut Dice(0), in_order);
        self.ring.reclaim(&mut self.cache);
        assert_eq!((self.ring.in_flight(), self.seen), (0, self.numbers));
        self.finish();
    }

    fn finish(mut self) {
        drop(self.ring);
        self.rig.custody.open();
        self.cache.flush();
        for pool in [&self.rig.pool, &self.other] {
            assert_eq!(pool.available(), pool.packets());
        }
    }
}

fn any_order<S: Shape>(shift: u32, seed: u64, with: Traits, steps: &[(usize, u32, usize, usize)]) {
    let mut lab = Sending::<S>::new(1 << shift, with);
    let mut dice = Dice(seed);
    for (n, len, headroom, complete) in steps {
        lab.send(*n, *len, *headroom, &mut dice);
        lab.work(*complete, &mut dice, with.in_order);
        assert!(!lab.rig.health.is_broken());
        if dice.below(4) == 0 {
            let held = lab.hand.0.len();
            lab.ring.reclaim(&mut lab.cache);
            assert_eq!(lab.ring.in_flight(), held);
        }
    }
    lab.end(with.in_order);
}

fn nonsense<S: Shape>(shift: u32, seed: u64, with: Traits, steps: &[(usize, u32, usize, usize)]) {
    let mut lab = Sending::<S>::new(1 << shift, with);
    let mut dice = Dice(seed);
    for (n, len, headroom, _) in steps {
        lab.send(*n, *len, *headroom, &mut dice);
        if dice.below(2) == 0 {
            let (at, room) = lab.far.target();
            let bytes = [dice.below(256) as u8, dice.below(256) as u8];
            let offset = dice.below(room - 2) as u64;
            lab.far
                .domain()
                .write(barline::mem::Iova::new(at + offset), &bytes)
                .unwrap();
        } else if let Some(buffer) = lab.far.take() {
            lab.far.give(buffer.id, 0, 0);
        }
        lab.ring.reclaim(&mut lab.cache);
        let counters = lab.ring.counters();
        let faults = counters.tx_bad_ids.get() + counters.tx_overruns.get();
        assert_eq!(faults, u64::from(lab.ring.has_ended()));
    }
    lab.finish();
}

fn traits() -> impl Strategy<Value = Traits> {
    any::<(bool, bool)>().prop_map(|(event_idx, in_order)| Traits {
        event_idx,
        in_order,
        ..Traits::default()
    })
}

/// Packets, length, headroom, completions.
fn steps(most: usize) -> impl Strategy<Value = Vec<(usize, u32, usize, usize)>> {
    proptest::collection::vec((0usize..20, 14u32..240, 0usize..64, 0usize..20), 1..most)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_frame_is_seen_once_and_comes_home(
        shift in 3u32..7, seed: u64, with in traits(), steps in steps(120), packed: bool
    ) {
        match packed {
            true => any_order::<Packed<false>>(shift, seed, with, &steps),
            false => any_order::<Split<false>>(shift, seed, with, &steps),
        }
    }

    #[test]
    fn whatever_a_device_writes_no_packet_is_lost_or_doubled(
        shift in 3u32..6, seed: u64, with in traits(), steps in steps(120), packed: bool
    ) {
        match packed {
            true => nonsense::<Packed<false>>(shift, seed, with, &steps),
            false => nonsense::<Split<false>>(shift, seed, with, &steps),
        }
    }
}

fn kicks<S: Shape>(event_idx: bool) {
    let mut lab = Sending::<S>::new(
        16,
        Traits {
            event_idx,
            ..Traits::default()
        },
    );
    let mut dice = Dice(3);
    for round in 0..100 {
        lab.far.quiet(round % 3 == 0);
        let before = lab.rig.kicks.count();
        let sent = lab.send(round % 4, 60, 64, &mut dice);
        let wanted = sent > 0 && round % 3 != 0;
        assert_eq!(
            lab.rig.kicks.count() - before,
            u64::from(wanted),
            "round {round}, {sent} sent"
        );
        assert_eq!(lab.ring.counters().tx_doorbells.get(), lab.rig.kicks.count());
        lab.work(usize::MAX, &mut dice, false);
    }
    lab.end(false);
}

#[test]
fn a_burst_kicks_once_where_the_device_asks_for_it() {
    kicks::<Split<false>>(true);
    kicks::<Split<false>>(false);
    kicks::<Packed<false>>(true);
}

#[test]
fn a_packet_without_room_for_the_header_is_moved_or_dropped() {
    let mut lab = Sending::<Split<false>>::new(8, Traits::default());
    let room = lab.rig.pool.buffer_len();
    lab.rig.limit.set(room as u32);
    for (len, sent) in [(room - 12, 1), (room - 11, 0)] {
        assert_eq!(lab.send(1, len as u32, 0, &mut Dice(1)), sent, "{len}");
    }
    assert_eq!(lab.ring.counters().tx_lengths.get(), 1);
    lab.end(false);
}

fn a_burst_at_once<S: Shape>() {
    let rig = Rig::new(16);
    let (mut ring, mut far) = S::make(&rig, 8, Traits::default());
    for from in [0, 3, 6] {
        for at in from..from + 3 {
            ring.post(at, at as u16 % 8, Iova::new(0x1000 * u64::from(at + 1)), 76);
            assert!(far.take().is_none(), "{at} was posted only");
        }
        ring.publish(from, from + 3);
        let there: Vec<u64> = std::iter::from_fn(|| far.take())
            .map(|buffer| buffer.at)
            .collect();
        let posted: Vec<u64> = (from..from + 3).map(|at| 0x1000 * u64::from(at + 1)).collect();
        assert_eq!(there, posted);
    }
}

#[test]
fn the_device_sees_a_burst_as_a_whole() {
    a_burst_at_once::<Split<false>>();
    a_burst_at_once::<Packed<false>>();
}
