//! Tests that no word which the device may rewrite is read twice: what was checked is what is used.
//!
//! The device here rewrites each word as soon as it has been read ([`barline_conformance::witness`]), and counts the reads: of
//! completions, of what it says of its sleep, and of the headers in front of received frames.

#[path = "../tests/common/mod.rs"]
mod common;

use crate::{Areas, Packed, Split, Traits};
use barline::mem::{Iova, LocalDomain};
use barline::offload::{Checksum, Offloads};
use barline::pool::{Batch, PoolCache};
use barline::port::{RxQueue, TxQueue};
use barline::ring::completion::{RxRing, TxRing};
use barline_conformance::witness::watched;
use common::{Buffer, Far, HEADER, Hand, Kicks, Rig, Shape, frame};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

const LEN: u32 = 16;
const FRAMES: u32 = 6;
const BYTES: u32 = 100;

/// The header says that the checksum of 10 bytes from 20 on is open (5.1.6.2).
const OPEN: [u8; HEADER as usize] = [1, 0, 0, 0, 0, 0, 20, 0, 10, 0, 0, 0];

/// How often each byte was read.
#[derive(Clone, Default)]
struct Reads(Rc<RefCell<BTreeMap<u64, u32>>>);

impl Reads {
    /// Runs `work` with a device that writes ones over what was read.
    fn rewritten<R>(&self, domain: &Arc<LocalDomain>, work: impl FnOnce() -> R) -> R {
        let (reads, domain) = (self.0.clone(), domain.clone());
        let watcher = move |at: usize, len: usize| {
            let at = domain.iova_of(at).expect("what the device reaches");
            for byte in at.raw()..at.raw() + len as u64 {
                *reads.borrow_mut().entry(byte).or_default() += 1;
            }
            domain.write(at, &vec![0xff; len]).unwrap();
        };
        watched(watcher, work)
    }

    /// How often the bytes of a word were read, each as often as the others.
    fn of(&self, at: Iova, len: u64) -> u32 {
        let reads = self.0.borrow();
        let count = |byte: u64| reads.get(&(at.raw() + byte)).copied().unwrap_or(0);
        assert!((1..len).all(|byte| count(byte) == count(0)), "part of a word");
        count(0)
    }

    /// The words of the first completions: read, and no more than once.
    fn check(&self, packed: bool, areas: Areas, with: Traits) {
        if packed {
            for n in 0..u64::from(FRAMES) {
                assert_eq!(self.of(areas.desc.offset(16 * n + 8), 8), 1, "{n}, {with:?}");
                assert_eq!(self.of(areas.desc.offset(16 * n), 8), 0, "{n}, {with:?}");
            }
            return;
        }
        assert_eq!(self.of(areas.device.offset(2), 2), 1, "index, {with:?}");
        for n in 0..u64::from(2 * FRAMES) {
            assert_eq!(self.of(areas.device.offset(4 + 4 * n), 4), 1, "{n}, {with:?}");
        }
    }

    /// What the device says of its sleep.
    fn check_wish(&self, packed: bool, areas: Areas, with: Traits) {
        let (at, len) = match (packed, with.event_idx) {
            (true, _) => (areas.device, 4),
            (false, true) => (areas.device.offset(4 + 8 * u64::from(LEN)), 2),
            (false, false) => (areas.device, 2),
        };
        assert_eq!(self.of(at, len), 1, "{with:?}");
    }

    /// A received frame's header: what it says of the packet, and the buffers that the frame takes, each where it was agreed upon.
    fn check_header(&self, buffer: &Buffer, with: Traits) {
        let (at, offloads) = (Iova::new(buffer.at), !with.offloads.is_empty());
        assert_eq!(self.of(at, 10), u32::from(offloads), "{with:?}");
        assert_eq!(self.of(at.offset(10), 2), u32::from(with.merges), "{with:?}");
    }
}

/// A receive ring whose device has completed some frames: ring, device's side, and what they stand on.
struct Receiving<S: Shape> {
    rig: Rig,
    ring: RxRing<S, Kicks>,
    far: S::Far,
    hand: Hand,
    cache: PoolCache,
    areas: Areas,
}

impl<S: Shape> Receiving<S> {
    fn new(with: Traits, areas: fn(&S) -> Areas) -> Self {
        let rig = Rig::new(3 * LEN as usize);
        let (format, far) = S::make(&rig, LEN, with);
        let areas = areas(&format);
        let kicks = rig.kicks.clone();
        let ring = RxRing::new(format, kicks, &rig.map, &rig.custody, &rig.limit, &rig.health);
        let (mut ring, mut cache) = (ring.unwrap(), rig.pool.cache());
        ring.fill(&mut cache);
        let mut new = Self {
            rig,
            ring,
            far,
            hand: Hand::default(),
            cache,
            areas,
        };
        new.hand.fetch(&mut new.far);
        new
    }

    /// A frame in the buffer that was posted as the `nth` of those that are left.
    fn complete(&mut self, number: u32, nth: usize, parts: u16) -> Buffer {
        let buffer = self.hand.0.remove(nth).unwrap();
        let mut header = OPEN;
        header[10..].copy_from_slice(&parts.to_le_bytes());
        self.far.write(&buffer, 0, &header);
        self.far.write(&buffer, HEADER, &frame(number, BYTES));
        self.far.give(buffer.id, HEADER + BYTES, 0);
        buffer
    }

    /// One burst for `FRAMES` frames, rewritten behind each read.
    fn receive(&mut self, reads: &Reads) -> Batch {
        let mut batch = Batch::with_burst(FRAMES as usize);
        let (ring, cache) = (&mut self.ring, &mut self.cache);
        reads.rewritten(&self.rig.local, || ring.receive(cache, &mut batch));
        batch
    }

    fn end(self, mut batch: Batch) {
        let Self {
            rig, ring, mut cache, ..
        } = self;
        cache.free(&mut batch);
        drop((ring, cache));
        rig.custody.open();
        assert_eq!(rig.pool.available(), rig.pool.packets(), "packets are missing");
    }
}

fn receives<S: Shape>(packed: bool, with: Traits, areas: fn(&S) -> Areas) {
    let (mut side, reads) = (Receiving::new(with, areas), Reads::default());
    let buffers: Vec<Buffer> = (0..FRAMES).map(|number| side.complete(number, 0, 1)).collect();
    let checksum = match with.offloads.is_empty() {
        true => Checksum::None,
        false => Checksum::Partial {
            start: 20,
            offset: 10,
        },
    };
    let batch = side.receive(&reads);
    assert_eq!(batch.len(), FRAMES as usize, "{with:?}");
    for (number, packet) in (0..FRAMES).zip(batch.as_slice()) {
        assert!(packet[..] == frame(number, BYTES), "{with:?}");
        assert_eq!(packet.offload().checksum, checksum, "{with:?}");
    }
    reads.check(packed, side.areas, with);
    buffers.iter().for_each(|buffer| reads.check_header(buffer, with));
    side.end(batch);
}

/// Out of turn, or in several parts, a completion is looked at again: as it is then. This device has made nonsense of it, so
/// the ring is given up, and nothing is lost.
fn looks_again<S: Shape>(with: Traits, areas: fn(&S) -> Areas) {
    for (nth, parts) in [(1, 1), (0, 2)] {
        if (parts > 1 && !with.merges) || (nth > 0 && with.in_order) {
            continue;
        }
        let (mut side, reads) = (Receiving::new(with, areas), Reads::default());
        side.complete(0, nth, parts);
        side.complete(1, 0, 1);
        let batch = side.receive(&reads);
        assert_eq!(batch.len(), 0, "{with:?}");
        side.end(batch);
    }
}

fn sends<S: Shape>(packed: bool, with: Traits, areas: fn(&S) -> Areas) {
    let (rig, reads) = (Rig::new(LEN as usize), Reads::default());
    let (format, mut far) = S::make(&rig, LEN, with);
    let areas = areas(&format);
    let kicks = rig.kicks.clone();
    let ring = TxRing::new(
        format,
        kicks,
        &rig.map,
        &[],
        &rig.custody,
        &rig.limit,
        &rig.health,
    );
    let (mut ring, mut cache) = (ring.unwrap(), rig.pool.cache());
    let (mut batch, mut hand) = (Batch::new(), Hand::default());
    for number in 0..FRAMES {
        let mut packet = cache.alloc().unwrap();
        assert!(packet.set(&frame(number, BYTES)));
        batch.push(packet).unwrap();
    }
    let sent = reads.rewritten(&rig.local, || ring.transmit(&mut cache, &mut batch));
    assert_eq!(sent, FRAMES as usize);
    reads.check_wish(packed, areas, with);
    hand.fetch(&mut far);
    hand.0.iter().for_each(|buffer| far.give(buffer.id, 0, 0));
    let back = reads.rewritten(&rig.local, || ring.reclaim(&mut cache));
    assert_eq!(back, FRAMES as usize, "{with:?}");
    reads.check(packed, areas, with);
    drop((ring, cache));
    assert_eq!(rig.pool.available(), rig.pool.packets());
}

/// Every mixture of features.
fn all(run: impl Fn(Traits)) {
    for bits in 0..16 {
        let on = |bit: u32| bits >> bit & 1 != 0;
        run(Traits {
            event_idx: on(0),
            in_order: on(1),
            merges: on(2),
            offloads: if on(3) { Offloads::all() } else { Offloads::empty() },
        });
    }
}

#[test]
fn what_a_device_says_of_received_frames_is_read_once() {
    all(|with| receives::<Split<true>>(false, with, Split::areas));
    all(|with| receives::<Packed<true>>(true, with, Packed::areas));
}

#[test]
fn what_is_looked_at_again_is_checked_again() {
    all(|with| looks_again::<Split<true>>(with, Split::areas));
    all(|with| looks_again::<Packed<true>>(with, Packed::areas));
}

#[test]
fn what_a_device_says_of_sent_frames_is_read_once() {
    all(|with| sends::<Split<false>>(false, with, Split::areas));
    all(|with| sends::<Packed<false>>(true, with, Packed::areas));
}
