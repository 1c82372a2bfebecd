//! The rings against a kernel played by hand, which gives back in any order.

use super::*;
use crate::sys::ring::{Desc, Ring};
use crate::sys::umem::BASE;
use crate::umem::HEADROOM;
use barline::mem::Iova;
use barline::pool::Peek;
use barline::ring::completion::Format;
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// What the engine's loops do about ids: one at each position, exchanged when something comes back out of turn.
struct Order {
    ids: Vec<u16>,
    head: u32,
    tail: u32,
}

impl Order {
    fn new(len: u32, start: u32) -> Self {
        Self {
            ids: (0..len as u16).collect(),
            head: start,
            tail: start,
        }
    }

    fn place(&self, at: u32) -> usize {
        at as usize % self.ids.len()
    }

    fn id(&self, at: u32) -> u16 {
        self.ids[self.place(at)]
    }

    fn room(&self) -> u32 {
        self.ids.len() as u32 - self.tail.wrapping_sub(self.head)
    }

    /// Brings `id` to the head.
    fn settle(&mut self, id: u32, format: &mut impl Format) {
        let in_flight = (0..self.tail.wrapping_sub(self.head)).map(|i| self.head.wrapping_add(i));
        let at = in_flight
            .into_iter()
            .find(|at| u32::from(self.id(*at)) == id)
            .expect("an id in flight");
        let (a, b) = (self.place(self.head), self.place(at));
        self.ids.swap(a, b);
        for at in [self.head, at] {
            format.renumber(at, self.id(at));
        }
        self.head = self.head.wrapping_add(1);
    }
}

/// A buffer's address in the UMEM, by a number.
fn address(number: u64) -> u64 {
    number * 2240
}

proptest! {
    #[test]
    fn received_buffers_are_found_whatever_their_order(
        shift in 2u32..6,
        steps in proptest::collection::vec((0u32..20, 0usize..20, any::<usize>()), 1..80),
    ) {
        let len = 1u32 << shift;
        let (fill, rx) = (Ring::fake(len), Ring::fake(len));
        let (kernel_fill, kernel_rx): (Ring<AtomicU64>, Ring<Desc>) = (fill.twin(), rx.twin());
        let mut format = Receive::new(fill, rx, false, false, None);
        let (mut order, mut number) = (Order::new(len, 0), 0);
        let (mut hand, mut told) = (Vec::new(), VecDeque::new());
        let mut wanted = BTreeMap::new();
        for (posts, returns, choice) in steps {
            let from = order.tail;
            for _ in 0..posts.min(order.room()) {
                let (at, id) = (order.tail, order.id(order.tail));
                format.post(at, id, Iova::new(BASE + address(number) + HEADROOM as u64), 0);
                wanted.insert(address(number), id);
                (order.tail, number) = (at.wrapping_add(1), number + 1);
            }
            if order.tail != from {
                format.publish(from, order.tail);
            }
            // The kernel takes all that is there.
            let end = kernel_fill.producer().load(Acquire);
            let mut at = kernel_fill.consumer().load(Relaxed);
            while at != end {
                hand.push(kernel_fill.at(at).load(Relaxed));
                at = at.wrapping_add(1);
            }
            kernel_fill.consumer().store(end, Release);
            for _ in 0..returns.min(hand.len()) {
                let one = hand.swap_remove(choice % hand.len());
                let at = kernel_rx.producer().load(Relaxed);
                prop_assert!(at.wrapping_sub(kernel_rx.consumer().load(Acquire)) < len, "room in the ring");
                kernel_rx.at(at).addr.store(one | (HEADROOM as u64) << OFFSET, Relaxed);
                kernel_rx.at(at).len.store(one as u32 % 1500 + 1, Relaxed);
                kernel_rx.producer().store(at.wrapping_add(1), Release);
                told.push_back(one);
            }
            // All but a few are taken.
            while let Some(one) = told.front().copied().filter(|_| told.len() > choice % 3) {
                let id = u32::from(wanted[&one]);
                prop_assert!(!format.is_pending(order.head));
                prop_assert_eq!(format.look(order.head, order.tail), Look::Done { id, len: one as u32 % 1500 + 1 });
                order.settle(id, &mut format);
                wanted.remove(&one);
                // The ids of what is in flight have moved with their buffers.
                told.pop_front();
            }
            if told.is_empty() {
                prop_assert_eq!(format.look(order.head, order.tail), Look::Pending);
            }
        }
    }

    #[test]
    fn sent_frames_are_known_whatever_their_order_and_pieces(
        shift in 2u32..6,
        steps in proptest::collection::vec((proptest::collection::vec(14u32..9019, 0..9), 0usize..20, any::<usize>()), 1..80),
    ) {
        const CHUNK: u32 = 4096;
        let positions = 1u32 << shift;
        let descs = positions * pieces(9018, CHUNK);
        let (tx, completion) = (Ring::fake(descs), Ring::fake(descs));
        let (kernel_tx, kernel_completion): (Ring<Desc>, Ring<AtomicU64>) = (tx.twin(), completion.twin());
        let mut format = Transmit::new((tx, completion), positions, CHUNK, false, None);
        let (mut order, mut number) = (Order::new(positions, 0), 1);
        let mut sent: Vec<Vec<u64>> = Vec::new();
        let (mut ids, mut told) = (BTreeMap::new(), VecDeque::new());
        for (lens, returns, choice) in steps {
            let from = order.tail;
            for len in lens.into_iter().take(order.room() as usize) {
                let (at, id) = (order.tail, order.id(order.tail));
                // Five cache lines further than the slot, and odd.
                let start = number * 16384 + 321;
                format.post(at, id, Iova::new(BASE + start), len);
                ids.insert(start & LINE, (id, len));
                (order.tail, number) = (at.wrapping_add(1), number + 1);
            }
            if order.tail != from {
                format.publish(from, order.tail);
            }
            let (mut at, end) = (kernel_tx.consumer().load(Relaxed), kernel_tx.producer().load(Acquire));
            let mut frame: Vec<(u64, u32)> = Vec::new();
            while at != end {
                let desc = kernel_tx.at(at);
                frame.push((desc.addr.load(Relaxed), desc.len.load(Relaxed)));
                at = at.wrapping_add(1);
                if desc.options.load(Relaxed) == 0 {
                    let whole: u32 = frame.iter().map(|(_, len)| len).sum();
                    prop_assert_eq!(whole, ids[&(frame[0].0 & LINE)].1);
                    prop_assert!(frame.iter().all(|(_, len)| (1..=CHUNK).contains(len)));
                    prop_assert!(frame.windows(2).all(|pair| pair[0].0 + u64::from(pair[0].1) == pair[1].0));
                    // As newer kernels do, the lowest bit is lost.
                    sent.push(frame.drain(..).map(|(address, _)| address & !1).collect());
                }
            }
            prop_assert!(frame.is_empty());
            kernel_tx.consumer().store(end, Release);
            for _ in 0..returns.min(sent.len()) {
                let one = sent.swap_remove(choice % sent.len());
                for address in &one {
                    let at = kernel_completion.producer().load(Relaxed);
                    prop_assert!(at.wrapping_sub(kernel_completion.consumer().load(Acquire)) < descs);
                    kernel_completion.at(at).store(*address, Relaxed);
                    kernel_completion.producer().store(at.wrapping_add(1), Release);
                }
                told.push_back(one[0] & LINE);
            }
            while let Some(start) = told.pop_front() {
                let id = u32::from(ids[&start].0);
                prop_assert_eq!(format.look(order.head, order.tail), Look::Done { id, len: 0 });
                order.settle(id, &mut format);
            }
            prop_assert_eq!(format.look(order.head, order.tail), Look::Pending);
        }
    }

    #[test]
    fn indices_and_addresses_that_cannot_be_are_no_frames(producer: u32, posted in 0u32..=16, addr: u64, other: u64) {
        let (fill, rx) = (Ring::fake(16), Ring::fake(16));
        let kernel: Ring<Desc> = rx.twin();
        let mut format = Receive::new(fill, rx, true, false, None);
        for at in 0..posted {
            format.post(at, at as u16, Iova::new(BASE + address(at.into()) + HEADROOM as u64), 0);
        }
        format.publish(0, posted);
        (0..16).for_each(|at| kernel.at(at).addr.store(if at % 2 == 0 { addr } else { other }, Relaxed));
        kernel.producer().store(producer, Release);
        match format.look(0, posted) {
            Look::Pending => prop_assert_eq!(producer, 0),
            Look::Overrun => prop_assert!(producer > posted),
            Look::Done { id, len } => {
                prop_assert!(producer <= posted);
                let known = (0..posted).find(|at| address((*at).into()) == addr & ADDRESS);
                prop_assert_eq!(id, known.unwrap_or(NONE));
                prop_assert!(known.is_none() || addr >> OFFSET == HEADROOM as u64 || len == u32::MAX);
            }
        }
    }
}

#[test]
fn a_frame_in_several_buffers_is_taken_when_all_of_it_is_there() {
    let (fill, rx) = (Ring::fake(8), Ring::fake(8));
    let kernel: Ring<Desc> = rx.twin();
    let mut format = Receive::new(fill, rx, true, false, None);
    let show = |at: u32, more: bool| {
        kernel
            .at(at)
            .addr
            .store(address(at.into()) | (HEADROOM as u64) << OFFSET, Relaxed);
        kernel
            .at(at)
            .options
            .store(if more { libc::XDP_PKT_CONTD } else { 0 }, Relaxed);
        kernel.producer().store(at + 1, Release);
    };
    (0..8).for_each(|at| {
        format.post(
            at,
            at as u16,
            Iova::new(BASE + address(at.into()) + HEADROOM as u64),
            0,
        )
    });
    format.publish(0, 8);
    let none = || -> Peek { unreachable!("the descriptors say it") };
    show(0, true);
    show(1, true);
    assert!(matches!(format.look(0, 8), Look::Done { id: 0, .. }));
    assert_eq!(format.parts(0, &none), None);
    show(2, false);
    assert_eq!(format.parts(0, &none), Some(3));
    show(3, false);
    assert!(matches!(format.look(3, 8), Look::Done { id: 3, .. }));
    assert_eq!(format.parts(3, &none), Some(1));
}
