//! The words of a split virtqueue: where they stand, and in which order they are read and written.

use super::{Areas, passes};
use crate::shared::Shared;
use barline::mem::{DmaSlice, Iova, Mapping, order};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64};

/// Either side wants no events (`VIRTQ_AVAIL_F_NO_INTERRUPT`, `VIRTQ_USED_F_NO_NOTIFY`).
const QUIET: u16 = 1;
/// Device's and driver's areas start at lines of their own.
const LINE: usize = 128;

/// The words of a split virtqueue.
#[derive(Debug)]
pub(crate) struct Words {
    pub desc: Shared<AtomicU64, 2>,
    /// Flags and index.
    avail: DmaSlice<[AtomicU16; 2]>,
    pub(super) avail_ring: DmaSlice<AtomicU16>,
    used_event: DmaSlice<AtomicU16>,
    pub(super) used: Shared<AtomicU16, 2>,
    /// Id and length.
    used_ring: Shared<AtomicU32, 2>,
    avail_event: Shared<AtomicU16, 1>,
    event_idx: bool,
}

impl Words {
    /// Bytes for `len` positions.
    pub fn bytes(len: u32) -> usize {
        let (driver, device, end) = Self::offsets(len);
        debug_assert!(driver < device);
        end
    }

    /// Offsets of the driver's and the device's area, and the end.
    fn offsets(len: u32) -> (usize, usize, usize) {
        let len = len as usize;
        let driver = (16 * len).next_multiple_of(LINE);
        let device = (driver + 6 + 2 * len).next_multiple_of(LINE);
        (driver, device, (device + 6 + 8 * len).next_multiple_of(LINE))
    }

    pub fn new(memory: &Arc<Mapping>, at: usize, len: u32, event_idx: bool) -> Option<Self> {
        let (driver, device, _) = Self::offsets(len);
        let (driver, device, n) = (at + driver, at + device, len as usize);
        let words = Self {
            desc: Shared::new(memory, at, len)?,
            avail: DmaSlice::new(memory, driver, 1)?,
            avail_ring: DmaSlice::new(memory, driver + 4, len)?,
            used_event: DmaSlice::new(memory, driver + 4 + 2 * n, 1)?,
            used: Shared::new(memory, device, 1)?,
            used_ring: Shared::new(memory, device + 4, len)?,
            avail_event: Shared::new(memory, device + 4 + 8 * n, 1)?,
            event_idx,
        };
        words.clear();
        Some(words)
    }

    /// As a ring is that nobody has used yet, with each id available at its own position and all events held back.
    fn clear(&self) {
        for position in 0..self.desc.len() {
            self.desc.store::<0>(position, 0, Relaxed);
            self.desc.store::<1>(position, 0, Relaxed);
            self.avail_ring.at(position).store(position as u16, Relaxed);
        }
        self.avail.at(0).iter().for_each(|word| word.store(0, Relaxed));
        self.used.store::<0>(0, 0, Relaxed);
        self.used.store::<1>(0, 0, Relaxed);
        self.avail_event.store::<0>(0, 0, Relaxed);
        self.hush(0);
    }

    pub fn areas(&self) -> Areas {
        Areas {
            desc: self.desc.iova(),
            driver: self.avail.iova(),
            device: self.used.iova(),
        }
    }

    #[inline(always)]
    pub fn post(&self, id: u16, buffer: Iova, rest: u64) {
        self.desc.store::<0>(id.into(), buffer.raw(), Relaxed);
        self.desc.store::<1>(id.into(), rest, Relaxed);
    }

    #[inline(always)]
    pub fn publish(&self, from: u32, to: u32) -> bool {
        // Descriptors before the index that announces them (2.7.13.1).
        order::dma_wmb();
        self.avail.at(0)[1].store(to as u16, Release);
        // The index before the look at whether the device sleeps (2.7.13.4.1); it does the same the other way round.
        order::dma_mb();
        if self.event_idx {
            passes(self.avail_event.load::<0>(0, Relaxed), from as u16, to as u16)
        } else {
            self.used.load::<0>(0, Relaxed) & QUIET == 0
        }
    }

    /// The device's index.
    #[inline(always)]
    pub fn used(&self) -> u16 {
        // Acquire: before the loads of the entries that it announces, and of what they announce.
        self.used.load::<1>(0, Acquire)
    }

    #[inline(always)]
    pub fn entry(&self, at: u32) -> (u32, u32) {
        let ring = &self.used_ring;
        (ring.load::<0>(at, Relaxed), ring.load::<1>(at, Relaxed))
    }

    /// Position `at` makes `id` available.
    pub fn renumber(&self, at: u32, id: u16) {
        self.avail_ring.at(at).store(id, Relaxed);
    }

    pub fn wake_at(&self, at: u32) {
        if self.event_idx {
            self.used_event.at(0).store(at as u16, Relaxed);
        } else {
            self.avail.at(0)[0].store(0, Relaxed);
        }
    }

    /// With EVENT_IDX the flag has to be 0 (2.7.7.1), and the event is one that passes once in 65,536 completions.
    pub fn hush(&self, at: u32) {
        if self.event_idx {
            self.used_event.at(0).store((at as u16).wrapping_sub(1), Relaxed);
        } else {
            self.avail.at(0)[0].store(QUIET, Relaxed);
        }
    }
}
