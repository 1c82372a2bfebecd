//! Receive rings, split and packed, against a device that completes as it likes.

mod common;

use barline::pool::Batch;
use barline::port::RxQueue;
use barline::ring::completion::RxRing;
use barline::wait::Armed;
use barline_virtio::{Packed, Split, Traits};
use common::{Dice, Far, HEADER, Hand, Kicks, Rig, Shape, frame};
use proptest::prelude::*;
use std::collections::VecDeque;

struct Receiving<S: Shape> {
    rig: Rig,
    ring: RxRing<S, Kicks>,
    far: S::Far,
    hand: Hand,
    cache: barline::pool::PoolCache,
    /// Frames in the order of completion, without those that are to be dropped.
    expected: VecDeque<Vec<u8>>,
    dropped: u64,
    sent: u32,
}

impl<S: Shape> Receiving<S> {
    fn new(len: u32, with: Traits) -> Self {
        let rig = Rig::new(3 * len as usize);
        let (format, far) = S::make(&rig, len, with);
        let ring = RxRing::new(
            format,
            rig.kicks.clone(),
            &rig.map,
            &rig.custody,
            &rig.limit,
            &rig.health,
        );
        let (mut ring, mut cache) = (ring.unwrap(), rig.pool.cache());
        ring.fill(&mut cache);
        Self {
            rig,
            ring,
            far,
            hand: Hand::default(),
            cache,
            expected: VecDeque::new(),
            dropped: 0,
            sent: 0,
        }
    }

    /// One frame of `len` bytes in `parts` buffers, chosen by the dice; false when the device has too few.
    fn deliver(&mut self, len: u32, parts: usize, dice: &mut Dice, in_order: bool) -> bool {
        self.hand.fetch(&mut self.far);
        if self.hand.0.len() < parts {
            return false;
        }
        let bytes = frame(self.sent, len);
        self.sent += 1;
        let mut rest = &bytes[..];
        let mut used = Vec::new();
        for part in 0..parts {
            let pick = if in_order {
                0
            } else {
                dice.below(self.hand.0.len())
            };
            let buffer = self.hand.0.remove(pick).unwrap();
            let prefix = if part == 0 { HEADER } else { 0 };
            let most = (rest.len()).min((buffer.len - prefix) as usize);
            let n = if part + 1 == parts {
                most
            } else {
                most.min(1 + dice.below(most))
            };
            if part == 0 {
                let mut header = [0xee; HEADER as usize];
                header[10..].copy_from_slice(&(parts as u16).to_le_bytes());
                self.far.write(&buffer, 0, &header);
            }
            self.far.write(&buffer, prefix, &rest[..n]);
            rest = &rest[n..];
            used.push((buffer.id, prefix + n as u32));
        }
        for (id, len) in used {
            self.far.give(id, len, 0);
        }
        // What found no room in the buffers the device has cut off.
        let written = bytes.len() - rest.len();
        if (1..=self.rig.pool.data_room()).contains(&written) {
            self.expected.push_back(bytes[..written].to_vec());
        } else {
            self.dropped += 1;
        }
        true
    }

    fn receive(&mut self, burst: usize) -> usize {
        let mut batch = Batch::with_burst(burst);
        let got = self.ring.receive(&mut self.cache, &mut batch);
        assert_eq!(got, batch.len());
        for packet in batch.as_slice() {
            assert_eq!(Some(&packet[..]), self.expected.pop_front().as_deref());
        }
        self.cache.free(&mut batch);
        got
    }

    /// Everything is home, whatever happened.
    fn end(mut self) {
        while !self.ring.has_ended() && self.receive(7) > 0 {}
        self.finish();
    }

    fn finish(mut self) {
        drop(self.ring);
        self.rig.custody.open();
        self.cache.flush();
        assert_eq!(self.rig.pool.available(), self.rig.pool.packets());
    }
}

fn any_order<S: Shape>(shift: u32, seed: u64, with: Traits, steps: &[(u32, usize, usize)]) {
    let mut lab = Receiving::<S>::new(1 << shift, with);
    let mut dice = Dice(seed);
    for (len, parts, burst) in steps {
        let parts = if with.merges { *parts } else { 1 };
        lab.deliver(*len, parts, &mut dice, with.in_order);
        if dice.below(3) == 0 {
            lab.receive(*burst);
        }
        assert!(!lab.rig.health.is_broken());
    }
    while lab.receive(5) > 0 {}
    assert!(
        lab.expected.is_empty(),
        "{} frames are missing",
        lab.expected.len()
    );
    assert_eq!(lab.ring.counters().rx_lengths.get(), lab.dropped);
    lab.end();
}

fn nonsense<S: Shape>(shift: u32, seed: u64, with: Traits, steps: &[(u32, usize, usize)]) {
    let mut lab = Receiving::<S>::new(1 << shift, with);
    let mut dice = Dice(seed);
    for (len, parts, burst) in steps {
        lab.hand = Hand::default(); // what it says of ids is of no interest
        if dice.below(2) == 0 && !lab.ring.has_ended() {
            let mut buffers = Vec::new();
            while let Some(buffer) = lab.far.take().filter(|_| buffers.len() < 64) {
                buffers.push(buffer);
            }
            if let Some(buffer) = buffers.first() {
                let parts = (*parts as u16).wrapping_mul(dice.below(9) as u16);
                let header = [[0; 10].as_slice(), &parts.to_le_bytes()].concat();
                let _ = lab
                    .far
                    .domain()
                    .write(barline::mem::Iova::new(buffer.at), &header);
                lab.far.give(buffer.id, *len, 0);
            }
        } else {
            let (at, room) = lab.far.target();
            let bytes = [dice.below(256) as u8, dice.below(256) as u8];
            let offset = dice.below(room - 2) as u64;
            lab.far
                .domain()
                .write(barline::mem::Iova::new(at + offset), &bytes)
                .unwrap();
        }
        let mut batch = Batch::with_burst(*burst);
        lab.ring.receive(&mut lab.cache, &mut batch);
        assert!(
            batch
                .as_slice()
                .iter()
                .all(|packet| packet.len() <= lab.rig.pool.data_room())
        );
        lab.cache.free(&mut batch);
        let counters = lab.ring.counters();
        let faults = counters.rx_bad_ids.get() + counters.rx_overruns.get();
        assert_eq!(faults, u64::from(lab.ring.has_ended()));
        assert_eq!(lab.rig.health.is_broken(), lab.ring.has_ended());
    }
    lab.finish();
}

fn traits() -> impl Strategy<Value = Traits> {
    any::<[bool; 3]>().prop_map(|[event_idx, in_order, merges]| Traits {
        event_idx,
        in_order,
        merges,
        ..Traits::default()
    })
}

fn steps(most: usize) -> impl Strategy<Value = Vec<(u32, usize, usize)>> {
    proptest::collection::vec((0u32..400, 1usize..5, 1usize..40), 1..most)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_frame_comes_once_in_the_order_of_completion(
        shift in 3u32..7, seed: u64, with in traits(), steps in steps(300), packed: bool
    ) {
        match packed {
            true => any_order::<Packed<true>>(shift, seed, with, &steps),
            false => any_order::<Split<true>>(shift, seed, with, &steps),
        }
    }

    #[test]
    fn whatever_a_device_writes_no_buffer_is_lost_or_doubled(
        shift in 3u32..6, seed: u64, with in traits(), steps in steps(200), packed: bool
    ) {
        match packed {
            true => nonsense::<Packed<true>>(shift, seed, with, &steps),
            false => nonsense::<Split<true>>(shift, seed, with, &steps),
        }
    }
}

/// Full buffers and one more frame, told by one word about the last (2.7.9, 2.8.9).
fn runs<S: Shape>() {
    let with = Traits {
        in_order: true,
        ..Traits::default()
    };
    let mut lab = Receiving::<S>::new(8, with);
    for round in 0..50u32 {
        lab.hand.fetch(&mut lab.far);
        let run = 1 + round % 4;
        for i in 0..run {
            let buffer = lab.hand.0.pop_front().unwrap();
            let len = if i + 1 == run { 60 } else { buffer.len - HEADER };
            let bytes = frame(round + i, len);
            lab.far.write(&buffer, HEADER, &bytes);
            lab.expected.push_back(bytes);
            if i + 1 == run {
                lab.far.give(buffer.id, HEADER + len, run - 1);
            }
        }
        // Small bursts stop in the middle of a run.
        while lab.receive(2) > 0 {}
        assert!(lab.expected.is_empty(), "round {round}");
    }
    lab.end();
}

#[test]
fn a_device_in_order_may_tell_the_last_of_several_only() {
    runs::<Split<true>>();
    runs::<Packed<true>>();
}

/// Frames in order, some of them in several buffers, told by as few words as the device may: one for full buffers and the one
/// behind them, wherever frames end. It tells what it has used from time to time, in the middle of a frame too.
fn merged_runs<S: Shape>(shift: u32, seed: u64, steps: &[(u32, usize, usize)]) {
    let with = Traits {
        in_order: true,
        merges: true,
        ..Traits::default()
    };
    let (mut lab, mut dice) = (Receiving::<S>::new(1 << shift, with), Dice(seed));
    let (mut untold, mut whole) = (VecDeque::<(u16, u32, bool)>::new(), VecDeque::new());
    for (number, (len, parts, burst)) in steps.iter().enumerate() {
        lab.hand.fetch(&mut lab.far);
        // More of the short ones would need a buffer that is not full in the middle of a run.
        let full = dice.below(2) == 0;
        let (parts, most) = if full {
            (1, lab.rig.pool.data_room() as u32)
        } else {
            (*parts, 255)
        };
        if lab.hand.0.len() < parts {
            lab.receive(*burst);
            continue;
        }
        let bytes = frame(number as u32, if full { most } else { len % (most - 4) + 4 });
        for (part, piece) in bytes.chunks(bytes.len().div_ceil(parts)).enumerate() {
            let buffer = lab.hand.0.pop_front().unwrap();
            let prefix = if part == 0 { HEADER } else { 0 };
            if part == 0 {
                let count = bytes.chunks(bytes.len().div_ceil(parts)).len() as u16;
                let header = [[0xee; 10].as_slice(), &count.to_le_bytes()].concat();
                lab.far.write(&buffer, 0, &header);
            }
            lab.far.write(&buffer, prefix, piece);
            let used = prefix + piece.len() as u32;
            untold.push_back((buffer.id, used, used == buffer.len));
        }
        whole.push_back(bytes);
        let tell = dice.below(untold.len() + 2);
        tell_some(&mut lab, &mut untold, tell);
        lab.expected.extend(whole.drain(..));
        if dice.below(3) == 0 {
            lab.receive(*burst);
        }
    }
    let all = untold.len();
    tell_some(&mut lab, &mut untold, all);
    while lab.receive(3) > 0 {}
    assert!(
        lab.expected.is_empty(),
        "{} frames are missing",
        lab.expected.len()
    );
    assert_eq!(lab.ring.counters().rx_lengths.get(), 0);
    lab.end();
}

/// Tells of `most` of them: of full ones and the one behind them in a word.
fn tell_some<S: Shape>(lab: &mut Receiving<S>, untold: &mut VecDeque<(u16, u32, bool)>, most: usize) {
    let (mut skips, mut left) = (0, most.min(untold.len()));
    while left > 0 {
        let (id, len, full) = untold.pop_front().unwrap();
        left -= 1;
        if full && left > 0 {
            skips += 1;
        } else {
            lab.far.give(id, len, skips);
            skips = 0;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_device_in_order_may_tell_the_last_of_several_only_in_the_middle_of_frames_too(
        shift in 3u32..7, seed: u64, steps in steps(200), packed: bool
    ) {
        match packed {
            true => merged_runs::<Packed<true>>(shift, seed, &steps),
            false => merged_runs::<Split<true>>(shift, seed, &steps),
        }
    }
}

fn arming<S: Shape>(event_idx: bool) {
    let mut lab = Receiving::<S>::new(
        8,
        Traits {
            event_idx,
            ..Traits::default()
        },
    );
    assert_eq!(lab.ring.arm(), Armed::Silent, "it has no interrupt");
    #[derive(Debug)]
    struct Event(barline::wait::EventFd);
    impl barline::port::Interrupt for Event {
        fn event(&self) -> std::os::fd::BorrowedFd<'_> {
            std::os::fd::AsFd::as_fd(&self.0)
        }
        fn unmask(&self) {}
        fn mask(&self) {}
    }
    let event = Event(barline::wait::EventFd::new().unwrap());
    lab.ring = lab.ring.with_interrupt(Some(Box::new(event)));
    for _ in 0..20 {
        assert!(!lab.far.wanted());
        assert_eq!(lab.ring.arm(), Armed::Wakes);
        assert!(lab.far.wanted());
        lab.ring.disarm();
        assert!(!lab.far.wanted());
        assert!(lab.deliver(60, 1, &mut Dice(1), true));
        assert_eq!(lab.ring.arm(), Armed::Pending);
        assert_eq!(lab.receive(8), 1);
    }
    lab.end();
}

#[test]
fn an_interrupt_comes_only_while_it_is_armed() {
    arming::<Split<true>>(false);
    arming::<Split<true>>(true);
    arming::<Packed<true>>(false);
}

fn faults<S: Shape>(spoil: impl Fn(&mut S::Far), bad_ids: u64, overruns: u64) {
    let mut lab = Receiving::<S>::new(8, Traits::default());
    lab.hand.fetch(&mut lab.far);
    spoil(&mut lab.far);
    assert_eq!(lab.receive(8), 0);
    let counters = lab.ring.counters();
    assert_eq!(
        (counters.rx_bad_ids.get(), counters.rx_overruns.get()),
        (bad_ids, overruns)
    );
    assert!(lab.ring.has_ended() && lab.rig.health.is_broken());
    assert!(matches!(lab.ring.arm(), Armed::Silent));
    lab.finish();
}

#[test]
fn what_cannot_be_ends_the_queue_and_is_counted() {
    faults::<Split<true>>(|far| far.give(8, 60, 0), 1, 0);
    faults::<Packed<true>>(|far| far.give(8, 60, 0), 1, 0);
    faults::<Split<true>>(|far| far.give(0, 60, 8), 0, 1);
    // The same id twice: it is not in flight the second time.
    faults::<Split<true>>(
        |far| {
            far.give(0, 5, 0); // too short for a header: no packet
            far.give(0, 5, 0);
        },
        1,
        0,
    );
}

#[test]
fn frames_beyond_the_limit_are_dropped_and_counted() {
    let mut lab = Receiving::<Split<true>>::new(8, Traits::default());
    lab.rig.limit.set(100);
    assert!(lab.deliver(101, 1, &mut Dice(1), true) && lab.deliver(100, 1, &mut Dice(1), true));
    lab.expected.pop_front();
    assert_eq!((lab.receive(8), lab.ring.counters().rx_lengths.get()), (1, 1));
    lab.end();
}

/// A first buffer that says of its frame what cannot be: it is dropped alone, and the next frame comes.
fn impossible_parts<S: Shape>() {
    let with = Traits {
        merges: true,
        ..Traits::default()
    };
    let mut lab = Receiving::<S>::new(8, with);
    for (round, parts) in [0u16, 9, u16::MAX].into_iter().enumerate() {
        lab.hand.fetch(&mut lab.far);
        let buffer = lab.hand.0.pop_front().unwrap();
        let header = [[0; 10].as_slice(), &parts.to_le_bytes()].concat();
        lab.far.write(&buffer, 0, &header);
        lab.far.give(buffer.id, HEADER + 60, 0);
        assert!(lab.deliver(60, 1, &mut Dice(1), true));
        assert_eq!(lab.receive(8), 1, "{parts} parts");
        assert_eq!(lab.ring.counters().rx_lengths.get(), round as u64 + 1);
    }
    lab.end();
}

#[test]
fn frames_of_no_part_and_of_too_many_are_dropped() {
    impossible_parts::<Split<true>>();
    impossible_parts::<Packed<true>>();
}
