//! Buffers that a device may write to although nobody has them any more.

use crate::pool::pool::Inner;
use crate::pool::{Packet, PoolMap};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Buffers of dropped queues that the device may still write to. The device handle owns one, and opens it when the
/// device is quiet (stopped and bus master off).
#[derive(Debug, Default)]
pub struct Custody {
    /// Written under the lock of `state`.
    pub(super) quiet: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    parked: Vec<Parked>,
}

pub(super) struct Parked {
    pub(super) slots: Vec<u32>,
    pub(super) foreign: Vec<Packet>,
    pub(super) map: PoolMap,
    pub(super) _others: Vec<PoolMap>,
}

impl Custody {
    /// For a device that may run from now on.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(super) fn park(&self, parked: Parked) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if self.quiet.load(Ordering::Relaxed) {
            drop(state);
            parked.free();
        } else {
            state.parked.push(parked);
        }
    }

    /// Frees everything parked, now and later; rings that are still around hand nothing to the device any more. Call when the device cannot reach memory any more: stopped, and bus
    /// master off.
    pub fn open(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.quiet.store(true, Ordering::Release);
        let parked = std::mem::take(&mut state.parked);
        drop(state);
        parked.into_iter().for_each(Parked::free);
    }

    /// Buffers parked.
    pub fn held(&self) -> usize {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state
            .parked
            .iter()
            .map(|parked| parked.slots.len() + parked.foreign.len())
            .sum()
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // The last holder went without saying that the device is quiet: keep the buffers from everybody.
        self.parked.drain(..).for_each(Parked::leak);
    }
}

impl Parked {
    fn free(mut self) {
        let inner: &Inner = self.map.pool().inner();
        inner.give(&std::mem::take(&mut self.slots));
        self.foreign.clear();
    }

    fn leak(mut self) {
        if !self.slots.is_empty() || !self.foreign.is_empty() {
            tracing::error!(
                buffers = self.slots.len(),
                "a device was never stopped: its buffers are leaked"
            );
        }
        self.foreign.drain(..).for_each(std::mem::forget);
        std::mem::forget(self);
    }
}

impl fmt::Debug for Parked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parked({} slots of {:?})", self.slots.len(), self.map.pool())
    }
}
