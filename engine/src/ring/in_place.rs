use crate::mem::{DescWords, DmaSlice, Iova, order};
use crate::mmio::Doorbell;
use crate::pool::{Batch, Custody, PoolCache, PoolMap, Posted, Verdict};
use crate::port::{Interrupt, RxQueue};
use crate::telemetry::RxCounters;
use crate::wait::{Armed, Cpu};
use crossbeam::utils::CachePadded;
use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

mod tx;

pub use tx::{FrameLimit, TxFormat, TxRing};

/// A receive descriptor that the device writes back over the posted one, in order (e1000, igb, ixgbe, i40e, ice).
pub trait RxFormat: Send + 'static {
    /// The descriptor's words.
    type Desc: DescWords;
    /// Writes an empty buffer's address and clears the done bit. The doorbell's barrier orders this before the
    /// device is told.
    fn arm(desc: &Self::Desc, buffer: Iova);
    /// What the device wrote. The load of the done bit must be an acquire: it comes before the loads of what it
    /// announces, here and in the packet.
    fn done(desc: &Self::Desc) -> Verdict;
    /// What a descriptor that was written back says, in words ([`RxQueue::describe`]).
    fn describe(desc: &Self::Desc) -> Option<String> {
        let _ = desc;
        None
    }
}

/// A receive ring whose descriptors are written back in place.
pub struct RxRing<F: RxFormat> {
    ring: DmaSlice<F::Desc>,
    posted: Posted,
    refill_at: u32,
    doorbell: Doorbell,
    counters: Arc<CachePadded<RxCounters>>,
    interrupt: Option<Box<dyn Interrupt>>,
}

/// Refill when this many descriptors are empty (or half of a small ring): one doorbell and one pool access for all.
const REFILL: u32 = 32;

impl<F: RxFormat> RxRing<F> {
    /// A ring over descriptors that the device already knows; [`RxRing::fill`] gives it the first buffers.
    ///
    /// `None` when the ring is shorter than 8.
    pub fn new(
        ring: DmaSlice<F::Desc>,
        doorbell: Doorbell,
        map: &PoolMap,
        custody: &Arc<Custody>,
    ) -> Option<Self> {
        let posted = Posted::new(map, &[], ring.len(), custody)?;
        let refill_at = REFILL.min(ring.len() / 2);
        let long_enough = ring.len() >= 8;
        long_enough.then(|| Self {
            ring,
            posted,
            refill_at,
            doorbell,
            counters: RxCounters::shared(),
            interrupt: None,
        })
    }

    /// Gives the queue an interrupt, which is masked now.
    pub fn with_interrupt(mut self, interrupt: Option<Box<dyn Interrupt>>) -> Self {
        self.interrupt = interrupt;
        self
    }

    /// The queue's counters, to read from elsewhere.
    pub fn counters(&self) -> &Arc<CachePadded<RxCounters>> {
        &self.counters
    }

    /// Whether the device has buffers and has not completed the oldest.
    fn is_quiet(&self) -> bool {
        F::done(self.ring.at(self.posted.head())) == Verdict::Pending
    }

    /// The interrupt, unless it would be a lie: a ring without buffers receives nothing, and registers of a stopped
    /// device are no longer this ring's to touch.
    fn usable_interrupt(&self) -> Option<&dyn Interrupt> {
        let usable = !self.posted.is_empty() && !self.posted.is_stopped();
        self.interrupt.as_deref().filter(|_| usable)
    }

    /// Fills the ring and rings the doorbell: once, when the device has enabled the queue.
    pub fn fill(&mut self, cache: &mut PoolCache) {
        self.refill(cache);
    }

    /// Descriptors the device may have: one less than there are, because head equal to tail means none.
    #[inline(always)]
    fn empty(&self) -> u32 {
        self.ring.mask() - self.posted.len()
    }

    #[inline(always)]
    fn refill(&mut self, cache: &mut PoolCache) {
        let want = self.empty();
        let ring = &self.ring;
        let got = self
            .posted
            .fill(cache, want, |index, buffer| F::arm(ring.at(index), buffer));
        if got < want && !self.posted.is_stopped() {
            self.counters.rx_no_buffer.add(1);
        }
        if got > 0 {
            self.doorbell.ring(self.posted.tail() & self.ring.mask());
            self.counters.rx_doorbells.add(1);
        }
    }
}

impl<F: RxFormat> RxQueue for RxRing<F> {
    #[inline]
    fn receive(&mut self, cache: &mut PoolCache, out: &mut Batch) -> usize {
        let ring = &self.ring;
        let got = self.posted.receive(cache, out, |index| F::done(ring.at(index)));
        let counters = &**self.counters;
        counters.rx_polls.add(1);
        if got.packets > 0 {
            counters.rx_packets.add(got.packets as u64);
            counters.rx_bytes.add(got.bytes);
        } else {
            counters.rx_idle_polls.add(1);
        }
        if got.errors | got.lengths > 0 {
            counters.rx_errors.add(got.errors as u64);
            counters.rx_lengths.add(got.lengths as u64);
        }
        if self.empty() >= self.refill_at {
            self.refill(cache);
        }
        got.packets as usize
    }

    fn counters(&self) -> &RxCounters {
        &self.counters
    }

    fn shared_counters(&self) -> Arc<CachePadded<RxCounters>> {
        self.counters.clone()
    }

    fn arm(&mut self) -> Armed {
        let Some(interrupt) = self.usable_interrupt() else {
            return Armed::Silent;
        };
        interrupt.unmask();
        // The store that lets the interrupt through before the look at the ring.
        order::dma_mb();
        if self.is_quiet() {
            return Armed::Wakes;
        }
        interrupt.mask();
        Armed::Pending
    }

    fn disarm(&mut self) {
        if let Some(interrupt) = self.usable_interrupt() {
            interrupt.mask();
        }
    }

    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        self.interrupt.as_ref().map(|interrupt| interrupt.event())
    }

    fn pause(&self, cpu: Cpu) {
        cpu.watch(self.ring.at(self.posted.head()), || self.is_quiet());
    }

    fn has_ended(&self) -> bool {
        self.posted.is_stopped()
    }

    fn describe(&self) -> Option<String> {
        if self.posted.is_empty() || self.is_quiet() {
            return None;
        }
        let head = self.posted.head();
        let text = F::describe(self.ring.at(head))?;
        Some(format!("descriptor {}: {text}", head & self.ring.mask()))
    }
}

impl<F: RxFormat> fmt::Debug for RxRing<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RxRing({:?}, {:?})", self.ring, self.posted)
    }
}
