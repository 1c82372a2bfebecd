use crate::mem::{DescWords, DmaSlice, Iova, order};
use crate::mmio::Doorbell;
use crate::pool::{Batch, Custody, PoolCache, PoolMap, Posted, Verdict};
use crate::port::{Interrupt, RxQueue, TxQueue};
use crate::telemetry::{RxCounters, TxCounters};
use crate::wait::{Armed, Cpu};
use crossbeam::utils::CachePadded;
use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

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
}

/// A transmit descriptor that the device marks done in place, where it was asked to report.
pub trait TxFormat: Send + 'static {
    /// The descriptor's words.
    type Desc: DescWords;
    /// The shortest packet that the device sends; shorter ones are dropped and counted.
    const SHORTEST: u32 = 1;
    /// Writes a whole frame of `len` bytes at `data`, without asking for a report.
    fn post(desc: &Self::Desc, data: Iova, len: u32);
    /// Asks, on a descriptor just posted with `len`, to report when it and all before it are done.
    fn report(desc: &Self::Desc, len: u32);
    /// Whether a descriptor that was asked to report has done so.
    fn done(desc: &Self::Desc) -> bool;
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
}

impl<F: RxFormat> fmt::Debug for RxRing<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RxRing({:?}, {:?})", self.ring, self.posted)
    }
}

/// The longest frame without FCS that a port sends: its transmit rings look at it, the port changes it with its MTU.
#[derive(Clone, Debug)]
pub struct FrameLimit(Arc<AtomicU32>);

impl FrameLimit {
    /// A limit of `bytes`. Clones are the same limit.
    pub fn new(bytes: u32) -> Self {
        Self(Arc::new(AtomicU32::new(bytes)))
    }

    /// Changes it, for every burst that begins after this.
    pub fn set(&self, bytes: u32) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    #[inline(always)]
    pub(super) fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A transmit ring whose descriptors are marked done in place.
pub struct TxRing<F: TxFormat> {
    ring: DmaSlice<F::Desc>,
    posted: Posted,
    /// Free-running ends of bursts whose last descriptor reports, oldest first.
    reports: Reports,
    reclaim_at: u32,
    limit: FrameLimit,
    doorbell: Doorbell,
    counters: Arc<CachePadded<TxCounters>>,
}

/// Reclaim before a transmit when at least this many are in flight (or half of a small ring): in bulk, while the
/// buffers are still in cache.
const RECLAIM: u32 = 32;

impl<F: TxFormat> TxRing<F> {
    /// A ring over descriptors that the device already knows, for frames up to `limit`.
    /// Packets of `map`'s pool go the fast way, those of `others` a slower one.
    ///
    /// `None` when the ring is shorter than 8.
    pub fn new(
        ring: DmaSlice<F::Desc>,
        doorbell: Doorbell,
        map: &PoolMap,
        others: &[PoolMap],
        custody: &Arc<Custody>,
        limit: &FrameLimit,
    ) -> Option<Self> {
        let posted = Posted::new(map, others, ring.len(), custody)?;
        let reports = Reports::new(ring.len());
        let reclaim_at = RECLAIM.min(ring.len() / 2);
        let long_enough = ring.len() >= 8;
        long_enough.then(|| Self {
            ring,
            posted,
            reports,
            reclaim_at,
            limit: limit.clone(),
            doorbell,
            counters: TxCounters::shared(),
        })
    }

    /// The queue's counters, to read from elsewhere.
    pub fn counters(&self) -> &Arc<CachePadded<TxCounters>> {
        &self.counters
    }

    #[inline(always)]
    fn room(&self) -> u32 {
        self.ring.mask() - self.posted.len()
    }

    #[inline(always)]
    fn collect(&mut self, cache: &mut PoolCache) -> u32 {
        let mut end = self.posted.head();
        while let Some(next) = self.reports.front() {
            if !F::done(self.ring.at(next.wrapping_sub(1))) {
                break;
            }
            end = next;
            self.reports.pop();
        }
        let n = end.wrapping_sub(self.posted.head());
        if n > 0 {
            self.posted.reclaim(cache, n);
        }
        n
    }
}

impl<F: TxFormat> TxQueue for TxRing<F> {
    #[inline]
    fn transmit(&mut self, cache: &mut PoolCache, packets: &mut Batch) -> usize {
        if packets.is_empty() {
            return 0;
        }
        if self.posted.len() >= self.reclaim_at {
            self.collect(cache);
        }
        let ring = &self.ring;
        let mut last = (0, 0);
        let room = self.room();
        let lens = F::SHORTEST..=self.limit.get();
        let sent = self.posted.send(packets, room, lens, |index, data, len| {
            F::post(ring.at(index), data, len);
            last = (index, len);
        });
        let counters = &**self.counters;
        if sent.packets > 0 {
            F::report(self.ring.at(last.0), last.1);
            let tail = self.posted.tail();
            self.reports.push(tail);
            self.doorbell.ring(tail & self.ring.mask());
            counters.tx_packets.add(sent.packets as u64);
            counters.tx_bytes.add(sent.bytes);
            counters.tx_doorbells.add(1);
        }
        if sent.lengths | sent.unmapped > 0 {
            counters.tx_lengths.add(sent.lengths as u64);
            counters.tx_unmapped.add(sent.unmapped as u64);
        }
        if !packets.is_empty() {
            counters.tx_full.add(1);
        }
        sent.packets as usize
    }

    fn reclaim(&mut self, cache: &mut PoolCache) -> usize {
        self.collect(cache) as usize
    }

    fn in_flight(&self) -> usize {
        self.posted.len() as usize
    }

    fn counters(&self) -> &TxCounters {
        &self.counters
    }

    fn shared_counters(&self) -> Arc<CachePadded<TxCounters>> {
        self.counters.clone()
    }

    fn has_ended(&self) -> bool {
        self.posted.is_stopped()
    }
}

impl<F: TxFormat> fmt::Debug for TxRing<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TxRing({:?}, {:?})", self.ring, self.posted)
    }
}

/// A queue of burst ends. As many as there are descriptors always fit, because a burst has at least one.
struct Reports {
    ends: Box<[u32]>,
    head: u32,
    tail: u32,
}

impl Reports {
    fn new(len: u32) -> Self {
        Self {
            ends: vec![0; len as usize].into_boxed_slice(),
            head: 0,
            tail: 0,
        }
    }

    #[inline(always)]
    fn at(&self, index: u32) -> usize {
        (index as usize) & (self.ends.len() - 1)
    }

    #[inline(always)]
    fn push(&mut self, end: u32) {
        let at = self.at(self.tail);
        self.ends[at] = end;
        self.tail = self.tail.wrapping_add(1);
    }

    #[inline(always)]
    fn front(&self) -> Option<u32> {
        (self.head != self.tail).then(|| self.ends[self.at(self.head)])
    }

    #[inline(always)]
    fn pop(&mut self) {
        self.head = self.head.wrapping_add(1);
    }
}
