//! Packed virtqueues (2.8): one ring of descriptors, which the device writes over with what it has used.

use crate::describe;
use crate::offload;
use crate::regs::NET_HDR;
use crate::shared::Shared;
use crate::split::{Areas, Traits, passes};
use barline::mem::{DmaSlice, Iova, Mapping, order};
use barline::offload::{Offload, Offloads};
use barline::pool::Peek;
use barline::ring::completion::{Format, Look};
use barline::wait::Cpu;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::atomic::{AtomicU32, AtomicU64};

/// Position of a descriptor's flags and id in its second word.
const FLAGS: u32 = 48;
const ID: u32 = 32;
/// Flags (2.8.1): in turn with the wrap counter, made available and used.
const AVAIL: u64 = 1 << 7 << FLAGS;
const USED: u64 = 1 << 15 << FLAGS;
/// Event suppression (2.8.14): flags in the high half.
const DISABLE: u32 = 1 << 16;
const AT: u32 = 2 << 16;
/// In the low half: the wrap counter of the position.
const EVENT_WRAP: u32 = 1 << 15;
const LINE: usize = 128;

/// The words of a packed virtqueue.
#[derive(Debug)]
pub(crate) struct Words {
    pub desc: Shared<AtomicU64, 2>,
    /// When the driver wants interrupts, and when the device wants notifications.
    driver: DmaSlice<AtomicU32>,
    device: Shared<AtomicU32, 1>,
    shift: u32,
    /// Position and second word of the first descriptor since the last publication.
    first: Option<(u32, u64)>,
}

impl Words {
    pub fn bytes(len: u32) -> usize {
        (16 * len as usize).next_multiple_of(LINE) + 2 * LINE
    }

    pub fn new(memory: &Arc<Mapping>, at: usize, len: u32) -> Option<Self> {
        let driver = at + (16 * len as usize).next_multiple_of(LINE);
        let words = Self {
            desc: Shared::new(memory, at, len)?,
            driver: DmaSlice::new(memory, driver, 1)?,
            device: Shared::new(memory, driver + LINE, 1)?,
            shift: len.trailing_zeros(),
            first: None,
        };
        for position in 0..len {
            words.desc.store::<0>(position, 0, Relaxed);
            words.desc.store::<1>(position, 0, Relaxed);
        }
        words.driver.at(0).store(DISABLE, Relaxed);
        words.device.store::<0>(0, 0, Relaxed);
        Some(words)
    }

    pub fn areas(&self) -> Areas {
        Areas {
            desc: self.desc.iova(),
            driver: self.driver.iova(),
            device: self.device.iova(),
        }
    }

    /// The wrap counter at a free-running position: 1 the first time round (2.8.1).
    #[inline(always)]
    fn wraps(&self, at: u32) -> bool {
        at >> self.shift & 1 == 0
    }

    /// Writes a descriptor; `rest` is length and flags. The first one's are written by [`Words::publish`]: until then the device
    /// looks at none behind it, and takes them all when it does.
    #[inline(always)]
    pub fn post(&mut self, at: u32, id: u16, buffer: Iova, rest: u64) {
        let turn = if self.wraps(at) { AVAIL } else { USED };
        self.desc.store::<0>(at, buffer.raw(), Relaxed);
        let word = rest | u64::from(id) << ID | turn;
        if self.first.is_none() {
            self.first = Some((at, word));
        } else {
            self.desc.store::<1>(at, word, Relaxed);
        }
    }

    #[inline(always)]
    pub fn publish(&mut self, from: u32, to: u32) -> bool {
        if let Some((at, word)) = self.first.take() {
            // Everything before the flags that make it available (2.8.21.1).
            order::dma_wmb();
            self.desc.store::<1>(at, word, Relaxed);
        }
        // The flags before the look at whether the device sleeps (2.8.21.3.1); it does the same the other way round.
        order::dma_mb();
        let event = self.device.load::<0>(0, Relaxed);
        match event & !0xffff {
            0 => true,
            AT => self.passes(event, from, to),
            _ => false,
        }
    }

    /// Whether going from `from` to `to` passes the position that the device waits for.
    fn passes(&self, event: u32, from: u32, to: u32) -> bool {
        let len = self.desc.len();
        let this_round = (event & EVENT_WRAP != 0) == self.wraps(to);
        let mut position = event & (EVENT_WRAP - 1);
        if !this_round {
            position = position.wrapping_sub(len);
        }
        let new = to & self.desc.mask();
        let old = new.wrapping_sub(to.wrapping_sub(from));
        passes(position as u16, old as u16, new as u16)
    }

    /// What the device wrote at `at`: id and length.
    #[inline(always)]
    pub fn used(&self, at: u32) -> Option<(u32, u32)> {
        // Acquire: before the loads of the packet.
        let word = self.desc.load::<1>(at, Acquire);
        let turn = if self.wraps(at) { AVAIL | USED } else { 0 };
        ((word ^ turn) & (AVAIL | USED) == 0).then_some(((word >> ID) as u16 as u32, word as u32))
    }
}

/// A packed ring as the engine's loops use it; `RX`: the device writes.
#[derive(Debug)]
pub struct Packed<const RX: bool> {
    words: Words,
    with: Traits,
}

impl<const RX: bool> Packed<RX> {
    /// Bytes of memory for `len` positions.
    pub fn bytes(len: u32) -> usize {
        Words::bytes(len)
    }

    /// A ring of `len` positions from byte `at` of `memory` on, which is cleared.
    ///
    /// `None` where it does not fit there.
    pub fn new(memory: &Arc<Mapping>, at: usize, len: u32, with: Traits) -> Option<Self> {
        let words = Words::new(memory, at, len)?;
        Some(Self { words, with })
    }

    /// What the device has to be told.
    pub fn areas(&self) -> Areas {
        self.words.areas()
    }
}

impl<const RX: bool> Format for Packed<RX> {
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
    fn post(&mut self, at: u32, id: u16, buffer: Iova, len: u32) {
        let flags = if RX { crate::split::WRITE << FLAGS } else { 0 };
        self.words.post(at, id, buffer, u64::from(len) | flags);
    }

    #[inline(always)]
    fn publish(&mut self, from: u32, to: u32) -> bool {
        self.words.publish(from, to)
    }

    #[inline(always)]
    fn look(&mut self, at: u32, tail: u32) -> Look {
        if at == tail {
            return Look::Pending;
        }
        match self.words.used(at) {
            Some((id, len)) => Look::Done { id, len },
            None => Look::Pending,
        }
    }

    fn is_pending(&self, at: u32) -> bool {
        self.words.used(at).is_none()
    }

    #[inline(always)]
    fn parts(&mut self, _at: u32, first: &dyn Fn() -> Peek) -> Option<u32> {
        Some(offload::buffers(first()))
    }

    fn wake_at(&mut self, _at: u32) {
        self.words.driver.at(0).store(0, Relaxed);
    }

    fn hush(&mut self, _at: u32) {
        self.words.driver.at(0).store(DISABLE, Relaxed);
    }

    fn rest(&self, at: u32, cpu: Cpu) {
        cpu.watch(self.words.desc.watched(at), || self.is_pending(at));
    }

    fn describe(&self, at: u32) -> Option<String> {
        let desc = &self.words.desc;
        let text = describe::packed([desc.load::<0>(at, Relaxed), desc.load::<1>(at, Relaxed)]);
        Some(format!("descriptor {}: {text}", at & self.words.desc.mask()))
    }
}
