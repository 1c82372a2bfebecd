use crate::mem::{DescWords, DmaSlice, Iova};
use crate::mmio::Doorbell;
use crate::offload::{Offloads, Rules, settle};
use crate::pool::{Batch, Custody, PoolCache, PoolMap, Posted};
use crate::port::TxQueue;
use crate::telemetry::TxCounters;
use crossbeam::utils::CachePadded;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A transmit descriptor that the device marks done in place, where it was asked to report.
pub trait TxFormat: Send + 'static {
    /// The descriptor's words.
    type Desc: DescWords;
    /// The shortest packet that the device sends; shorter ones are dropped and counted.
    const SHORTEST: u32 = 1;
    /// Writes a whole frame of `len` bytes at `data`, without asking for a report.
    fn post(desc: &Self::Desc, data: Iova, len: u32);
    /// Asks, on a descriptor just posted with `len`, to report when it and all before it are done: what a report says
    /// holds whether or not the reports before it came.
    fn report(desc: &Self::Desc, len: u32);
    /// Whether a descriptor that was asked to report has done so.
    fn done(desc: &Self::Desc) -> bool;
    /// What a descriptor says, posted or written back, in words ([`TxQueue::describe`]).
    fn describe(desc: &Self::Desc) -> Option<String> {
        let _ = desc;
        None
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
    pub(in crate::ring) fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A transmit ring whose descriptors are marked done in place.
pub struct TxRing<F: TxFormat> {
    ring: DmaSlice<F::Desc>,
    posted: Posted,
    /// Free-running ends of bursts whose last descriptor reports, oldest first.
    reports: Reports,
    /// The oldest report, where a later one has overtaken it, and at how many looks in a row.
    overdue: (u32, u32),
    reclaim_at: u32,
    limit: FrameLimit,
    doorbell: Doorbell,
    counters: Arc<CachePadded<TxCounters>>,
}

/// Reclaim before a transmit when at least this many are in flight (or half of a small ring): in bulk, while the
/// buffers are still in cache.
const RECLAIM: u32 = 32;

/// Looks after which a report that a later one has overtaken is lost. Writes of a device may overtake each other by
/// less than a microsecond; one taken for lost that comes after all would land in a descriptor posted anew. As many
/// looks take tens of microseconds at least.
const OVERDUE: u32 = 1000;

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
            overdue: (0, 0),
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

    /// Without the oldest report nothing comes back; the newest one speaks for all. To be called where there is nothing
    /// better to do: the ring is full, or the core is idle. Returns how many buffers came back.
    #[cold]
    #[inline(never)]
    fn collect_overdue(&mut self, cache: &mut PoolCache) -> u32 {
        let (Some(oldest), Some(newest)) = (self.reports.front(), self.reports.back()) else {
            return 0;
        };
        let done = |end: u32| F::done(self.ring.at(end.wrapping_sub(1)));
        if oldest == newest || done(oldest) || !done(newest) {
            self.overdue = (oldest, 0);
            return 0;
        }
        let looks = if self.overdue.0 == oldest {
            self.overdue.1
        } else {
            0
        };
        self.overdue = (oldest, looks + 1);
        if looks < OVERDUE {
            return 0;
        }
        let mut lost = 0;
        while let Some(end) = self.reports.front() {
            lost += u64::from(!F::done(self.ring.at(end.wrapping_sub(1))));
            self.reports.pop();
        }
        self.counters.tx_reports_lost.add(lost);
        let n = newest.wrapping_sub(self.posted.head());
        self.posted.reclaim(cache, n);
        n
    }
}

impl<F: TxFormat> TxRing<F> {
    /// Hands packets to the device; one of another pool that asks for something stays, and is told of.
    #[inline(always)]
    fn hand_over(&mut self, cache: &mut PoolCache, packets: &mut Batch) -> (usize, bool) {
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
            if sent.offloads > 0 {
                return (sent.packets as usize, true);
            }
            counters.tx_full.add(1);
            self.collect_overdue(cache);
        }
        (sent.packets as usize, false)
    }

    /// Does in software what packets of the batch ask for.
    #[cold]
    #[inline(never)]
    fn transmit_offloads(&mut self, cache: &mut PoolCache, packets: &mut Batch) -> usize {
        let counters = self.counters.clone();
        let rules = Rules {
            can: Offloads::empty(),
            longest: self.limit.get(),
        };
        // Segments are of the pool that is sent from the fast way.
        let strange = cache.pool() != self.posted.pool();
        let mut own = strange.then(|| self.posted.pool().cache());
        let cache = own.as_mut().unwrap_or(cache);
        settle(rules, &counters, cache, packets, |cache, packets| {
            self.hand_over(cache, packets).0
        })
    }
}

impl<F: TxFormat> TxQueue for TxRing<F> {
    #[inline]
    fn transmit(&mut self, cache: &mut PoolCache, packets: &mut Batch) -> usize {
        if packets.is_empty() {
            return 0;
        }
        if self.posted.pool().has_offloads() && packets.has_offloads() {
            return self.transmit_offloads(cache, packets);
        }
        match self.hand_over(cache, packets) {
            (sent, false) => sent,
            (sent, true) => sent + self.transmit_offloads(cache, packets),
        }
    }

    fn reclaim(&mut self, cache: &mut PoolCache) -> usize {
        let n = self.collect(cache);
        if n == 0 && self.reports.front().is_some() {
            return self.collect_overdue(cache) as usize;
        }
        n as usize
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

    fn describe(&self, back: u32) -> Option<String> {
        let at = self.posted.tail().wrapping_sub(1).wrapping_sub(back);
        let text = F::describe(self.ring.at(at))?;
        Some(format!("descriptor {}: {text}", at & self.ring.mask()))
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

    fn back(&self) -> Option<u32> {
        (self.head != self.tail).then(|| self.ends[self.at(self.tail.wrapping_sub(1))])
    }

    #[inline(always)]
    fn pop(&mut self) {
        self.head = self.head.wrapping_add(1);
    }
}
