use crate::port::VNET;
use crate::shared::Shared;
use barline::pool::{Batch, PoolCache};
use barline::port::{FrameSource, Run};
use barline::telemetry::{Cell, RxTally};
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
            others: Arc::default(),
        }
    }

    /// Frames for other stations, to keep when the queue moves to its core.
    pub(crate) fn others(&self) -> Arc<Cell> {
        self.others.clone()
    }
}

impl FrameSource for TapRx {
    fn run(&self) -> &Run {
        &self.shared.run
    }

    fn fill(&mut self, cache: &mut PoolCache, out: &mut Batch, got: &mut RxTally) {
        let limit = self.shared.run.max_frame();
        let room = cache.pool().data_room().min(u16::MAX.into());
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
            let said = self.shared.said(&header, len.min(room));
            // What is to be cut may be longer than a frame.
            let long = said.is_some_and(|offload| offload.segmentation.is_some());
            let most = if long { room } else { limit.min(room) };
            let fits = (LEAST..=most).contains(&len);
            packet.truncate(len);
            let Some(offload) = said else {
                got.errors += 1;
                cache.free_one(packet);
                continue;
            };
            if fits && self.shared.is_for_us(&packet) {
                packet.set_offload(offload);
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

    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.as_fd())
    }

    fn is_ready(&mut self) -> bool {
        let mut fds = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
            && fds[0]
                .revents()
                .is_some_and(|events| events.contains(PollFlags::POLLIN))
    }
}
