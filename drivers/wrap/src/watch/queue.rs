//! The queues of a watched port.

use super::recorder::Feed;
use super::{Record, Seen, Select, Way};
use barline::pool::{Batch, MAX_BURST, PoolCache};
use barline::port::{RxQueue, TxQueue};
use barline::telemetry::{RxCounters, TxCounters};
use barline::wait::{Armed, Cpu};
use crossbeam::utils::CachePadded;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Which queue, and whether its descriptors are looked at too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub way: Way,
    pub queue: u16,
    pub describes: bool,
}

/// What looks at one queue's frames.
#[derive(Debug)]
pub(super) struct Eye {
    place: Place,
    feed: Feed,
    select: Select,
    seen: Arc<CachePadded<Seen>>,
}

impl Eye {
    pub(super) fn new(place: Place, feed: Feed, select: Select, seen: Arc<CachePadded<Seen>>) -> Self {
        Self {
            place,
            feed,
            select,
            seen,
        }
    }

    /// Bytes of a frame that are wanted.
    fn keep(&self, frame: &[u8]) -> usize {
        let kept = self
            .select
            .filter
            .as_ref()
            .map_or(frame.len(), |filter| filter.keep(frame));
        kept.min(self.select.snap)
    }

    /// A copy of a frame, if it is wanted.
    fn copy(&self, frame: &[u8], time: Duration) -> Option<Record> {
        let keep = self.keep(frame);
        if keep == 0 {
            return None;
        }
        let mut record = self.feed.blank();
        record.data.clear();
        record.data.extend_from_slice(frame.get(..keep)?);
        Some(Record {
            way: self.place.way,
            queue: self.place.queue,
            time,
            len: frame.len(),
            data: record.data,
            descriptor: None,
        })
    }

    fn hand_over(&self, record: Record) {
        if !self.feed.claim() {
            return;
        }
        let counter = if self.feed.give(record) {
            &self.seen.frames
        } else {
            &self.seen.missed
        };
        counter.add(1);
    }
}

fn now() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}

/// A watched receive queue.
#[derive(Debug)]
pub(super) struct WatchRx {
    inner: Box<dyn RxQueue>,
    eye: Eye,
    /// For one frame at a time.
    one: Batch,
}

impl WatchRx {
    pub(super) fn new(inner: Box<dyn RxQueue>, eye: Eye) -> Self {
        let one = Batch::with_burst(1);
        Self { inner, eye, one }
    }

    /// Frame by frame, so that each one's descriptor can be looked at before its place is used again.
    fn one_by_one(&mut self, cache: &mut PoolCache, out: &mut Batch) -> usize {
        let mut got = 0;
        while out.room() > 0 && self.eye.feed.is_open() {
            let Some(descriptor) = self.inner.describe() else {
                break;
            };
            let before = dropped(&*self.inner);
            self.inner.receive(cache, &mut self.one);
            // Where one was dropped, the descriptor was that one's.
            let own = dropped(&*self.inner) == before;
            let Some(packet) = self.one.pop() else { break };
            if let Some(mut record) = self.eye.copy(&packet, now()) {
                record.descriptor = own.then_some(descriptor);
                self.eye.hand_over(record);
            }
            out.extend([packet]);
            got += 1;
        }
        got
    }
}

/// Frames that a queue has dropped.
fn dropped(queue: &dyn RxQueue) -> u64 {
    let counters = queue.counters();
    counters.rx_errors.get() + counters.rx_lengths.get()
}

impl RxQueue for WatchRx {
    fn receive(&mut self, cache: &mut PoolCache, out: &mut Batch) -> usize {
        if self.eye.place.describes {
            let got = self.one_by_one(cache, out);
            if got > 0 {
                return got;
            }
        }
        let before = out.len();
        let got = self.inner.receive(cache, out);
        if got > 0 && self.eye.feed.is_open() {
            let time = now();
            let new = out.as_slice().iter().skip(before);
            new.filter_map(|packet| self.eye.copy(packet, time))
                .for_each(|record| self.eye.hand_over(record));
        }
        got
    }

    fn counters(&self) -> &RxCounters {
        self.inner.counters()
    }

    fn shared_counters(&self) -> Arc<CachePadded<RxCounters>> {
        self.inner.shared_counters()
    }

    fn arm(&mut self) -> Armed {
        self.inner.arm()
    }

    fn disarm(&mut self) {
        self.inner.disarm();
    }

    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        self.inner.wake_fd()
    }

    fn pause(&self, cpu: Cpu) {
        self.inner.pause(cpu);
    }

    fn has_ended(&self) -> bool {
        self.inner.has_ended()
    }

    fn describe(&self) -> Option<String> {
        self.inner.describe()
    }
}

/// A watched transmit queue.
#[derive(Debug)]
pub(super) struct WatchTx {
    inner: Box<dyn TxQueue>,
    eye: Eye,
    /// Copies of a burst: how many of its packets the port takes is known only when they are gone.
    copies: Vec<Option<Record>>,
}

impl WatchTx {
    pub(super) fn new(inner: Box<dyn TxQueue>, eye: Eye) -> Self {
        Self {
            inner,
            eye,
            copies: Vec::with_capacity(MAX_BURST),
        }
    }
}

impl TxQueue for WatchTx {
    fn transmit(&mut self, cache: &mut PoolCache, packets: &mut Batch) -> usize {
        if packets.is_empty() || !self.eye.feed.is_open() {
            return self.inner.transmit(cache, packets);
        }
        let (time, before) = (now(), packets.len());
        let eye = &self.eye;
        self.copies
            .extend(packets.as_slice().iter().map(|packet| eye.copy(packet, time)));
        let sent = self.inner.transmit(cache, packets);
        // Those that it dropped for their length or memory are gone as well, and were to be sent.
        let taken = before - packets.len();
        // Where it dropped some, it cannot be told which descriptor is whose.
        let describes = eye.place.describes && sent == taken;
        for (at, record) in self.copies.drain(..).take(taken).enumerate() {
            let Some(mut record) = record else { continue };
            if describes {
                record.descriptor = self.inner.describe((taken - 1 - at) as u32);
            }
            eye.hand_over(record);
        }
        sent
    }

    fn reclaim(&mut self, cache: &mut PoolCache) -> usize {
        self.inner.reclaim(cache)
    }

    fn in_flight(&self) -> usize {
        self.inner.in_flight()
    }

    fn counters(&self) -> &TxCounters {
        self.inner.counters()
    }

    fn shared_counters(&self) -> Arc<CachePadded<TxCounters>> {
        self.inner.shared_counters()
    }

    fn has_ended(&self) -> bool {
        self.inner.has_ended()
    }

    fn describe(&self, back: u32) -> Option<String> {
        self.inner.describe(back)
    }
}
