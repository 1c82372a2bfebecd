//! The transmit queue of an impaired port.

use super::{Ends, Impairment};
use barline::pool::{Batch, MAX_BURST, Packet, PoolCache};
use barline::port::TxQueue;
use barline::telemetry::TxCounters;
use barline_sim::{Clock, Rng};
use crossbeam::utils::CachePadded;
use std::collections::VecDeque;
use std::sync::Arc;

/// All of a million.
const ALL: u32 = 1_000_000;
/// Frames held at the most; then no more are taken.
const MOST: usize = 1 << 16;
/// A frame that waits for the next one to overtake it waits no longer than this, in nanoseconds.
const PATIENCE: u64 = 1_000_000;
/// Bits behind the point of times, so that a service time need not be whole nanoseconds.
const POINT: u32 = 32;

/// A transmit queue whose frames go over a bad line.
#[derive(Debug)]
pub(super) struct ImpairTx {
    inner: Box<dyn TxQueue>,
    how: Impairment,
    rng: Rng,
    clock: Arc<Clock>,
    ends: Arc<Ends>,
    counters: Arc<CachePadded<TxCounters>>,
    /// Frames with the time at which they go, oldest first.
    line: VecDeque<(u64, Packet)>,
    /// One that is to be overtaken, and until when it waits.
    behind: Option<(u64, Packet)>,
    /// When the device behind the ceiling is done with all it has, in fixed point.
    finish: u128,
    service: u128,
    out: Batch,
}

impl ImpairTx {
    pub fn new(
        inner: Box<dyn TxQueue>,
        how: Impairment,
        index: u16,
        clock: Arc<Clock>,
        ends: Arc<Ends>,
    ) -> Self {
        let service = if how.rate > 0.0 { 1e9 / how.rate } else { 0.0 };
        Self {
            inner,
            rng: Rng::new(how.seed.wrapping_add(u64::from(index) << 32)),
            how,
            clock,
            ends,
            counters: TxCounters::shared(),
            line: VecDeque::new(),
            behind: None,
            finish: 0,
            service: (service * (1u64 << POINT) as f64) as u128,
            out: Batch::with_burst(MAX_BURST),
        }
    }

    fn draw(&mut self, share: u32) -> bool {
        share > 0 && self.rng.below(ALL) < share
    }

    /// When a frame that comes now is through, or nothing if there is no room for it.
    fn serve(&mut self, now: u64) -> Option<u64> {
        if self.service == 0 {
            return Some(now);
        }
        let now = u128::from(now) << POINT;
        let there = self.finish.saturating_sub(now).div_ceil(self.service);
        if there >= u128::from(self.how.buffer.max(1)) {
            return None;
        }
        self.finish = self.finish.max(now) + self.service;
        Some((self.finish >> POINT) as u64)
    }

    /// Decides what becomes of a frame.
    fn enter(&mut self, cache: &mut PoolCache, mut packet: Packet, now: u64) {
        if self.draw(self.how.loss) {
            self.ends.lost.add(1);
            return cache.free_one(packet);
        }
        let Some(through) = self.serve(now) else {
            self.ends.overflow.add(1);
            return cache.free_one(packet);
        };
        let due = through + self.how.delay.as_nanos() as u64;
        if self.draw(self.how.corrupt) && !packet.is_empty() {
            let (at, bit) = (self.rng.below(packet.len() as u32), self.rng.below(8));
            packet[at as usize] ^= 1 << bit;
            self.ends.corrupted.add(1);
        }
        let copy = self
            .draw(self.how.duplicate)
            .then(|| copy(cache, &packet))
            .flatten();
        // One at a time, and none that goes twice: its copy would come in its place.
        if self.draw(self.how.reorder) && self.behind.is_none() && copy.is_none() {
            self.behind = Some((due + PATIENCE, packet));
        } else {
            self.line.push_back((due, packet));
            if let Some((_, overtaken)) = self.behind.take() {
                self.ends.reordered.add(1);
                self.line.push_back((due, overtaken));
            }
        }
        if let Some(copy) = copy {
            self.ends.doubled.add(1);
            self.line.push_back((due, copy));
        }
    }

    /// Sends what is due.
    fn release(&mut self, cache: &mut PoolCache, now: u64) {
        if self.behind.as_ref().is_some_and(|(until, _)| *until <= now) {
            self.line.extend(self.behind.take());
        }
        loop {
            while self.out.room() > 0 && self.line.front().is_some_and(|(due, _)| *due <= now) {
                // There is room, and there is one.
                self.out.extend(self.line.pop_front().map(|(_, packet)| packet));
            }
            if self.out.is_empty() {
                return;
            }
            self.inner.transmit(cache, &mut self.out);
            if !self.out.is_empty() {
                return;
            }
        }
    }
}

fn copy(cache: &mut PoolCache, packet: &Packet) -> Option<Packet> {
    let mut copy = cache.alloc()?;
    copy.copy_of(packet).then_some(copy)
}

impl TxQueue for ImpairTx {
    fn transmit(&mut self, cache: &mut PoolCache, packets: &mut Batch) -> usize {
        let now = self.clock.elapsed().as_nanos() as u64;
        let (mut taken, mut bytes) = (0, 0);
        while self.line.len() < MOST {
            let Some(packet) = packets.pop() else { break };
            taken += 1;
            bytes += packet.len() as u64;
            self.enter(cache, packet, now);
        }
        self.counters.tx_packets.add(taken as u64);
        self.counters.tx_bytes.add(bytes);
        if !packets.is_empty() {
            self.counters.tx_full.add(1);
        }
        self.release(cache, now);
        taken
    }

    fn reclaim(&mut self, cache: &mut PoolCache) -> usize {
        let now = self.clock.elapsed().as_nanos() as u64;
        self.release(cache, now);
        self.inner.reclaim(cache)
    }

    fn in_flight(&self) -> usize {
        self.line.len() + usize::from(self.behind.is_some()) + self.out.len() + self.inner.in_flight()
    }

    fn counters(&self) -> &TxCounters {
        &self.counters
    }

    fn shared_counters(&self) -> Arc<CachePadded<TxCounters>> {
        self.counters.clone()
    }

    fn has_ended(&self) -> bool {
        self.inner.has_ended()
    }
}
