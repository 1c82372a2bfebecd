//! The gate between a queue's worker and the control thread, in all orders in which the two can meet: with a barrier a burst, and
//! with one in all threads that the control thread makes (`src/membarrier.rs` says what of it is modelled; loom leaves out orders of
//! its steps, which are all in `gate_orders.rs`).
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

/// Times that a thread is stopped where it could go on. A fault at the barrier needs four: the worker runs first, is stopped behind its
/// look, answers, and is stopped again before it goes on.
const BOUND: usize = 4;

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

/// Closes the gate; where the ring goes on. `None` where the worker has not answered in time: of that order nothing is said. Waiting
/// for it would hide orders: loom lets a thread that has yielded go on only when the others cannot.
fn close(turn: &Turn<Ring>) -> Option<Option<u16>> {
    turn.close(|tries| tries < 1).ok()
}

/// A worker, with the ring that it knows.
struct Poller {
    worker: Worker,
    ring: Option<Arc<Ring>>,
}

impl Poller {
    /// One that has found the ring already, in a first burst: all orders of what follows are fewer so.
    fn new(turn: &Turn<Ring>) -> Self {
        let (worker, ring) = (Worker::new(turn), None);
        let mut poller = Self { worker, ring };
        poller.burst(turn);
        poller
    }

    /// Takes a buffer where there is a ring.
    fn burst(&mut self, turn: &Turn<Ring>) {
        let Self { worker, ring } = self;
        if worker.enter(turn) {
            *ring = worker.renew(turn);
            ring.iter().for_each(|ring| worker.note(turn, ring.get()));
        }
        membarrier::point();
        if let Some(ring) = ring {
            let next = ring.step();
            membarrier::point();
            worker.note(turn, next);
        }
        membarrier::point();
        worker.leave(turn);
        membarrier::point();
    }

    fn work(mut self, turn: &Turn<Ring>, bursts: usize) {
        (0..bursts).for_each(|_| self.burst(turn));
        membarrier::end();
    }
}

fn one_is_closed(everywhere: Option<Barrier>) {
    let turn = Arc::new(Turn::new(everywhere));
    let (theirs, ring) = (turn.clone(), Ring::new(5));
    turn.open(ring.clone());
    let poller = Poller::new(&turn);
    let worker = thread::spawn(move || poller.work(&theirs, 2));
    let closed = close(&turn).map(|next| {
        // Loom reports a worker that is in there.
        let at = ring.step() - 1;
        assert_eq!(at, next.unwrap_or(5));
        at + 1
    });
    worker.join().unwrap();
    assert!(closed.is_none_or(|at| ring.get() == at));
}

/// Behind a closed gate the ring is the control thread's, and goes on where the worker has said.
#[test]
fn nobody_uses_a_ring_behind_a_closed_gate() {
    check_both(BOUND, one_is_closed);
}

/// The worker alone, without any barrier, keeps nothing: what the models above say is due to the control thread's.
#[test]
#[should_panic(expected = "Causality violation")]
fn without_the_barrier_somebody_does() {
    check(BOUND, nothing, one_is_closed);
}

/// A ring in place of another, where the gate could be closed both times.
fn one_follows(everywhere: Option<Barrier>) {
    let turn = Arc::new(Turn::new(everywhere));
    let (theirs, old, new) = (turn.clone(), Ring::new(0), Ring::new(100));
    turn.open(old.clone());
    let poller = Poller::new(&turn);
    let worker = thread::spawn(move || poller.work(&theirs, 2));
    let first = close(&turn);
    if let Some(next) = first {
        assert_eq!(old.step() - 1, next.unwrap_or(0));
        turn.open(new.clone());
        if let Some(next) = close(&turn) {
            assert_eq!(new.step() - 1, next.unwrap_or(100));
        }
    }
    worker.join().unwrap();
    // Each burst took one from one of the two, or from none.
    assert!(old.get() + new.get() - 100 <= 5);
}

/// A change: the worker goes on with the new ring, and never with the old one.
#[test]
fn a_worker_goes_on_with_the_ring_that_is_there_now() {
    check_both(BOUND, one_follows);
}

/// One that is closed and was not open waits for the last burst as well: it may have begun before.
fn one_is_closed_twice(everywhere: Option<Barrier>) {
    let turn = Arc::new(Turn::new(everywhere));
    let (theirs, ring) = (turn.clone(), Ring::new(0));
    turn.open(ring.clone());
    let poller = Poller::new(&turn);
    let worker = thread::spawn(move || poller.work(&theirs, 1));
    let first = close(&turn);
    let second = close(&turn);
    assert!(first.is_none() || second.is_none_or(|next| next.is_none()));
    if second.is_some() {
        ring.step();
    }
    worker.join().unwrap();
}

#[test]
fn closing_twice_is_closing() {
    check_both(BOUND, one_is_closed_twice);
}
