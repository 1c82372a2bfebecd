use super::{Fault, Format, Health, Look, Notify};
use crate::mem::Iova;
use crate::offload::{Rules, settle};
use crate::pool::{Batch, Custody, Order, Pool, PoolCache, PoolMap, Posted};
use crate::port::TxQueue;
use crate::ring::FrameLimit;
use crate::telemetry::TxCounters;
use crossbeam::utils::CachePadded;
use std::fmt;
use std::sync::Arc;

/// A transmit ring with completions of its own.
pub struct TxRing<F: Format, N: Notify> {
    format: F,
    posted: Posted,
    order: Order,
    reclaim_at: u32,
    limit: FrameLimit,
    notify: N,
    health: Health,
    broken: bool,
    counters: Arc<CachePadded<TxCounters>>,
}

/// Reclaim before a transmit when at least this many are in flight (or half of a small ring): in bulk, while the
/// buffers are still in cache.
const RECLAIM: u32 = 32;

impl<F: Format, N: Notify> TxRing<F, N> {
    /// A ring that the device already knows, for frames up to `limit`.
    /// Packets of `map`'s pool go the fast way, those of `others` a slower one.
    ///
    /// `None` when the ring is shorter than 4 or of a length that no ring has.
    pub fn new(
        format: F,
        notify: N,
        map: &PoolMap,
        others: &[PoolMap],
        custody: &Arc<Custody>,
        limit: &FrameLimit,
        health: &Health,
    ) -> Option<Self> {
        let len = format.positions();
        let (posted, order) = (Posted::new(map, others, len, custody)?, Order::new(len)?);
        (len >= 4).then(|| Self {
            format,
            posted,
            order,
            reclaim_at: RECLAIM.min(len / 2),
            limit: limit.clone(),
            notify,
            health: health.clone(),
            broken: false,
            counters: TxCounters::shared(),
        })
    }

    /// Goes on with the counters of an earlier ring of the same queue.
    pub fn with_counters(mut self, counters: &Arc<CachePadded<TxCounters>>) -> Self {
        self.counters = counters.clone();
        self
    }

    /// The same, with packets of `pools` copied when they are sent, because the device cannot reach them.
    #[must_use]
    pub fn copying(mut self, pools: &[Pool]) -> Self {
        self.posted = self.posted.copying(pools);
        self
    }

    /// Tells the device once more, where it has something and rests.
    #[inline(always)]
    fn wake_up(&mut self) {
        if !self.posted.is_empty() && self.format.needs_wakeup() && !self.posted.is_stopped() {
            self.notify.notify(self.posted.tail());
            self.counters.tx_doorbells.add(1);
        }
    }

    /// The queue's counters, to read from elsewhere.
    pub fn counters(&self) -> &Arc<CachePadded<TxCounters>> {
        &self.counters
    }

    #[inline(always)]
    fn collect(&mut self, cache: &mut PoolCache) -> u32 {
        let (head, tail) = (self.posted.head(), self.posted.tail());
        let mut at = head;
        while at != tail && !self.broken {
            match self.format.look(at, tail) {
                Look::Done { id, .. } if id == u32::from(self.order.id(at)) => at = at.wrapping_add(1),
                Look::Pending => break,
                other => at = self.unusual(other, at, tail),
            }
        }
        let n = at.wrapping_sub(head);
        if n > 0 {
            self.posted.reclaim(cache, n);
        }
        n
    }

    /// A completion at `at` that is out of turn, or none; how far everything is completed now.
    #[cold]
    #[inline(never)]
    fn unusual(&mut self, look: Look, at: u32, tail: u32) -> u32 {
        let Look::Done { id, .. } = look else {
            return self.give_up(Fault::Overrun, at);
        };
        let Some(place) = self.order.find(id, at, tail) else {
            return self.give_up(Fault::Id(id), at);
        };
        if self.format.in_order() {
            return place.wrapping_add(1); // and all before it
        }
        self.posted.swap(at, place);
        self.order.swap(at, place);
        for at in [at, place] {
            self.format.renumber(at, self.order.id(at));
        }
        at.wrapping_add(1)
    }

    fn give_up(&mut self, fault: Fault, at: u32) -> u32 {
        self.broken = true;
        self.health.report("transmit", fault);
        match fault {
            Fault::Id(_) => self.counters.tx_bad_ids.add(1),
            Fault::Overrun => self.counters.tx_overruns.add(1),
        }
        at
    }
}

impl<F: Format, N: Notify> TxRing<F, N> {
    /// Hands packets to the device. Without `OFFLOADS`, one that asks for something stays, and is told of.
    #[inline(always)]
    fn hand_over<const OFFLOADS: bool>(
        &mut self,
        cache: &mut PoolCache,
        packets: &mut Batch,
    ) -> (usize, bool) {
        if self.posted.len() >= self.reclaim_at {
            self.collect(cache);
        }
        let from = self.posted.tail();
        // A broken ring has no room.
        let room = if self.broken {
            0
        } else {
            self.format.positions() - self.posted.len()
        };
        let lens = F::SHORTEST..=self.limit.get();
        let (format, order) = (&mut self.format, &self.order);
        let post = |at, data: Iova, len| {
            let buffer = data.offset((F::PREFIX as u64).wrapping_neg());
            format.post(at, order.id(at), buffer, len + F::PREFIX as u32);
        };
        let sent = match OFFLOADS {
            true => self
                .posted
                .send_offloads(F::PREFIX, packets, room, lens, &mut F::request, post),
            false => self.posted.send_behind(F::PREFIX, packets, room, lens, post),
        };
        let counters = &**self.counters;
        if sent.packets > 0 {
            counters.tx_packets.add(sent.packets as u64);
            counters.tx_bytes.add(sent.bytes);
            let tail = self.posted.tail();
            if self.format.publish(from, tail) {
                self.notify.notify(tail);
                counters.tx_doorbells.add(1);
            }
        }
        if sent.lengths | sent.unmapped | sent.copied > 0 {
            counters.tx_lengths.add(sent.lengths as u64);
            counters.tx_unmapped.add(sent.unmapped as u64);
            counters.tx_copied.add(sent.copied as u64);
        }
        if !packets.is_empty() {
            if sent.offloads > 0 {
                return (sent.packets as usize, true);
            }
            counters.tx_full.add(1);
            if sent.packets == 0 {
                self.wake_up();
            }
        }
        (sent.packets as usize, false)
    }

    /// The same for a batch in which packets ask for something.
    #[cold]
    #[inline(never)]
    fn transmit_offloads(&mut self, cache: &mut PoolCache, packets: &mut Batch) -> usize {
        let counters = self.counters.clone();
        let rules = Rules {
            can: self.format.offloads(),
            longest: self.limit.get(),
        };
        // Segments are of the pool that is sent from the fast way.
        let strange = cache.pool() != self.posted.pool();
        let mut own = strange.then(|| self.posted.pool().cache());
        let cache = own.as_mut().unwrap_or(cache);
        settle(rules, &counters, cache, packets, |cache, packets| {
            self.hand_over::<true>(cache, packets).0
        })
    }
}

impl<F: Format, N: Notify> TxQueue for TxRing<F, N> {
    #[inline]
    fn transmit(&mut self, cache: &mut PoolCache, packets: &mut Batch) -> usize {
        if packets.is_empty() {
            return 0;
        }
        if self.posted.pool().has_offloads() && packets.has_offloads() {
            return self.transmit_offloads(cache, packets);
        }
        match self.hand_over::<false>(cache, packets) {
            (sent, false) => sent,
            (sent, true) => sent + self.transmit_offloads(cache, packets),
        }
    }

    fn reclaim(&mut self, cache: &mut PoolCache) -> usize {
        let n = self.collect(cache) as usize;
        self.wake_up();
        n
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
        self.posted.is_stopped() || self.broken
    }

    fn describe(&self, back: u32) -> Option<String> {
        let at = self.posted.tail().wrapping_sub(1).wrapping_sub(back);
        self.format.describe(at)
    }
}

impl<F: Format, N: Notify> fmt::Debug for TxRing<F, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TxRing({:?}, {:?})", self.format, self.posted)
    }
}
