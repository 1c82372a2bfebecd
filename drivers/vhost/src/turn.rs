//! Whose turn it is to use a ring: its worker's or the control thread's. What of a [`Gate`](crate::gate::Gate) is numbers.
//!
//! ```text
//! worker:   epoch := odd (SeqCst);  look at the generation (SeqCst);  burst;  epoch := even (Release)
//! control:  generation + 1 (SeqCst);  look at the epoch (SeqCst);  while it is odd and the same: wait
//! ```
//!
//! One of the two sees the other's store. The worker's two need a full barrier between them, which waits for all its stores, those to lines of
//! the peer's cache too; where the control thread can raise one in all threads (membarrier(2)) between its own two, the worker does without. A worker that sees the new generation finds no setup and does nothing; one that
//! does not was seen in its burst, and the control thread waits for its end. So a closed gate needs no worker that
//! runs: one that sleeps, or was never started, is not in a burst.
//!
//! All orders of both are tried in `tests/gate_loom.rs`, which includes this file: it knows no other of the crate but, for loom,
//! `membarrier.rs`.

use crossbeam::utils::CachePadded;
use std::sync::atomic::compiler_fence;
use std::sync::{Arc, PoisonError};
use sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use sync::{AtomicU32, Mutex, MutexGuard};

#[cfg(not(loom))]
mod sync {
    pub(super) use std::sync::atomic::{self, AtomicU32};
    pub(super) use std::sync::{Mutex, MutexGuard};
}

#[cfg(loom)]
mod sync {
    pub(super) use loom::sync::atomic::{self, AtomicU32};
    pub(super) use loom::sync::{Mutex, MutexGuard};
}

/// Loom takes accesses that are SeqCst for AcqRel ones; a fence between the two of a side says what they promise each other.
#[inline(always)]
fn between() {
    #[cfg(loom)]
    sync::atomic::fence(SeqCst);
}

#[cfg(loom)]
#[allow(dead_code, reason = "`tests/gate_loom.rs` uses all of it")]
#[path = "membarrier.rs"]
pub(crate) mod membarrier;

/// Between two accesses of a worker that makes no barrier: the compiler keeps their order, the processor's is the control thread's
/// to see to. To loom it says that the barrier which reaches everywhere may strike here.
#[inline(always)]
fn point() {
    compiler_fence(SeqCst);
    #[cfg(loom)]
    membarrier::point();
}

/// Between one queue's worker and the control thread; `S` is how the ring is to be used.
#[derive(Debug)]
pub(crate) struct Turn<S> {
    everywhere: Option<Barrier>,
    generation: CachePadded<AtomicU32>,
    /// Odd while the worker is in a burst.
    epoch: CachePadded<AtomicU32>,
    /// Where the ring goes on: the worker's word, after each burst.
    next: AtomicU32,
    setup: Mutex<Option<Arc<S>>>,
}

/// A full memory barrier in all threads of the process; whether there was one.
pub(crate) type Barrier = fn() -> bool;

/// Set in [`Turn::next`] when the worker has written it since the gate was opened.
const TAKEN: u32 = 1 << 31;

/// A worker did not come out of its burst in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stuck;

impl<S> Turn<S> {
    /// The control thread's turn. Without a barrier that reaches everywhere the worker makes one a burst.
    pub fn new(everywhere: Option<Barrier>) -> Self {
        Self {
            everywhere,
            generation: CachePadded::new(AtomicU32::new(0)),
            epoch: CachePadded::new(AtomicU32::new(0)),
            next: AtomicU32::new(0),
            setup: Mutex::new(None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<S>>> {
        self.setup.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The setup, and the number that tells of it, under one lock: who takes the setup knows its number.
    fn publish(&self, setup: Option<Arc<S>>) {
        let mut place = self.lock();
        *place = setup;
        self.generation.fetch_add(1, SeqCst);
    }

    /// Takes the ring from the worker and waits until it is out of it; where the ring goes on, if the worker has used it.
    /// `wait` rests a moment, and says whether to go on waiting; it is told how often it was asked before.
    ///
    /// # Errors
    /// The worker did not come out of a burst: the ring must not be opened again.
    pub fn close(&self, mut wait: impl FnMut(u32) -> bool) -> Result<Option<u16>, Stuck> {
        let was = self.is_open();
        if was {
            self.publish(None);
        }
        between();
        if self.everywhere.is_some_and(|barrier| !barrier()) {
            return Err(Stuck);
        }
        let seen = self.epoch.load(SeqCst);
        let mut tries = 0;
        while seen % 2 == 1 && self.epoch.load(Acquire) == seen {
            if !wait(tries) {
                return Err(Stuck);
            }
            tries += 1;
        }
        let next = self.next.load(Acquire);
        Ok((was && next & TAKEN != 0).then_some(next as u16))
    }

    /// Gives the worker a ring. It is the control thread's turn.
    pub fn open(&self, setup: Arc<S>) {
        self.next.store(0, Release);
        self.publish(Some(setup));
    }

    /// Whether it is the worker's turn.
    pub fn is_open(&self) -> bool {
        self.lock().is_some()
    }
}

/// The worker's numbers.
#[derive(Debug)]
pub(crate) struct Worker {
    generation: u32,
    epoch: u32,
    /// The control thread makes the barrier.
    light: bool,
}

impl Worker {
    /// The one worker there is.
    pub fn new<S>(turn: &Turn<S>) -> Self {
        Self {
            generation: 0,
            epoch: turn.epoch.load(Relaxed) & !1,
            light: turn.everywhere.is_some(),
        }
    }

    /// Begins a burst. Whether the setup has changed: [`Worker::renew`] gets it. [`Worker::leave`] ends the burst in any case.
    #[inline(always)]
    pub fn enter<S>(&mut self, turn: &Turn<S>) -> bool {
        if self.light {
            turn.epoch.store(self.epoch | 1, Relaxed);
            point();
        } else {
            turn.epoch.swap(self.epoch | 1, SeqCst);
            between();
        }
        self.has_news(turn)
    }

    /// Ends a burst.
    #[inline(always)]
    pub fn leave<S>(&mut self, turn: &Turn<S>) {
        self.epoch = self.epoch.wrapping_add(2);
        turn.epoch.store(self.epoch, Release);
    }

    /// Says where the ring goes on. In a burst.
    #[inline(always)]
    pub fn note<S>(&self, turn: &Turn<S>, next: u16) {
        turn.next.store(u32::from(next) | TAKEN, Relaxed);
    }

    /// The setup that is there now, if any. In a burst.
    pub fn renew<S>(&mut self, turn: &Turn<S>) -> Option<Arc<S>> {
        let setup = turn.lock();
        // Under the lock: the number belongs to the setup, or to a later one, which is then looked for again.
        self.generation = turn.generation.load(SeqCst);
        setup.clone()
    }

    /// Whether the control thread has news.
    #[inline(always)]
    pub fn has_news<S>(&self, turn: &Turn<S>) -> bool {
        turn.generation.load(SeqCst) != self.generation
    }
}
