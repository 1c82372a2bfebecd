use super::{Run, RxQueue};
use crate::pool::{Batch, PoolCache};
use crate::telemetry::{RxCounters, RxTally};
use crate::wait::Armed;
use crossbeam::utils::CachePadded;
use std::fmt::Debug;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// Where a queue over a file or a socket of the kernel reads frames from; [`Reader`] makes the queue of it.
pub trait FrameSource: Send + Debug {
    /// The run of its port.
    fn run(&self) -> &Run;
    /// Makes packets of frames until there is no more of either, or no room.
    fn fill(&mut self, cache: &mut PoolCache, out: &mut Batch, got: &mut RxTally);
    /// What the kernel makes readable when there is a frame, which wakes whoever waits for it: there is nothing to switch on.
    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
    /// Whether there is a frame. Only asked where something can wake for one.
    fn is_ready(&mut self) -> bool {
        false
    }
}

/// A receive queue that reads frame by frame.
#[derive(Debug)]
pub struct Reader<S> {
    source: S,
    counters: Arc<CachePadded<RxCounters>>,
}

impl<S: FrameSource> Reader<S> {
    /// With counters of its own.
    pub fn new(source: S) -> Self {
        Self {
            source,
            counters: RxCounters::shared(),
        }
    }
}

impl<S: FrameSource> RxQueue for Reader<S> {
    #[inline]
    fn receive(&mut self, cache: &mut PoolCache, out: &mut Batch) -> usize {
        let mut got = RxTally::default();
        if !self.has_ended() {
            self.source.fill(cache, out, &mut got);
        }
        got.settle(&self.counters)
    }

    fn counters(&self) -> &RxCounters {
        &self.counters
    }

    fn shared_counters(&self) -> Arc<CachePadded<RxCounters>> {
        self.counters.clone()
    }

    fn arm(&mut self) -> Armed {
        if self.source.wake_fd().is_none() {
            return Armed::Silent;
        }
        match !self.has_ended() && self.source.is_ready() {
            true => Armed::Pending,
            false => Armed::Wakes,
        }
    }

    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        self.source.wake_fd()
    }

    #[inline]
    fn has_ended(&self) -> bool {
        self.source.run().has_ended()
    }
}
