//! Packed rings, from the device's side (virtio 1.2, 2.8).

use crate::chain::{Chain, Chains, DESC, Piece, Rules, flag};
use crate::fault::Fault;
use crate::split::{Places, crosses};
use crate::sys::{Area, GuestMemory, Log, Told, View};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU64, fence};

/// A packed ring. Buffers are used in the order in which they came: the place where the next one is expected is the one
/// where the next used one is written.
#[derive(Debug)]
pub(crate) struct Packed {
    descriptors: Area,
    driver: Area,
    device: Area,
    size: u16,
    event_idx: bool,
    /// One word tells of all buffers that were used in a burst.
    batches: bool,
    at: Place,
}

/// A place in the ring, and how often it went round: the wrap counter's value there (2.8.1), in the highest bit, as messages and
/// event structures have it. One word on purpose: of two fields that are written one by one and read together, the second
/// would wait until all stores before it are done, those to lines of the peer's cache too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place(u16);

/// A descriptor that was read, once.
#[derive(Clone, Copy, Debug)]
struct Descriptor {
    piece: Piece,
    flags: u16,
    id: u16,
}

/// Flags in the upper half of a descriptor's second word.
const AVAIL: u16 = 1 << 7;
const USED: u16 = 1 << 15;
/// Where the second word is, and the flags in it.
const REST: usize = 8;
const FLAGS: u32 = 48;

/// Event structures (2.8.14): place and wrap counter, then what is wanted.
const EVENT_PLACE: usize = 0;
const EVENT_FLAGS: usize = 2;
const ENABLE: u16 = 0;
const DISABLE: u16 = 1;
const AT_PLACE: u16 = 2;

const WRAP: u16 = 1 << 15;

impl Place {
    #[inline(always)]
    fn index(self) -> u16 {
        self.0 & !WRAP
    }

    #[inline(always)]
    fn wraps(self) -> bool {
        self.0 & WRAP != 0
    }

    #[inline(always)]
    fn after(self, places: u16, size: u16) -> Self {
        let index = u32::from(self.index()) + u32::from(places);
        match index.checked_sub(size.into()) {
            Some(index) => Self(index as u16 | !self.0 & WRAP),
            None => Self(index as u16 | self.0 & WRAP),
        }
    }

    /// Whether a descriptor with these flags is one that the driver made available here.
    #[inline(always)]
    fn is_available(self, flags: u16) -> bool {
        flags & (AVAIL | USED) == if self.wraps() { AVAIL } else { USED }
    }
}

impl Packed {
    /// `None` where the memory does not have it, it is not aligned, or its length is none.
    pub fn new(memory: &Arc<GuestMemory>, at: Places, size: u16, base: u16, event_idx: bool) -> Option<Self> {
        let place = Place(base);
        if size == 0 || size > 1 << 15 || place.index() >= size {
            return None;
        }
        Some(Self {
            descriptors: Area::new(memory, at.descriptors, usize::from(size) * DESC, 16)?,
            driver: Area::new(memory, at.driver, 4, 4)?,
            device: Area::new(memory, at.device, 4, 4)?,
            size,
            event_idx,
            batches: false,
            at: place,
        })
    }

    /// Whether the peer takes one word for all buffers up to the one that it names (IN_ORDER, 2.8.9). Only where nothing was written
    /// to them: lengths are told one by one.
    pub fn in_batches(self, batches: bool) -> Self {
        Self { batches, ..self }
    }

    /// The next buffer's place, in the words of messages.
    pub fn next(&self) -> u16 {
        self.at.0
    }

    pub fn is_empty(&self) -> bool {
        let rest = self.rest(self.at).load(Acquire);
        !self.at.is_available((rest >> FLAGS) as u16)
    }

    #[inline(always)]
    fn rest(&self, place: Place) -> &Told<AtomicU64> {
        self.descriptors.u64(usize::from(place.index()) * DESC + REST)
    }

    /// Reads buffers behind those in `chains`, until there are `most` of them in all.
    #[inline(always)]
    pub fn fetch(
        &self,
        view: &mut View,
        chains: &mut Chains,
        rules: &Rules,
        most: usize,
    ) -> Result<(), Fault> {
        let taken: u32 = chains.list.iter().map(|chain| u32::from(chain.places)).sum();
        let (mut at, mut left) = (self.at, u32::from(self.size).saturating_sub(taken));
        if taken > 0 {
            at = at.after(taken.min(self.size.into()) as u16, self.size);
        }
        while chains.list.len() < most && left > 0 {
            // Flags before everything else of the descriptor.
            let rest = self.rest(at).load(Acquire);
            if !at.is_available((rest >> FLAGS) as u16) {
                break;
            }
            let first = self.descriptor(at, rest);
            let places = match first.flags & (flag::NEXT | flag::INDIRECT) {
                0 => {
                    chains.single(view, rules, first.flags, first.piece, first.id)?;
                    1
                }
                _ => self.chain(view, chains, rules, at, first, left as u16)?,
            };
            at = at.after(places, self.size);
            left -= u32::from(places);
        }
        Ok(())
    }

    /// The descriptor at a place, whose second word has been read.
    #[inline(always)]
    fn descriptor(&self, at: Place, rest: u64) -> Descriptor {
        let address = self.descriptors.u64(usize::from(at.index()) * DESC).load(Relaxed);
        Descriptor {
            piece: Piece {
                at: address,
                len: rest as u32,
            },
            flags: (rest >> FLAGS) as u16,
            id: (rest >> 32) as u16,
        }
    }

    /// Reads a buffer that is not of one piece, whose first descriptor has been read; the places it takes.
    #[inline(never)]
    fn chain(
        &self,
        view: &mut View,
        chains: &mut Chains,
        rules: &Rules,
        at: Place,
        first: Descriptor,
        left: u16,
    ) -> Result<u16, Fault> {
        let begin = chains.begin();
        let read = match first.flags & flag::INDIRECT {
            0 => self.linked(view, chains, rules, at, first, left),
            _ if first.flags & flag::NEXT != 0 => Err(Fault::Chain),
            _ => chains
                .table(view, rules, first.piece, false)
                .map(|()| (first.id, 1)),
        };
        let ended = read.and_then(|(id, places)| chains.end(rules, id, places, begin).map(|()| places));
        ended.inspect_err(|_| chains.abandon(begin))
    }

    /// Pieces in descriptors one behind the other; the id, which is in the last one (2.8.6), and how many they are.
    fn linked(
        &self,
        view: &mut View,
        chains: &mut Chains,
        rules: &Rules,
        mut at: Place,
        mut desc: Descriptor,
        left: u16,
    ) -> Result<(u16, u16), Fault> {
        for places in 1..=left {
            if desc.flags & flag::INDIRECT != 0 {
                return Err(Fault::Chain);
            }
            chains.piece(view, rules, desc.flags, desc.piece)?;
            if desc.flags & flag::NEXT == 0 {
                return Ok((desc.id, places));
            }
            at = at.after(1, self.size);
            // The first one's flags were written last (2.8.6), so that these are there.
            desc = self.descriptor(at, self.rest(at).load(Relaxed));
        }
        Err(Fault::Chain)
    }

    /// Gives the first buffers of those fetched back to the peer. The first one's descriptor is written last: until then
    /// the peer looks at none of the others.
    #[inline(always)]
    pub fn publish(&mut self, done: &[Chain], log: Option<&Log>) {
        let Some((head, others)) = done.split_first() else {
            return;
        };
        if self.batches {
            return self.publish_batch(done, log);
        }
        let mut at = self.at.after(head.places, self.size);
        for chain in others {
            let (word, cell) = self.use_up(at, chain);
            cell.store(word, Relaxed);
            self.mark(at, log);
            at = at.after(chain.places, self.size);
        }
        let (word, cell) = self.use_up(self.at, head);
        cell.store(word, Release);
        self.mark(self.at, log);
        self.at = at;
    }

    /// One word for all of them, in the place of the first: the last one's id. The peer's lines of the others stay as they are.
    #[inline(always)]
    fn publish_batch(&mut self, done: &[Chain], log: Option<&Log>) {
        if let Some(last) = done.last() {
            let (word, cell) = self.use_up(self.at, last);
            cell.store(word, Release);
            self.mark(self.at, log);
        }
        let places: u16 = done.iter().map(|chain| chain.places).sum();
        self.at = self.at.after(places, self.size);
    }

    /// What a used descriptor's second word is to be, and where it belongs.
    #[inline(always)]
    fn use_up(&self, at: Place, chain: &Chain) -> (u64, &AtomicU64) {
        let wrap = if at.wraps() { AVAIL | USED } else { 0 };
        // WRITE says that the length means something (2.8.5).
        let written = if chain.written > 0 { flag::WRITE } else { 0 };
        let flags = u64::from(wrap | written) << FLAGS;
        let word = u64::from(chain.written) | u64::from(chain.id) << 32 | flags;
        (word, self.rest(at))
    }

    #[inline(always)]
    fn mark(&self, at: Place, log: Option<&Log>) {
        if let Some(log) = log {
            log.mark(
                self.descriptors.guest + u64::from(at.index()) * DESC as u64,
                DESC as u64,
            );
        }
    }

    /// Whether the peer wants to be told of what was published from `old` on (2.8.10).
    #[inline(always)]
    pub fn wants_call(&self, old: u16) -> bool {
        // The used descriptors before the peer's wish: the peer does the two the other way round.
        fence(SeqCst);
        let wish = self.driver.u32(EVENT_PLACE).load(Relaxed);
        match (wish >> 16) as u16 & 3 {
            ENABLE => true,
            AT_PLACE if self.event_idx => {
                // All on one line of numbers, where a place of the round before lies a ring's length back.
                let event = Place(wish as u16);
                let old = Place(old);
                let round = |place: Place| match place.wraps() == self.at.wraps() {
                    true => place.index(),
                    false => place.index().wrapping_sub(self.size),
                };
                crosses(round(event), self.at.index(), round(old))
            }
            _ => false,
        }
    }

    /// Asks for a kick when the next buffer comes; whether one is there already.
    pub fn arm(&self) -> bool {
        if self.event_idx {
            self.device.u16(EVENT_PLACE).store(self.at.0, Relaxed);
            // The place before the wish that makes it count.
            self.device.u16(EVENT_FLAGS).store(AT_PLACE, Release);
        } else {
            self.device.u16(EVENT_FLAGS).store(ENABLE, Relaxed);
        }
        // The wish before the look; the peer does the two the other way round.
        fence(SeqCst);
        !self.is_empty()
    }

    /// Wants no kicks.
    pub fn disarm(&self) {
        self.device.u16(EVENT_FLAGS).store(DISABLE, Relaxed);
    }

    /// The word that changes when a buffer comes.
    pub fn watched(&self) -> &AtomicU64 {
        self.rest(self.at)
    }
}
