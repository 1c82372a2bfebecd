use crate::block::Place;
use crate::cursor::Cursor;
use crate::sys::Ring;
use barline::pool::{Batch, PoolCache};
use barline::port::{FrameSource, Run};
use barline::telemetry::{Cell, RxTally};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// A receive queue: one socket's ring.
#[derive(Debug)]
pub struct AfPacketRx {
    ring: Ring,
    place: Place,
    /// The frame at `place`, when some packets of it have been made and others not.
    cursor: Option<Cursor>,
    run: Arc<Run>,
    /// Packets beyond the first of a frame.
    segments: Arc<Cell>,
}

impl AfPacketRx {
    pub(crate) fn new(ring: Ring, run: &Arc<Run>, segments: &Arc<Cell>) -> Self {
        Self {
            ring,
            place: Place::default(),
            cursor: None,
            run: run.clone(),
            segments: segments.clone(),
        }
    }

    /// Makes sure that there is a frame at `place`.
    #[inline]
    fn has_frame(&mut self) -> bool {
        while !self.place.has_more() {
            self.ring.release();
            if !self.ring.hold() {
                return false;
            }
            self.place = Place::start(self.ring.bytes());
        }
        true
    }
}

impl FrameSource for AfPacketRx {
    fn run(&self) -> &Run {
        &self.run
    }

    fn fill(&mut self, cache: &mut PoolCache, out: &mut Batch, got: &mut RxTally) {
        let most = self.run.max_frame().min(cache.pool().data_room());
        while out.room() > 0 && self.has_frame() {
            let block = self.ring.bytes();
            let Some(frame) = self.place.peek(block) else {
                // A header that points out of its block: nothing behind it can be found.
                got.lengths += u64::from(self.place.left());
                self.place = Place::default();
                continue;
            };
            let cursor = match self.cursor.take() {
                Some(cursor) => Some(cursor),
                None => Cursor::new(&frame, most),
            };
            let Some(mut cursor) = cursor else {
                got.lengths += 1;
                self.place.step(block);
                continue;
            };
            let Some(len) = cursor.length(&frame) else {
                self.place.step(block);
                continue;
            };
            let Some(mut packet) = cache.alloc() else {
                got.short = true;
                self.cursor = Some(cursor);
                return;
            };
            if !cursor.is_first() {
                self.segments.add(1);
            }
            if let Some(bytes) = packet.append(len) {
                cursor.write(&frame, bytes);
            }
            got.packets += 1;
            got.bytes += len as u64;
            out.extend([packet]);
            if cursor.length(&frame).is_some() {
                self.cursor = Some(cursor);
            } else {
                self.place.step(block);
            }
        }
    }

    /// The socket can be read when the kernel has handed a block over.
    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.ring.as_fd())
    }

    fn is_ready(&mut self) -> bool {
        self.place.has_more() || self.ring.is_ready()
    }
}
