mod marks;
mod odd;

use super::{Format, Halt, Health, Look, Notify};
use crate::mem::order;
use crate::offload::Offloads;
use crate::pool::{Batch, Custody, Order, PoolCache, PoolMap, Posted, Received, Verdict};
use crate::port::{Interrupt, RxQueue};
use crate::ring::FrameLimit;
use crate::telemetry::RxCounters;
use crate::wait::{Armed, Cpu};
use crossbeam::utils::CachePadded;
use odd::{Run, add};
use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// A receive ring with completions of its own.
pub struct RxRing<F: Format, N: Notify> {
    format: F,
    posted: Posted,
    order: Order,
    /// Bytes of a buffer, prefix included.
    room: u32,
    refill_at: u32,
    merges: bool,
    /// What was completed in one go, in order, with one word about the last: see [`Format::in_order`].
    run: Option<Run>,
    /// Bytes of a frame's parts, for one frame.
    lens: Vec<u32>,
    limit: FrameLimit,
    notify: N,
    health: Health,
    broken: bool,
    /// What the device may say of a packet.
    offloads: Offloads,
    counters: Arc<CachePadded<RxCounters>>,
    interrupt: Option<Box<dyn Interrupt>>,
}

/// Refill when this many buffers are missing (or half of a small ring): one publication and one pool access for all.
const REFILL: u32 = 32;

impl<F: Format, N: Notify> RxRing<F, N> {
    /// A ring that the device already knows, for frames up to `limit`; [`RxRing::fill`] gives it the first buffers.
    ///
    /// `None` when the ring is shorter than 4 or of a length that no ring has, or when the pool's headroom is too short for
    /// the format's prefix.
    pub fn new(
        format: F,
        notify: N,
        map: &PoolMap,
        custody: &Arc<Custody>,
        limit: &FrameLimit,
        health: &Health,
    ) -> Option<Self> {
        let (len, pool) = (format.positions(), map.pool());
        let fits = len >= 4 && pool.headroom() >= F::PREFIX;
        let posted = Posted::new(map, &[], len, custody)?.with_headroom(F::HEADROOM)?;
        let order = Order::new(len)?;
        fits.then(|| Self {
            room: (posted.room() + F::PREFIX) as u32,
            merges: format.merges(),
            offloads: format.offloads() & Offloads::RX,
            format,
            posted,
            order,
            refill_at: REFILL.min(len / 2),
            run: None,
            lens: Vec::with_capacity(8),
            limit: limit.clone(),
            notify,
            health: health.clone(),
            broken: false,
            counters: RxCounters::shared(),
            interrupt: None,
        })
    }

    /// Gives the queue an interrupt, which is silent now.
    pub fn with_interrupt(mut self, interrupt: Option<Box<dyn Interrupt>>) -> Self {
        self.interrupt = interrupt;
        self
    }

    /// Goes on with the counters of an earlier ring of the same queue.
    pub fn with_counters(mut self, counters: &Arc<CachePadded<RxCounters>>) -> Self {
        self.counters = counters.clone();
        self
    }

    /// The queue's counters, to read from elsewhere.
    pub fn counters(&self) -> &Arc<CachePadded<RxCounters>> {
        &self.counters
    }

    /// Fills the ring and tells the device: once, when the device may work.
    pub fn fill(&mut self, cache: &mut PoolCache) {
        self.refill(cache);
    }

    /// Positions of the ring.
    #[inline(always)]
    pub fn positions(&self) -> u32 {
        self.format.positions()
    }

    #[inline(always)]
    fn missing(&self) -> u32 {
        self.format.positions() - self.posted.len()
    }

    #[inline(always)]
    fn refill(&mut self, cache: &mut PoolCache) {
        let (want, from, room) = (self.missing(), self.posted.tail(), self.room);
        let (format, order) = (&mut self.format, &self.order);
        let got = self.posted.fill(cache, want, |at, data| {
            let buffer = data.offset((F::PREFIX as u64).wrapping_neg());
            format.post(at, order.id(at), buffer, room);
        });
        if got < want && !self.posted.is_stopped() {
            self.counters.rx_no_buffer.add(1);
        }
        if got > 0 && self.format.publish(from, from.wrapping_add(got)) {
            self.notify.notify(from.wrapping_add(got));
            self.counters.rx_doorbells.add(1);
        }
    }

    #[cold]
    fn wake_up(&mut self) {
        self.notify.notify(self.posted.tail());
        self.counters.rx_doorbells.add(1);
    }

    /// Longest frame in bytes; one that is to be cut may be longer.
    #[inline(always)]
    fn most(&self) -> u32 {
        match self.offloads.intersects(Offloads::RX_LONG) {
            true => u16::MAX.into(),
            false => self.limit.get(),
        }
    }

    #[inline(always)]
    fn count(&self, got: Received) -> usize {
        let counters = &**self.counters;
        counters.rx_polls.add(1);
        if got.packets > 0 {
            counters.rx_packets.add(got.packets as u64);
            counters.rx_bytes.add(got.bytes);
        } else {
            counters.rx_idle_polls.add(1);
        }
        if got.lengths > 0 {
            counters.rx_lengths.add(got.lengths as u64);
        }
        got.packets as usize
    }

    /// As long as everything is as usual.
    #[inline(always)]
    fn burst(&mut self, cache: &mut PoolCache, out: &mut Batch) -> (Received, Halt) {
        let most = self.most();
        let (format, order, tail, merges) = (&mut self.format, &self.order, self.posted.tail(), self.merges);
        let mut halt = Halt::End;
        let got = self.posted.receive_up_to(cache, out, most, |at, buffer| {
            match format.look(at, tail) {
                Look::Done { id, len } if id == u32::from(order.id(at)) => {
                    if merges {
                        match format.parts(at, buffer) {
                            Some(1) => {}
                            Some(parts) => {
                                halt = Halt::Parts(parts);
                                return Verdict::Pending;
                            }
                            None => return Verdict::Pending,
                        }
                    }
                    // Less than a prefix is more than any buffer holds.
                    return Verdict::Frame(len.wrapping_sub(F::PREFIX as u32));
                }
                Look::Pending => {}
                Look::Done { id, len } => halt = Halt::Turn(id, len),
                Look::Overrun => halt = Halt::Overrun,
            }
            Verdict::Pending
        });
        (got, halt)
    }
}

impl<F: Format, N: Notify> RxQueue for RxRing<F, N> {
    #[inline]
    fn receive(&mut self, cache: &mut PoolCache, out: &mut Batch) -> usize {
        if self.broken {
            return self.count(Received::default());
        }
        let first = out.len();
        let mut before = Received::default();
        let (mut got, mut halt) = if self.run.is_some() && !self.take_run(cache, out, &mut before) {
            (Received::default(), Halt::End)
        } else {
            self.burst(cache, out)
        };
        add(&mut got, before);
        while halt != Halt::End && self.unusual(halt, cache, out, &mut got) {
            let (some, next) = self.burst(cache, out);
            add(&mut got, some);
            halt = next;
        }
        if !self.offloads.is_empty() {
            self.read_marks(first, cache, out, &mut got);
        }
        let n = self.count(got);
        if self.missing() >= self.refill_at {
            self.refill(cache);
        } else if n == 0 && self.format.needs_wakeup() && !self.posted.is_stopped() {
            self.wake_up();
        }
        n
    }

    fn counters(&self) -> &RxCounters {
        &self.counters
    }

    fn shared_counters(&self) -> Arc<CachePadded<RxCounters>> {
        self.counters.clone()
    }

    fn arm(&mut self) -> Armed {
        let lies = self.posted.is_empty() || self.posted.is_stopped() || self.broken;
        let Some(interrupt) = self.interrupt.as_deref().filter(|_| !lies) else {
            return Armed::Silent;
        };
        let at = self.posted.head();
        self.format.wake_at(at);
        interrupt.unmask();
        // The store that lets the interrupt through before the look at the ring.
        order::dma_mb();
        if self.format.is_pending(at) {
            return Armed::Wakes;
        }
        interrupt.mask();
        self.format.hush(at);
        Armed::Pending
    }

    fn disarm(&mut self) {
        if self.posted.is_stopped() {
            return;
        }
        if let Some(interrupt) = self.interrupt.as_deref() {
            interrupt.mask();
            self.format.hush(self.posted.head());
        }
    }

    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        self.interrupt.as_ref().map(|interrupt| interrupt.event())
    }

    fn pause(&self, cpu: Cpu) {
        self.format.rest(self.posted.head(), cpu);
    }

    fn has_ended(&self) -> bool {
        self.posted.is_stopped() || self.broken
    }

    fn describe(&self) -> Option<String> {
        let at = self.posted.head();
        let there = !self.broken && !self.posted.is_empty() && !self.format.is_pending(at);
        there.then(|| self.format.describe(at)).flatten()
    }
}

impl<F: Format, N: Notify> fmt::Debug for RxRing<F, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RxRing({:?}, {:?})", self.format, self.posted)
    }
}
