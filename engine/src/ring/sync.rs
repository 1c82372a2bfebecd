//! What the rings take from `std::sync`, or from loom when its models are built (`--cfg loom`).

#[cfg(not(loom))]
pub(super) use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::yield_now,
};

#[cfg(loom)]
pub(super) use loom::{
    cell::UnsafeCell,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::yield_now,
};

/// Waiting for another thread that is in the middle of a copy: a few hundred cycles, unless the scheduler took its
/// core away.
///
/// First it spins, doubling each time; then it yields, which on an over-committed core lets the other thread run;
/// then it sleeps, because yielding never lets a thread of lower real-time priority run.
#[derive(Default)]
pub(super) struct Wait {
    steps: u32,
}

impl Wait {
    const SPINS: u32 = 6;
    const YIELDS: u32 = 64;

    pub(super) fn step(&mut self) {
        self.steps = self.steps.saturating_add(1);
        if cfg!(loom) || (Self::SPINS..Self::SPINS + Self::YIELDS).contains(&self.steps) {
            yield_now();
        } else if self.steps < Self::SPINS {
            (0..1u32 << self.steps).for_each(|_| std::hint::spin_loop());
        } else {
            std::thread::sleep(std::time::Duration::from_micros(50));
        }
    }
}
