//! A bad cable, or a slow device with a short buffer, behind any port: what is transmitted is lost, delayed, doubled,
//! reordered, damaged or slowed down, by a seed, and every such frame is counted.

use crate::Wrapper;
use barline::pool::{Batch, MAX_BURST, Packet, PoolCache};
use barline::port::{RxQueue, TxQueue};
use barline::telemetry::{Cell, CounterSink, TxCounters};
use barline_sim::{Clock, Rng};
use crossbeam::utils::CachePadded;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// What is done to frames on their way out. Shares are in parts of a million, drawn for each frame; each queue has a line, and
/// a seed, of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Impairment {
    /// Lost.
    pub loss: u32,
    /// Sent twice.
    pub duplicate: u32,
    /// Sent behind the next one.
    pub reorder: u32,
    /// Sent with one bit changed.
    pub corrupt: u32,
    /// Sent so much later.
    pub delay: Duration,
    /// Frames a second that get through at the most; 0 is without a limit.
    pub rate: f64,
    /// Frames that wait for that, the one on its way among them; what finds no room is lost.
    pub buffer: u32,
    /// Of the draws.
    pub seed: u64,
}

/// All of a million.
const ALL: u32 = 1_000_000;

impl Impairment {
    /// Whether it does nothing.
    pub fn is_none(&self) -> bool {
        let shares = [self.loss, self.duplicate, self.reorder, self.corrupt];
        shares == [0; 4] && self.delay.is_zero() && self.rate <= 0.0
    }

    /// Sets one value from text, as in `loss=1%`, `delay=50us`, `rate=3.7Mpps`.
    ///
    /// # Errors
    /// What would be right.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "loss" => self.loss = share(key, value)?,
            "duplicate" => self.duplicate = share(key, value)?,
            "reorder" => self.reorder = share(key, value)?,
            "corrupt" => self.corrupt = share(key, value)?,
            "delay" => self.delay = time(value)?,
            "rate" => self.rate = rate(value)?,
            "buffer" => {
                let frames = value.parse().ok().filter(|frames| (1..=65_536).contains(frames));
                self.buffer = frames.ok_or("write buffer=1 to buffer=65536, in frames")?;
            }
            "seed" => self.seed = value.parse().map_err(|_| "write seed=7")?,
            _ => {
                return Err(format!(
                    "there is no option {key:?}; there are {}",
                    Self::KEYS.join(", ")
                ));
            }
        }
        Ok(())
    }

    /// What [`Impairment::set`] knows.
    pub const KEYS: &[&str] = &[
        "loss",
        "duplicate",
        "reorder",
        "corrupt",
        "delay",
        "rate",
        "buffer",
        "seed",
    ];
}

fn share(key: &str, text: &str) -> Result<u32, String> {
    let number = text
        .strip_suffix('%')
        .and_then(|number| number.parse::<f64>().ok());
    let share = number.filter(|share| (0.0..=100.0).contains(share));
    share
        .map(|share| (share * 1e4).round() as u32)
        .ok_or_else(|| format!("write {key}=0.5%, from 0 to 100"))
}

fn time(text: &str) -> Result<Duration, String> {
    let scales = [("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3), ("s", 1.0)];
    let time = scales.iter().find_map(|(unit, scale)| {
        let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
        Duration::try_from_secs_f64(number * scale).ok()
    });
    time.filter(|time| *time <= Duration::from_secs(10))
        .ok_or_else(|| "write delay=50us, up to 10s".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    let scales = [("Mpps", 1e6), ("kpps", 1e3), ("pps", 1.0)];
    let rate = scales.iter().find_map(|(unit, scale)| {
        let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(number * scale)
    });
    rate.filter(|rate| (1.0..1e12).contains(rate))
        .ok_or_else(|| "write rate=3.7Mpps, from 1pps on".to_owned())
}

/// Where frames ended that did not go as they were.
#[derive(Debug, Default)]
pub struct Ends {
    /// Lost by the draw.
    pub lost: Cell,
    /// Lost for want of room in the buffer.
    pub overflow: Cell,
    /// Sent twice: the second ones.
    pub doubled: Cell,
    /// Sent behind the one after.
    pub reordered: Cell,
    /// Sent with a changed bit.
    pub corrupted: Cell,
}

/// Impairs what a port transmits. One that does nothing leaves the port's queues as they are, and costs nothing.
#[derive(Debug)]
pub struct Impair {
    how: Impairment,
    clock: Arc<Clock>,
    ends: Vec<Arc<Ends>>,
}

impl Impair {
    /// Goes by the machine's clock.
    pub fn new(how: Impairment) -> Self {
        Self::with_clock(how, Clock::real())
    }

    /// Goes by another.
    pub fn with_clock(how: Impairment, clock: Arc<Clock>) -> Self {
        Self {
            how,
            clock,
            ends: Vec::new(),
        }
    }
}

impl Wrapper for Impair {
    fn rx(&mut self, _index: u16, queue: Box<dyn RxQueue>) -> Box<dyn RxQueue> {
        queue
    }

    fn tx(&mut self, index: u16, queue: Box<dyn TxQueue>) -> Box<dyn TxQueue> {
        if self.how.is_none() {
            return queue;
        }
        let ends = Arc::new(Ends::default());
        self.ends.push(ends.clone());
        Box::new(ImpairTx::new(queue, self.how, index, self.clock.clone(), ends))
    }

    fn counters(&mut self, out: &mut dyn CounterSink) {
        if self.how.is_none() {
            return;
        }
        let mut show = |name, of: fn(&Ends) -> &Cell| {
            out.counter(name, self.ends.iter().map(|ends| of(ends).get()).sum());
        };
        show("impair_lost", |ends| &ends.lost);
        show("impair_overflow", |ends| &ends.overflow);
        show("impair_doubled", |ends| &ends.doubled);
        show("impair_reordered", |ends| &ends.reordered);
        show("impair_corrupted", |ends| &ends.corrupted);
    }
}

/// Frames held at the most; then no more are taken.
const MOST: usize = 1 << 16;
/// A frame that waits for the next one to overtake it waits no longer than this, in nanoseconds.
const PATIENCE: u64 = 1_000_000;
/// Bits behind the point of times, so that a service time need not be whole nanoseconds.
const POINT: u32 = 32;

/// A transmit queue whose frames go over a bad line.
#[derive(Debug)]
struct ImpairTx {
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
    fn new(inner: Box<dyn TxQueue>, how: Impairment, index: u16, clock: Arc<Clock>, ends: Arc<Ends>) -> Self {
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
    copy.set(packet).then_some(copy)
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

#[cfg(test)]
mod tests;
