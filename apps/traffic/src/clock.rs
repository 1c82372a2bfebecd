//! The time that traffic is made and measured by.

use quanta::Clock as Tsc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Nanoseconds since it was made. Clones share it. The processor's time-stamp counter where that runs evenly, which takes
/// no system call; or a time of its own, for tests and simulations.
#[derive(Clone, Debug)]
pub struct Clock(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Tsc { tsc: Tsc, begin: u64 },
    Made(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's time. The first one measures the counter's rate, for a few milliseconds.
    pub fn real() -> Self {
        let tsc = Tsc::new();
        let begin = tsc.raw();
        Self(Kind::Tsc { tsc, begin })
    }

    /// A time that stands still until [`Clock::set`].
    pub fn made() -> Self {
        Self(Kind::Made(Arc::default()))
    }

    /// Now.
    #[inline(always)]
    pub fn now(&self) -> u64 {
        match &self.0 {
            Kind::Tsc { tsc, begin } => tsc.delta_as_nanos(*begin, tsc.raw()),
            Kind::Made(now) => now.load(Ordering::Relaxed),
        }
    }

    /// Moves a made time on; the machine's goes by itself.
    pub fn set(&self, ns: u64) {
        if let Kind::Made(now) = &self.0 {
            now.fetch_max(ns, Ordering::Relaxed);
        }
    }
}
