//! What the two shapes of rings have in common, and how their device is told on PCI.

use crate::Packed;
use crate::split::{Areas, Split, Traits};
use barline::mem::Mapping;
use barline::mmio::Doorbell;
use barline::pool::PoolCache;
use barline::port::RxQueue;
use barline::ring::completion::{Format, Notify, RxRing};
use std::sync::Arc;

/// A notification register of PCI: the queue's index is written to it (4.1.5.2).
#[derive(Debug)]
pub struct Kick {
    pub(crate) doorbell: Doorbell,
    pub(crate) queue: u16,
}

impl Notify for Kick {
    #[inline(always)]
    fn notify(&mut self, _tail: u32) {
        self.doorbell.ring(self.queue.into());
    }
}

/// What the two shapes of rings have in common.
pub trait Shape: Format + Sized {
    /// Bytes of memory for `len` positions.
    fn bytes(len: u32) -> usize;
    /// A ring of `len` positions from byte `at` of `memory` on, which is cleared; `None` where it does not fit there.
    fn make(memory: &Arc<Mapping>, at: usize, len: u32, with: Traits) -> Option<Self>;
    /// What the device has to be told.
    fn areas(&self) -> Areas;
}

macro_rules! shapes {
    ($($name:ident),*) => {$(
        impl<const RX: bool> Shape for $name<RX> {
            fn bytes(len: u32) -> usize {
                Self::bytes(len)
            }

            fn make(memory: &Arc<Mapping>, at: usize, len: u32, with: Traits) -> Option<Self> {
                Self::new(memory, at, len, with)
            }

            fn areas(&self) -> Areas {
                self.areas()
            }
        }
    )*};
}
shapes!(Split, Packed);

/// A receive queue that has no buffers yet.
pub(crate) trait Empty: RxQueue {
    fn fill(&mut self, cache: &mut PoolCache);
}

impl<F: Format> Empty for RxRing<F, Kick> {
    fn fill(&mut self, cache: &mut PoolCache) {
        self.fill(cache);
    }
}
