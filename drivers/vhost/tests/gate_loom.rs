//! The gate between a queue's worker and the control thread, in all orders in which the two can meet: with a barrier a burst, and
//! with one in all threads that the control thread makes (`src/membarrier.rs` says what of it is modelled).
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p barline-vhost --release --test gate_loom`
#![cfg(loom)]

#[allow(dead_code, reason = "the crate uses all of it")]
#[path = "../src/turn.rs"]
mod turn;

use loom::cell::UnsafeCell;
use loom::thread;
use std::sync::Arc;
use turn::{Barrier, Turn, Worker, membarrier};

/// What both sides use without any order of their own, as the memory of a ring: loom reports two at a time.
struct Ring(UnsafeCell<u16>);

// SAFETY: loom's cell looks itself whether anybody else is in there.
unsafe impl Send for Ring {}
// SAFETY: as above.
unsafe impl Sync for Ring {}

impl Ring {
    fn new(next: u16) -> Arc<Self> {
        Arc::new(Self(UnsafeCell::new(next)))
    }

    /// Takes a buffer; how many were taken so far.
    fn step(&self) -> u16 {
        self.0.with_mut(|next| {
            // SAFETY: loom's cell has checked that nobody else is here.
            let next = unsafe { &mut *next };
            *next += 1;
            *next
        })
    }

    fn get(&self) -> u16 {
        // SAFETY: as above.
        self.0.with(|next| unsafe { *next })
    }
}

/// How the control thread gets its barrier.
type Everywhere = fn() -> Option<Barrier>;

fn one_a_burst() -> Option<Barrier> {
    None
}

fn interrupts() -> Option<Barrier> {
    Some(membarrier::barrier())
}

/// No barrier but the control thread's own.
fn nothing() -> Option<Barrier> {
    membarrier::barrier();
    Some(|| true)
}

/// All orders in which threads are preempted no more than so many times.
fn check(bound: usize, everywhere: Everywhere, model: fn(Option<Barrier>)) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(bound);
    builder.check(move || model(everywhere()));
}

fn check_both(bound: usize, model: fn(Option<Barrier>)) {
    for everywhere in [one_a_burst, interrupts] {
        check(bound, everywhere, model);
    }
}

fn close(turn: &Turn<Ring>) -> Option<u16> {
    let closed = turn.close(|_| {
        thread::yield_now();
        true
    });
    closed.expect("a worker that runs comes out")
}

/// So many bursts, each of which takes a buffer where there is a ring.
fn work(turn: &Turn<Ring>, bursts: usize) {
    let (mut worker, mut ring) = (Worker::new(turn), None::<Arc<Ring>>);
    for _ in 0..bursts {
        if worker.enter(turn) {
            ring = worker.renew(turn);
            ring.iter().for_each(|ring| worker.note(turn, ring.get()));
        }
        membarrier::point();
        if let Some(ring) = &ring {
            let next = ring.step();
            membarrier::point();
            worker.note(turn, next);
        }
        membarrier::point();
        worker.leave(turn);
        membarrier::point();
    }
    membarrier::end();
}

fn one_is_closed(everywhere: Option<Barrier>) {
    let turn = Arc::new(Turn::new(everywhere));
    let (theirs, ring) = (turn.clone(), Ring::new(5));
    turn.open(ring.clone());
    let worker = thread::spawn(move || work(&theirs, 2));
    let next = close(&turn);
    // Loom reports a worker that is in there.
    let at = ring.step() - 1;
    assert_eq!(at, next.unwrap_or(5));
    worker.join().unwrap();
    assert_eq!(ring.get(), at + 1);
}

/// Behind a closed gate the ring is the control thread's, and goes on where the worker has said.
#[test]
fn nobody_uses_a_ring_behind_a_closed_gate() {
    check_both(4, one_is_closed);
}

/// The worker alone, without any barrier, keeps nothing: what the models above say is due to the control thread's.
#[test]
#[should_panic(expected = "Causality violation")]
fn without_the_barrier_somebody_does() {
    check(4, nothing, one_is_closed);
}

/// A change: the worker goes on with the new ring, and never with the old one.
#[test]
fn a_worker_goes_on_with_the_ring_that_is_there_now() {
    check_both(3, |everywhere| {
        let turn = Arc::new(Turn::new(everywhere));
        let (theirs, old, new) = (turn.clone(), Ring::new(0), Ring::new(100));
        turn.open(old.clone());
        let worker = thread::spawn(move || work(&theirs, 2));
        let first = close(&turn);
        assert_eq!(old.step() - 1, first.unwrap_or(0));
        turn.open(new.clone());
        let second = close(&turn);
        assert_eq!(new.step() - 1, second.unwrap_or(100));
        worker.join().unwrap();
        // Each burst took one from one of the two, or from none.
        assert!(old.get() - 1 + new.get() - 101 <= 2);
    });
}

/// One that is closed and was not open waits for the last burst as well: it may have begun before.
#[test]
fn closing_twice_is_closing() {
    check_both(3, |everywhere| {
        let turn = Arc::new(Turn::new(everywhere));
        let (theirs, ring) = (turn.clone(), Ring::new(0));
        turn.open(ring.clone());
        let worker = thread::spawn(move || work(&theirs, 1));
        close(&turn);
        assert_eq!(close(&turn), None);
        ring.step();
        worker.join().unwrap();
    });
}
