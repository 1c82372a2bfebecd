//! The queues: each works on the ring of the back end that is there, and lets go of it when the back end goes.

use crate::events::Shared;
use crate::place::Place;
use crate::rings::{RxEnd, TxEnd};
use crate::wake::Wake;
use barline::pool::{Batch, MAX_BURST, PoolCache};
use barline::port::{RxQueue, TxQueue};
use barline::telemetry::{RxCounters, TxCounters};
use barline::wait::{Armed, Coalescing, Cpu};
use crossbeam::utils::CachePadded;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// A receive queue.
#[derive(Debug)]
pub struct UserRx {
    place: Arc<Place<RxEnd>>,
    ring: Option<RxEnd>,
    coalescing: Coalescing,
    seen: u32,
    counters: Arc<CachePadded<RxCounters>>,
    wake: Option<Arc<Wake>>,
    /// Kept as long as queues of a start are around.
    _life: Arc<()>,
}

impl UserRx {
    pub(crate) fn new(
        place: &Arc<Place<RxEnd>>,
        counters: &Arc<CachePadded<RxCounters>>,
        wake: Option<Arc<Wake>>,
        life: &Arc<()>,
    ) -> Self {
        Self {
            place: place.clone(),
            ring: None,
            coalescing: Coalescing::default(),
            seen: 0,
            counters: counters.clone(),
            wake,
            _life: life.clone(),
        }
    }

    /// The back end has changed. What the old one had completed is received first.
    #[cold]
    #[inline(never)]
    fn turn(&mut self, cache: &mut PoolCache, out: &mut Batch) -> usize {
        // One that may still be written to is let go at once, and its buffers are kept from everybody.
        if let Some(ring) = self.ring.as_mut().filter(|ring| ring.has_ended()) {
            if out.room() == 0 {
                return 0;
            }
            let got = ring.receive(cache, out);
            if got > 0 {
                return got;
            }
        }
        self.ring = None;
        if let Some((seen, ring)) = self.place.take() {
            (self.seen, self.ring) = (seen, ring);
        }
        if let Some(ring) = &mut self.ring {
            ring.fill(cache);
        }
        0
    }
}

impl RxQueue for UserRx {
    #[inline]
    fn receive(&mut self, cache: &mut PoolCache, out: &mut Batch) -> usize {
        if self.place.generation() != self.seen {
            return self.turn(cache, out);
        }
        match &mut self.ring {
            Some(ring) if !self.coalescing.holds() => {
                let wanted = out.room().min(MAX_BURST);
                let got = ring.receive(cache, out);
                self.coalescing.found(got, wanted, ring.positions());
                got
            }
            _ => {
                self.counters.rx_polls.add(1);
                self.counters.rx_idle_polls.add(1);
                0
            }
        }
    }

    fn counters(&self) -> &RxCounters {
        &self.counters
    }

    fn shared_counters(&self) -> Arc<CachePadded<RxCounters>> {
        self.counters.clone()
    }

    fn arm(&mut self) -> Armed {
        if self.wake.is_none() || self.place.has_ended() {
            return Armed::Silent;
        }
        let armed = match &mut self.ring {
            Some(ring) => ring.arm(),
            // A ring that comes is told by a nudge, which comes after the number.
            None => Armed::Wakes,
        };
        if armed == Armed::Wakes && self.place.generation() != self.seen {
            self.disarm();
            return Armed::Pending;
        }
        armed
    }

    fn disarm(&mut self) {
        if let Some(ring) = &mut self.ring {
            ring.disarm();
        }
    }

    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        self.wake.as_ref().map(|wake| wake.fd())
    }

    fn pause(&self, cpu: Cpu) {
        match &self.ring {
            Some(ring) => ring.pause(cpu),
            None => cpu.pause(),
        }
    }

    fn has_ended(&self) -> bool {
        self.place.has_ended()
    }

    fn describe(&self) -> Option<String> {
        self.ring.as_ref()?.describe()
    }
}

/// A transmit queue.
#[derive(Debug)]
pub struct UserTx {
    place: Arc<Place<TxEnd>>,
    ring: Option<TxEnd>,
    seen: u32,
    counters: Arc<CachePadded<TxCounters>>,
    shared: Arc<Shared>,
    _life: Arc<()>,
}

impl UserTx {
    pub(crate) fn new(
        place: &Arc<Place<TxEnd>>,
        counters: &Arc<CachePadded<TxCounters>>,
        shared: &Arc<Shared>,
        life: &Arc<()>,
    ) -> Self {
        Self {
            place: place.clone(),
            ring: None,
            seen: 0,
            counters: counters.clone(),
            shared: shared.clone(),
            _life: life.clone(),
        }
    }

    /// The back end has changed. What the old one had not given back comes home and is counted.
    #[cold]
    #[inline(never)]
    fn turn(&mut self, cache: &mut PoolCache) -> usize {
        let mut home = 0;
        if let Some(mut ring) = self.ring.take() {
            home = ring.reclaim(cache);
            self.shared.lose(ring.in_flight());
            home += ring.in_flight();
        }
        if let Some((seen, ring)) = self.place.take() {
            (self.seen, self.ring) = (seen, ring);
        }
        home
    }
}

impl TxQueue for UserTx {
    #[inline]
    fn transmit(&mut self, cache: &mut PoolCache, packets: &mut Batch) -> usize {
        if self.place.generation() != self.seen {
            self.turn(cache);
        }
        match &mut self.ring {
            Some(ring) => ring.transmit(cache, packets),
            None => {
                self.counters.tx_full.add(u64::from(!packets.is_empty()));
                0
            }
        }
    }

    fn reclaim(&mut self, cache: &mut PoolCache) -> usize {
        if self.place.generation() != self.seen {
            return self.turn(cache);
        }
        self.ring.as_mut().map_or(0, |ring| ring.reclaim(cache))
    }

    fn in_flight(&self) -> usize {
        self.ring.as_ref().map_or(0, TxEnd::in_flight)
    }

    fn counters(&self) -> &TxCounters {
        &self.counters
    }

    fn shared_counters(&self) -> Arc<CachePadded<TxCounters>> {
        self.counters.clone()
    }

    fn has_ended(&self) -> bool {
        self.place.has_ended()
    }

    fn describe(&self, back: u32) -> Option<String> {
        self.ring.as_ref()?.describe(back)
    }
}
