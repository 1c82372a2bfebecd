use crate::port::VNET;
use crate::shared::Shared;
use barline::pool::{Batch, PoolCache};
use barline::port::RxQueue;
use barline::telemetry::{Cell, RxCounters, RxTally};
use barline::wait::Armed;
use crossbeam::utils::CachePadded;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::uio::readv;
use std::fs::File;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// A receive queue: what the kernel sends on one queue of the interface, read frame by frame.
#[derive(Debug)]
pub struct TapRx {
    file: Arc<File>,
    shared: Arc<Shared>,
    counters: Arc<CachePadded<RxCounters>>,
    /// Frames for other stations.
    others: Arc<Cell>,
}

/// Shortest frame: an Ethernet header.
const LEAST: usize = 14;

impl TapRx {
    pub(crate) fn new(file: &Arc<File>, shared: &Arc<Shared>) -> Self {
        Self {
            file: file.clone(),
            shared: shared.clone(),
            counters: RxCounters::shared(),
            others: Arc::default(),
        }
    }

    /// Frames for other stations, to keep when the queue moves to its core.
    pub(crate) fn others(&self) -> Arc<Cell> {
        self.others.clone()
    }

    fn fill(&mut self, cache: &mut PoolCache, out: &mut Batch, got: &mut RxTally) {
        let limit = self.shared.run.max_frame();
        let room = cache.pool().data_room();
        while out.room() > 0 {
            let Some(mut packet) = cache.alloc() else {
                got.short = true;
                return;
            };
            let (mut header, mut beyond) = ([0; VNET], [0; 1]);
            let Some(bytes) = packet.append(room) else { return };
            // What does not fit the buffer goes beyond it, so that it is seen.
            let mut parts = [
                IoSliceMut::new(&mut header),
                IoSliceMut::new(bytes),
                IoSliceMut::new(&mut beyond),
            ];
            let read = readv(self.file.as_fd(), &mut parts);
            let Ok(len) = read.map(|read| read.saturating_sub(VNET)) else {
                // Nothing there, or no interface any more, which `event` tells.
                cache.free_one(packet);
                return;
            };
            let fits = (LEAST..=limit.min(room)).contains(&len);
            packet.truncate(len);
            if fits && self.shared.is_for_us(&packet) {
                got.packets += 1;
                got.bytes += len as u64;
                out.extend([packet]);
            } else {
                got.lengths += u64::from(!fits);
                self.others.add(u64::from(fits));
                cache.free_one(packet);
            }
        }
    }

    /// Whether the kernel has a frame for us.
    fn is_readable(&self) -> bool {
        let mut fds = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
            && fds[0]
                .revents()
                .is_some_and(|events| events.contains(PollFlags::POLLIN))
    }
}

impl RxQueue for TapRx {
    fn receive(&mut self, cache: &mut PoolCache, out: &mut Batch) -> usize {
        let mut got = RxTally::default();
        if !self.has_ended() {
            self.fill(cache, out, &mut got);
        }
        got.settle(&self.counters)
    }

    fn counters(&self) -> &RxCounters {
        &self.counters
    }

    fn shared_counters(&self) -> Arc<CachePadded<RxCounters>> {
        self.counters.clone()
    }

    /// The file wakes whoever waits for it with every frame: there is nothing to switch on.
    fn arm(&mut self) -> Armed {
        match !self.has_ended() && self.is_readable() {
            true => Armed::Pending,
            false => Armed::Wakes,
        }
    }

    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.as_fd())
    }

    fn has_ended(&self) -> bool {
        self.shared.run.has_ended()
    }
}
