//! The receive side: which flow a frame belongs to, and what that says.

use crate::latency::{Buckets, Jitter};
use crate::sequence::{Order, Sequence};
use crate::sign::{Found, MARK, Mark};
use barline::pool::Packet;

/// Bytes of a VLAN tag, which a device between may put in or take out.
const TAG: usize = 4;

/// What one receive queue knows of a flow.
#[derive(Clone, Debug, Default)]
struct Flow {
    sequence: Sequence,
    latency: Buckets,
    jitter: Jitter,
}

/// What is known of a flow.
#[derive(Clone, Debug, Default)]
pub struct FlowState {
    /// What became of its packets.
    pub order: Order,
    /// Nanoseconds on the way, of packets that came the first time or again.
    pub latency: Buckets,
    /// Nanoseconds, RFC 3550.
    pub jitter: u64,
}

/// All that a receive side knows, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Frames received.
    pub frames: u64,
    /// Their bytes, without FCS.
    pub bytes: u64,
    /// Frames with a damaged mark, or with bytes behind it that are not the stream's.
    pub damaged: u64,
    /// Frames without a mark.
    pub foreign: u64,
    /// Flows by number; none of a flow that nothing came of.
    pub flows: Vec<Option<FlowState>>,
}

/// Looks at what is received on one queue.
#[derive(Debug)]
pub struct Analyser {
    /// Where marks stand.
    places: Vec<usize>,
    /// The byte behind marks, where that is to be checked.
    fill: Option<u8>,
    flows: Vec<Option<Box<Flow>>>,
    frames: u64,
    bytes: u64,
    damaged: u64,
    foreign: u64,
}

impl Analyser {
    /// For `flows` flows whose marks stand at one of `places`; with `fill`, every byte behind a mark must be that.
    pub fn new(flows: usize, places: &[usize], fill: Option<u8>) -> Self {
        let mut places = places.to_vec();
        places.sort_unstable();
        places.dedup();
        Self {
            places,
            fill,
            flows: (0..flows).map(|_| None).collect(),
            frames: 0,
            bytes: 0,
            damaged: 0,
            foreign: 0,
        }
    }

    /// Looks at frames that came at `now` (nanoseconds).
    #[inline]
    pub fn look(&mut self, packets: &[Packet], now: u64) {
        self.frames += packets.len() as u64;
        for packet in packets {
            self.bytes += packet.len() as u64;
            match self.find(packet) {
                (at, Found::Mark(mark)) => self.mark(packet, at, mark, now),
                (_, Found::Damaged) => self.damaged += 1,
                (_, Found::Nothing) => self.foreign += 1,
            }
        }
    }

    #[inline(always)]
    fn find(&self, packet: &[u8]) -> (usize, Found) {
        let first = self.places.first().copied().unwrap_or(0);
        match Mark::read(packet.get(first..).unwrap_or_default()) {
            found @ Found::Mark(_) => (first, found),
            other => self.search(packet, first, other),
        }
    }

    /// At the other places, and at all of them with a tag more or less.
    #[cold]
    fn search(&self, packet: &[u8], first: usize, mut best: Found) -> (usize, Found) {
        let tagged = self
            .places
            .iter()
            .flat_map(|at| [at + TAG, at.saturating_sub(TAG)]);
        for at in self.places.iter().copied().chain(tagged) {
            match Mark::read(packet.get(at..).unwrap_or_default()) {
                found @ Found::Mark(_) => return (at, found),
                Found::Damaged => best = Found::Damaged,
                Found::Nothing => (),
            }
        }
        (first, best)
    }

    #[inline(always)]
    fn mark(&mut self, packet: &[u8], at: usize, mark: Mark, now: u64) {
        if let Some(fill) = self.fill {
            let rest = packet.get(at + MARK..).unwrap_or_default();
            if rest.iter().any(|byte| *byte != fill) {
                self.damaged += 1;
                return;
            }
        }
        let Some(flow) = self.flows.get_mut(usize::from(mark.flow)) else {
            self.foreign += 1;
            return;
        };
        let flow = flow.get_or_insert_default();
        flow.sequence.arrive(mark.sequence, now);
        let age = mark.age(now);
        flow.latency.record(age);
        flow.jitter.record(age);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.flows.iter_mut().for_each(|flow| *flow = None);
        (self.frames, self.bytes, self.damaged, self.foreign) = (0, 0, 0, 0);
    }

    /// Frames so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Writes what is known into `to`, whose memory is used again.
    pub fn snapshot(&self, to: &mut Snapshot) {
        (to.frames, to.bytes, to.damaged, to.foreign) = (self.frames, self.bytes, self.damaged, self.foreign);
        to.flows.resize_with(self.flows.len(), || None);
        for (to, flow) in to.flows.iter_mut().zip(&self.flows) {
            let Some(flow) = flow else {
                *to = None;
                continue;
            };
            let to = to.get_or_insert_default();
            to.order = flow.sequence.order();
            to.jitter = flow.jitter.get();
            to.latency.copy_from(&flow.latency);
        }
    }
}

impl Snapshot {
    /// Adds what another receive queue knows. Order between queues is not known: of a flow that came on two of them,
    /// the numbers of reordering are those of each.
    pub fn add(&mut self, other: &Self) {
        self.frames += other.frames;
        self.bytes += other.bytes;
        self.damaged += other.damaged;
        self.foreign += other.foreign;
        self.flows
            .resize_with(self.flows.len().max(other.flows.len()), || None);
        for (to, from) in self.flows.iter_mut().zip(&other.flows) {
            let Some(from) = from else { continue };
            match to {
                None => *to = Some(from.clone()),
                Some(to) => to.add(from),
            }
        }
    }
}

impl FlowState {
    /// Adds what another receive queue knows of it.
    pub fn add(&mut self, other: &Self) {
        let (a, b) = (self.order, other.order);
        let reordered = a.reordered + b.reordered;
        let extents = a.extent_mean * a.reordered as f64 + b.extent_mean * b.reordered as f64;
        self.order = Order {
            unique: a.unique + b.unique,
            duplicates: a.duplicates + b.duplicates,
            reordered,
            extent_max: a.extent_max.max(b.extent_max),
            extent_mean: extents / reordered.max(1) as f64,
            late_ns_max: a.late_ns_max.max(b.late_ns_max),
            three_reordered: a.three_reordered + b.three_reordered,
            gaps: a.gaps + b.gaps,
            stale: a.stale + b.stale,
            next: a.next.max(b.next),
        };
        self.latency.add(&other.latency);
        self.jitter = self.jitter.max(other.jitter);
    }
}
