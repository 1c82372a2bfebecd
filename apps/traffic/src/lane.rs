//! One core's transmit and receive side: what a poll loop calls, and nothing that waits.

use crate::flow::Analyser;
use crate::generator::Generator;
use crate::pace::Pacer;
use crate::sign::{Found, Mark};
use barline::pool::{Batch, PoolCache};
use barline::port::{RxQueue, TxQueue};

/// Makes packets when they are due and hands them to a queue.
#[derive(Debug)]
pub struct Sender {
    /// What is sent.
    pub generator: Generator,
    /// When.
    pub pacer: Pacer,
    batch: Batch,
    burst: usize,
    /// Packets until the end, if there is one.
    left: Option<u64>,
    /// Turns in which the pool had no buffer: packets that were due and not made.
    starved: u64,
    made: u64,
}

impl Sender {
    /// At most `burst` packets at a time.
    pub fn new(generator: Generator, pacer: Pacer, burst: usize) -> Self {
        Self {
            generator,
            pacer,
            batch: Batch::with_burst(burst),
            burst,
            left: None,
            starved: 0,
            made: 0,
        }
    }

    /// So many more packets and no more; `None` without end.
    pub fn limit(&mut self, packets: Option<u64>) {
        self.left = packets;
    }

    /// Begins anew at `now` with other flow numbers: so many packets and no more.
    pub fn restart(&mut self, first_flow: u16, packets: Option<u64>, now: u64) {
        self.generator.restart(first_flow);
        self.pacer.restart(now);
        self.left = packets;
    }

    /// Whether all that was asked for has been handed over.
    pub fn is_done(&mut self) -> bool {
        let end = self.left == Some(0) || self.generator.replay().is_some_and(|replay| replay.is_done());
        end && self.batch.is_empty()
    }

    /// Packets made so far.
    pub fn made(&self) -> u64 {
        self.made
    }

    /// Packets made and not taken by the queue so far.
    pub fn held(&self) -> usize {
        self.batch.len()
    }

    /// Packets that were due and that no buffer was left for.
    pub fn starved(&self) -> u64 {
        self.starved
    }

    /// Sends what is due at `now` (nanoseconds), a burst at the most; returns how many packets the queue took. What it does
    /// not take is offered again: nothing is lost here.
    #[inline]
    pub fn poll(&mut self, tx: &mut dyn TxQueue, cache: &mut PoolCache, now: u64) -> usize {
        if self.batch.is_empty() {
            self.make(cache, now);
        }
        if self.batch.is_empty() {
            tx.reclaim(cache);
            return 0;
        }
        tx.transmit(cache, &mut self.batch)
    }

    /// Offers what the queue has not taken yet; returns how much it took.
    pub fn flush(&mut self, tx: &mut dyn TxQueue, cache: &mut PoolCache) -> usize {
        tx.transmit(cache, &mut self.batch)
    }

    #[inline]
    fn make(&mut self, cache: &mut PoolCache, now: u64) {
        let mut most = self
            .left
            .map_or(self.burst, |left| left.min(self.burst as u64) as usize);
        if let Some(replay) = self.generator.replay() {
            most = most.min(replay.left());
            if let Some(due) = replay.due(now, most) {
                self.fill(cache, due, now);
                return;
            }
        }
        if self.generator.is_even() || self.pacer.is_unlimited() {
            let due = self.pacer.take(now, most, self.generator.next_len());
            self.fill(cache, due, now);
            return;
        }
        // Each frame costs its own length.
        while most > 0 && self.pacer.take(now, 1, self.generator.next_len()) == 1 {
            self.fill(cache, 1, now);
            most -= 1;
        }
    }

    #[inline(always)]
    fn fill(&mut self, cache: &mut PoolCache, n: usize, now: u64) {
        if n == 0 {
            return;
        }
        let got = self.generator.fill(cache, &mut self.batch, n, now);
        self.starved += (n - got) as u64;
        self.made += got as u64;
        if let Some(left) = &mut self.left {
            // What was due and not made stays to be made.
            *left -= got as u64;
        }
    }

    /// Gives up what the queue has not taken, and returns the flows of these packets (none of one without a mark) by the
    /// places of marks.
    pub fn abandon(&mut self, cache: &mut PoolCache, places: &[usize]) -> Vec<Option<u16>> {
        let flow = |packet: &[u8]| {
            places.iter().find_map(|at| match Mark::read(packet.get(*at..)?) {
                Found::Mark(mark) => Some(mark.flow),
                _ => None,
            })
        };
        let flows = self.batch.as_slice().iter().map(|packet| flow(packet)).collect();
        cache.free(&mut self.batch);
        flows
    }
}

/// Takes packets from a queue and looks at them.
#[derive(Debug)]
pub struct Receiver {
    /// What they say.
    pub analyser: Analyser,
    batch: Batch,
}

impl Receiver {
    /// At most `burst` packets at a time.
    pub fn new(analyser: Analyser, burst: usize) -> Self {
        Self {
            analyser,
            batch: Batch::with_burst(burst),
        }
    }

    /// Looks at a burst; `now` tells the time after it has come, in nanoseconds. Returns how many packets there were.
    #[inline]
    pub fn poll(&mut self, rx: &mut dyn RxQueue, cache: &mut PoolCache, now: impl FnOnce() -> u64) -> usize {
        let got = rx.receive(cache, &mut self.batch);
        if got > 0 {
            self.analyser.look(self.batch.as_slice(), now());
            cache.free(&mut self.batch);
        }
        got
    }
}
