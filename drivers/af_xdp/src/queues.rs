//! Receive queues: the engine's, and one that finishes checksums.

use crate::checksum::complete;
use crate::format::Receive;
use crate::notify::Kick;
use barline::pool::{Batch, PoolCache};
use barline::port::RxQueue;
use barline::ring::completion::RxRing;
use barline::telemetry::RxCounters;
use barline::wait::{Armed, Cpu};
use crossbeam::utils::CachePadded;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// The receive queue of an interface whose frames may come from this machine's own stack.
#[derive(Debug)]
pub(crate) struct Finishing(pub RxRing<Receive, Kick>);

impl RxQueue for Finishing {
    fn receive(&mut self, cache: &mut PoolCache, out: &mut Batch) -> usize {
        let got = self.0.receive(cache, out);
        let before = out.len() - got;
        for packet in &mut out.as_mut_slice()[before..] {
            complete(packet);
        }
        got
    }

    fn counters(&self) -> &RxCounters {
        RxQueue::counters(&self.0)
    }

    fn shared_counters(&self) -> Arc<CachePadded<RxCounters>> {
        self.0.shared_counters()
    }

    fn arm(&mut self) -> Armed {
        self.0.arm()
    }

    fn disarm(&mut self) {
        self.0.disarm();
    }

    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        self.0.wake_fd()
    }

    fn pause(&self, cpu: Cpu) {
        self.0.pause(cpu);
    }

    fn has_ended(&self) -> bool {
        self.0.has_ended()
    }

    fn describe(&self) -> Option<String> {
        self.0.describe()
    }
}
