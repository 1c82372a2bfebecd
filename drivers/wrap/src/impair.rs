//! A bad cable, or a slow device with a short buffer, behind any port: what is transmitted is lost, delayed, doubled,
//! reordered, damaged or slowed down, by a seed, and every such frame is counted.

mod queue;
mod text;

use crate::Wrapper;
use barline::port::{RxQueue, TxQueue};
use barline::telemetry::{Cell, CounterSink};
use barline_sim::Clock;
use queue::ImpairTx;
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

impl Impairment {
    /// Whether it does nothing.
    pub fn is_none(&self) -> bool {
        let shares = [self.loss, self.duplicate, self.reorder, self.corrupt];
        shares == [0; 4] && self.delay.is_zero() && self.rate <= 0.0
    }
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

#[cfg(test)]
mod tests;
