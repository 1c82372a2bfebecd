//! The frames that come in at a port, each remembered.

use crate::plan::PortPlan;
use barline_sim::{FrameSpec, Generator, Rng, Source};
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Where the addresses of a frame end: what is behind them passes unchanged.
const ADDRESSES: usize = 12;

/// A feed from outside: how many frames may come, and which have come.
#[derive(Clone, Debug, Default)]
pub struct Tap(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    allowed: AtomicU64,
    bodies: Mutex<HashSet<Vec<u8>>>,
}

impl Tap {
    /// Lets so many more frames come.
    pub fn open(&self, frames: u64) {
        self.0.allowed.fetch_add(frames, Ordering::Relaxed);
    }

    fn take(&self) -> bool {
        let one_less = |allowed: u64| allowed.checked_sub(1);
        self.0
            .allowed
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less)
            .is_ok()
    }

    /// Whether this frame is one of them, but for its addresses.
    pub fn has(&self, frame: &[u8]) -> bool {
        let bodies = self.0.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        frame.get(ADDRESSES..).is_some_and(|body| bodies.contains(body))
    }

    fn add(&self, frame: &[u8]) {
        let body = frame.get(ADDRESSES..).unwrap_or_default().to_vec();
        self.0
            .bodies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(body);
    }
}

/// Generated frames, of which some are cut short and some are for another station.
#[derive(Debug)]
pub struct Feed {
    frames: Generator,
    rng: Rng,
    runts: u32,
    strangers: u32,
    tap: Tap,
}

impl Feed {
    /// The feed of a port with this address, and its tap, which is closed.
    pub fn new(plan: &PortPlan, mac: [u8; 6], seed: u64) -> (Self, Tap) {
        let spec = FrameSpec {
            destination: mac,
            sizes: plan.sizes.clone(),
            flows: 64,
            limit: Some(plan.frames),
            seed,
            ..FrameSpec::default()
        };
        let tap = Tap::default();
        let feed = Self {
            frames: Generator::new(&spec),
            rng: Rng::new(!seed),
            runts: plan.runts,
            strangers: plan.strangers,
            tap: tap.clone(),
        };
        (feed, tap)
    }
}

impl Source for Feed {
    fn next(&mut self, frame: &mut Vec<u8>) -> bool {
        if !self.tap.take() || !self.frames.next(frame) {
            return false;
        }
        if self.rng.per_mille(self.strangers) {
            frame[5] ^= 0x80;
        }
        if self.rng.per_mille(self.runts) {
            frame.truncate(14 + self.rng.below(46) as usize);
        }
        self.tap.add(frame);
        true
    }
}
