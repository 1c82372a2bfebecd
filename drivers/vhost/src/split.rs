//! Split rings, from the device's side (virtio 1.2, 2.7).

use crate::chain::{Chain, Chains, DESC, Piece, Rules, flag};
use crate::fault::Fault;
use crate::sys::{Area, GuestMemory, Log, View};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::fence;

/// Where the parts of a ring are, in the front end's addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    pub descriptors: u64,
    /// Split: the available ring. Packed: the driver's event structure.
    pub driver: u64,
    /// Split: the used ring. Packed: the device's event structure.
    pub device: u64,
}

/// A split ring. Buffers are used in the order in which they came, so that one index says all.
#[derive(Debug)]
pub(crate) struct Split {
    descriptors: Area,
    available: Area,
    used: Area,
    size: u16,
    event_idx: bool,
    /// The next buffer's number.
    next: u16,
    /// Behind the newest buffer that is known to be there.
    seen: u16,
}

/// A descriptor that was read, once.
#[derive(Clone, Copy, Debug)]
struct Descriptor {
    piece: Piece,
    flags: u16,
    next: u16,
}

/// The available ring's flag and the used ring's: "do not interrupt", "do not notify".
const SILENT: u16 = 1;
const FLAGS: usize = 0;
const INDEX: usize = 2;
const ENTRIES: usize = 4;

impl Split {
    /// `None` where the memory does not have it, it is not aligned, or its length is none (2.7: a power of two).
    pub fn new(memory: &Arc<GuestMemory>, at: Places, size: u16, base: u16, event_idx: bool) -> Option<Self> {
        if !size.is_power_of_two() || size > 1 << 15 {
            return None;
        }
        let entries = usize::from(size);
        let split = Self {
            descriptors: Area::new(memory, at.descriptors, entries * DESC, 16)?,
            available: Area::new(memory, at.driver, 6 + entries * 2, 2)?,
            used: Area::new(memory, at.device, 6 + entries * 8, 4)?,
            size,
            event_idx,
            next: base,
            seen: base,
        };
        Some(split)
    }

    /// Where the used ring says that its last user stopped.
    pub fn used_index(&self) -> u16 {
        self.used.u16(INDEX).load(Acquire)
    }

    pub fn next(&self) -> u16 {
        self.next
    }

    pub fn go_on_at(&mut self, next: u16) {
        (self.next, self.seen) = (next, next);
    }

    /// Buffers that wait, those in `chains` among them. The index's line, which the peer writes, is left alone as long as
    /// more are known than are wanted.
    #[inline(always)]
    fn waiting(&mut self, most: usize) -> Result<u16, Fault> {
        let known = self.seen.wrapping_sub(self.next);
        if usize::from(known) >= most {
            return Ok(known);
        }
        self.seen = self.available.u16(INDEX).load(Acquire);
        let waiting = self.seen.wrapping_sub(self.next);
        if waiting > self.size {
            self.seen = self.next;
            return Err(Fault::Index);
        }
        Ok(waiting)
    }

    pub fn is_empty(&self) -> bool {
        self.available.u16(INDEX).load(Acquire) == self.next
    }

    /// Reads buffers behind those in `chains`, until there are `most` of them in all.
    #[inline(always)]
    pub fn fetch(
        &mut self,
        view: &mut View,
        chains: &mut Chains,
        rules: &Rules,
        most: usize,
    ) -> Result<(), Fault> {
        let (from, mask) = (chains.list.len(), self.size - 1);
        let end = usize::from(self.waiting(most)?).min(most);
        if from >= end {
            return Ok(());
        }
        let head = |n: usize| {
            let place = self.next.wrapping_add(n as u16) & mask;
            let entry = self.available.u16(ENTRIES + usize::from(place) * 2);
            entry.load(Relaxed)
        };
        // All at once: the lines of the descriptors come while the first ones are looked at.
        for n in from..end {
            self.descriptors.prefetch(usize::from(head(n) & mask) * DESC);
        }
        for n in from..end {
            let head = head(n);
            let first = self.descriptor(head)?;
            match first.flags & (flag::NEXT | flag::INDIRECT) {
                0 => chains.single(view, rules, first.flags, first.piece, head)?,
                _ => self.chain(view, chains, rules, head, first)?,
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn descriptor(&self, at: u16) -> Result<Descriptor, Fault> {
        if at >= self.size {
            return Err(Fault::Descriptor);
        }
        let place = usize::from(at) * DESC;
        let address = self.descriptors.u64(place).load(Relaxed);
        let rest = self.descriptors.u64(place + 8).load(Relaxed);
        Ok(Descriptor {
            piece: Piece {
                at: address,
                len: rest as u32,
            },
            flags: (rest >> 32) as u16,
            next: (rest >> 48) as u16,
        })
    }

    /// Reads a buffer that is not of one piece, whose first descriptor has been read.
    #[inline(never)]
    fn chain(
        &self,
        view: &mut View,
        chains: &mut Chains,
        rules: &Rules,
        head: u16,
        first: Descriptor,
    ) -> Result<(), Fault> {
        let begin = chains.begin();
        let read = match first.flags & flag::INDIRECT {
            0 => self.linked(view, chains, rules, first),
            // A table is a buffer of its own (2.7.5.3.1).
            _ if first.flags & flag::NEXT != 0 => Err(Fault::Chain),
            _ => chains.table(view, rules, first.piece, true),
        };
        let ended = read.and_then(|()| chains.end(rules, head, 1, begin));
        ended.inspect_err(|_| chains.abandon(begin))
    }

    fn linked(
        &self,
        view: &mut View,
        chains: &mut Chains,
        rules: &Rules,
        mut desc: Descriptor,
    ) -> Result<(), Fault> {
        for _ in 0..self.size {
            if desc.flags & flag::INDIRECT != 0 {
                return Err(Fault::Chain);
            }
            chains.piece(view, rules, desc.flags, desc.piece)?;
            if desc.flags & flag::NEXT == 0 {
                return Ok(());
            }
            desc = self.descriptor(desc.next)?;
        }
        Err(Fault::Chain)
    }

    /// Gives the first buffers of those fetched back to the peer; whether it wants to be told.
    #[inline(always)]
    pub fn publish(&mut self, done: &[Chain], log: Option<&Log>) {
        let mask = self.size - 1;
        for (n, chain) in done.iter().enumerate() {
            let place = ENTRIES + usize::from(self.next.wrapping_add(n as u16) & mask) * 8;
            // Mostly the same as the last time round: then the line stays in both caches.
            for (word, value) in [(place, chain.id.into()), (place + 4, chain.written)] {
                if self.used.u32(word).load(Relaxed) != value {
                    self.used.u32(word).store(value, Relaxed);
                }
            }
            if let Some(log) = log {
                log.mark(self.used.guest + place as u64, 8);
            }
        }
        self.next = self.next.wrapping_add(done.len() as u16);
        self.used.u16(INDEX).store(self.next, Release);
        if let Some(log) = log {
            log.mark(self.used.guest + INDEX as u64, 2);
        }
    }

    /// Whether the peer wants to be told of what was published from `old` on (2.7.7.2).
    #[inline(always)]
    pub fn wants_call(&self, old: u16) -> bool {
        // The used index before the peer's wish: the peer does the two the other way round.
        fence(SeqCst);
        if !self.event_idx {
            return self.available.u16(FLAGS).load(Relaxed) & SILENT == 0;
        }
        let event = self
            .available
            .u16(ENTRIES + usize::from(self.size) * 2)
            .load(Relaxed);
        crosses(event, self.next, old)
    }

    /// Asks for a kick when the next buffer comes; whether one is there already.
    pub fn arm(&self) -> bool {
        if self.event_idx {
            let event = ENTRIES + usize::from(self.size) * 8;
            self.used.u16(event).store(self.next, Relaxed);
        } else {
            self.used.u16(FLAGS).store(0, Relaxed);
        }
        // The wish before the look; the peer does the two the other way round.
        fence(SeqCst);
        !self.is_empty()
    }

    /// Wants no kicks. With event indices there is nothing to say: the peer kicks when it passes the last one that it was
    /// told, which it does once.
    pub fn disarm(&self) {
        if !self.event_idx {
            self.used.u16(FLAGS).store(SILENT, Relaxed);
        }
    }

    /// The word that changes when a buffer comes.
    pub fn watched(&self) -> &std::sync::atomic::AtomicU16 {
        self.available.u16(INDEX)
    }
}

/// Whether an index that goes from `old` to `new` passes `event` (2.7.10).
pub(crate) fn crosses(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Region;
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use std::fs::File;

    const LEN: u64 = 0x4000;
    const RULES: Rules = Rules {
        write: false,
        least: 12,
        indirect: false,
        most: 8,
    };

    fn ring() -> (Split, View) {
        let file = File::from(memfd_create(c"split", MFdFlags::MFD_CLOEXEC).unwrap());
        file.set_len(LEN).unwrap();
        let region = Region::new(&file, 0, LEN, 0, 0).unwrap();
        let memory = Arc::new(GuestMemory::default().with(region).unwrap());
        let places = Places {
            descriptors: 0,
            driver: 0x1000,
            device: 0x2000,
        };
        let split = Split::new(&memory, places, 8, 0, false).unwrap();
        for n in 0..8usize {
            split.descriptors.u64(n * DESC).store(0x3000, Relaxed);
            split.descriptors.u64(n * DESC + 8).store(64, Relaxed);
            split.available.u16(ENTRIES + n * 2).store(n as u16, Relaxed);
        }
        (split, View::new(&memory))
    }

    #[test]
    fn the_peers_index_is_read_when_more_is_wanted_than_is_known() {
        let (mut split, mut view) = ring();
        let mut take = |split: &mut Split, most| {
            let mut chains = Chains::new();
            split.fetch(&mut view, &mut chains, &RULES, most)?;
            split.publish(&chains.list, None);
            Ok(chains.list.iter().map(|chain| chain.id).collect::<Vec<_>>())
        };
        split.available.u16(INDEX).store(6, Relaxed);
        assert_eq!(take(&mut split, 2), Ok(vec![0, 1]));
        // Nonsense that nobody looks at yet.
        split.available.u16(INDEX).store(1000, Relaxed);
        assert_eq!(take(&mut split, 4), Ok(vec![2, 3, 4, 5]));
        assert_eq!(take(&mut split, 1), Err(Fault::Index));
        split.available.u16(INDEX).store(7, Relaxed);
        assert_eq!(take(&mut split, 4), Ok(vec![6]));
        assert_eq!(split.used_index(), 7);
        let used = |n: usize| split.used.u32(ENTRIES + n * 8).load(Relaxed);
        assert_eq!((0..8).map(used).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6, 0]);
    }
}
