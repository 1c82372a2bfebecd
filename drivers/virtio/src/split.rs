//! Split virtqueues (2.7): a table of descriptors, a ring of ids that are available, a ring of those that were used.

mod words;

use crate::describe;
use crate::offload;
use crate::regs::NET_HDR;
use barline::mem::{Iova, Mapping};
use barline::offload::{Offload, Offloads};
use barline::pool::Peek;
use barline::ring::completion::{Format, Look};
use barline::wait::Cpu;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
pub(crate) use words::Words;

/// Another descriptor follows (`VIRTQ_DESC_F_NEXT`).
pub(crate) const NEXT: u64 = 1;
/// The device writes it (`VIRTQ_DESC_F_WRITE`).
pub(crate) const WRITE: u64 = 2;

/// What of the features matters to a ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traits {
    /// EVENT_IDX.
    pub event_idx: bool,
    /// IN_ORDER.
    pub in_order: bool,
    /// MRG_RXBUF.
    pub merges: bool,
    /// What is asked of the device for packets, and agreed upon.
    pub offloads: Offloads,
}

/// Where the three parts of a ring stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Areas {
    /// Descriptors.
    pub desc: Iova,
    /// What the driver writes.
    pub driver: Iova,
    /// What the device writes.
    pub device: Iova,
}

/// Whether going from `from` to `to` passes `event`: `vring_need_event` (2.7.7.1, 2.7.10).
#[inline(always)]
pub(crate) fn passes(event: u16, from: u16, to: u16) -> bool {
    to.wrapping_sub(event).wrapping_sub(1) < to.wrapping_sub(from)
}

/// A split ring as the engine's loops use it; `RX`: the device writes.
#[derive(Debug)]
pub struct Split<const RX: bool> {
    words: Words,
    /// Free-running: what the device is known to have completed.
    seen: u32,
    with: Traits,
}

impl<const RX: bool> Split<RX> {
    /// Bytes of memory for `len` positions.
    pub fn bytes(len: u32) -> usize {
        Words::bytes(len)
    }

    /// A ring of `len` positions from byte `at` of `memory` on, which is cleared.
    ///
    /// `None` where it does not fit there.
    pub fn new(memory: &Arc<Mapping>, at: usize, len: u32, with: Traits) -> Option<Self> {
        Some(Self {
            words: Words::new(memory, at, len, with.event_idx)?,
            seen: 0,
            with,
        })
    }

    /// What the device has to be told.
    pub fn areas(&self) -> Areas {
        self.words.areas()
    }

    /// Looks how far the device is; `None` when that is impossible.
    #[inline(always)]
    fn refresh(&mut self, at: u32, tail: u32) -> Option<()> {
        let ahead = u32::from(self.words.used().wrapping_sub(at as u16));
        self.seen = at.wrapping_add(ahead);
        (ahead <= tail.wrapping_sub(at)).then_some(())
    }
}

impl<const RX: bool> Format for Split<RX> {
    const PREFIX: usize = NET_HDR;
    /// An Ethernet header.
    const SHORTEST: u32 = 14;

    fn offloads(&self) -> Offloads {
        self.with.offloads & if RX { Offloads::RX } else { Offloads::TX }
    }

    fn request(offload: &Offload, prefix: &mut [u8]) {
        offload::request(offload, prefix);
    }

    fn received(prefix: &[u8], len: usize) -> Option<Offload> {
        offload::received(prefix, len)
    }

    #[inline(always)]
    fn positions(&self) -> u32 {
        self.words.desc.len()
    }

    fn in_order(&self) -> bool {
        self.with.in_order
    }

    fn merges(&self) -> bool {
        RX && self.with.merges
    }

    #[inline(always)]
    fn post(&mut self, _at: u32, id: u16, buffer: Iova, len: u32) {
        let flags = if RX { WRITE << 32 } else { 0 };
        self.words.post(id, buffer, u64::from(len) | flags);
    }

    #[inline(always)]
    fn publish(&mut self, from: u32, to: u32) -> bool {
        self.words.publish(from, to)
    }

    #[inline(always)]
    fn look(&mut self, at: u32, tail: u32) -> Look {
        if self.seen.wrapping_sub(at) as i32 <= 0 {
            if self.refresh(at, tail).is_none() {
                return Look::Overrun;
            }
            if at == self.seen {
                return Look::Pending;
            }
        }
        let (id, len) = self.words.entry(at);
        Look::Done { id, len }
    }

    fn is_pending(&self, at: u32) -> bool {
        self.words.used() == at as u16
    }

    fn renumber(&mut self, at: u32, id: u16) {
        self.words.renumber(at, id);
    }

    #[inline(always)]
    fn parts(&mut self, _at: u32, first: &dyn Fn() -> Peek) -> Option<u32> {
        Some(offload::buffers(first()))
    }

    fn wake_at(&mut self, at: u32) {
        self.words.wake_at(at);
    }

    fn hush(&mut self, at: u32) {
        self.words.hush(at);
    }

    fn rest(&self, at: u32, cpu: Cpu) {
        cpu.watch(self.words.used.watched(0), || self.is_pending(at));
    }

    fn describe(&self, at: u32) -> Option<String> {
        let words = &self.words;
        let place = at & words.desc.mask();
        let (id, used) = match RX {
            true => words.entry(at),
            false => (words.avail_ring.at(at).load(Relaxed).into(), 0),
        };
        let desc = [
            words.desc.load::<0>(id, Relaxed),
            words.desc.load::<1>(id, Relaxed),
        ];
        let posted = describe::posted(desc);
        Some(match RX {
            true => format!("used entry {place}: id {id}, length {used}; descriptor {id}: {posted}"),
            false => format!("available entry {place}: id {id}; descriptor {id}: {posted}"),
        })
    }
}
