//! A peer's rings in a file, one burst of buffers in them, and a peer that rewrites what was read.

use crate::fuzzing::{APART, GUEST, Ground, PLACES, Rings};
use crate::sys::witness::places;
use barline_conformance::witness::watched;
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

const MEMORY: u64 = 0x6_0000;
/// Where buffers are, and bytes from one to the next; where tables are, likewise.
pub const BUFFERS: u64 = 0x2_0000;
pub const PLACE: u64 = 0x1000;
const TABLES: u64 = 0x3_0000;
const TABLE: u64 = 0x100;
/// Positions of a ring.
pub const SIZE: u64 = crate::fuzzing::SIZE as u64;
pub const HEADER: usize = 12;
pub const FRAMES: usize = 3;
pub const LEN: usize = 600;

/// How the peer describes a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One descriptor.
    One,
    /// So many, linked.
    Chain(usize),
    /// A table of so many.
    Table(usize),
}

/// One burst.
#[derive(Clone, Copy, Debug)]
pub struct Burst {
    pub packed: bool,
    /// We receive; else we transmit.
    pub receives: bool,
    pub offloads: bool,
    pub event_idx: bool,
    pub form: Form,
    /// Two regions, with a border in the middle of the second buffer.
    pub apart: bool,
}

/// How often each byte of the guest's memory was read.
type Reads = Rc<RefCell<BTreeMap<u64, u32>>>;

pub struct Scene {
    burst: Burst,
    file: Rc<File>,
    pub rings: Rings,
    /// Offsets of descriptors and tables in the order in which they were written.
    descriptors: Vec<u64>,
    reads: Reads,
}

pub fn content(seed: usize) -> Vec<u8> {
    (0..LEN).map(|n| (n * 7 + seed * 31 + n / 256) as u8).collect()
}

/// The header says that the checksum of 10 bytes from 20 on is open (5.1.6.2).
pub const OPEN: [u8; HEADER] = [1, 0, 0, 0, 0, 0, 20, 0, 10, 0, 0, 0];

impl Scene {
    pub fn new(burst: Burst) -> Self {
        let file = File::from(memfd_create(c"guest", MFdFlags::MFD_CLOEXEC).unwrap());
        file.set_len(MEMORY).unwrap();
        let bit = |on: bool, bit: u32| u64::from(on) << bit;
        // VERSION_1, INDIRECT_DESC, MRG_RXBUF; RING_PACKED, EVENT_IDX, CSUM and GUEST_CSUM.
        let always = 1 << 32 | 1 << 28 | 1 << 15;
        let chosen = bit(burst.packed, 34) | bit(burst.event_idx, 29) | bit(burst.offloads, 0);
        let ground = Ground {
            len: MEMORY,
            border: burst.apart.then_some(BUFFERS + PLACE + 0x100),
            features: always | chosen | bit(burst.offloads, 1),
            most: 1518,
        };
        let mut rings = Rings::new(&file, &ground);
        if burst.packed {
            (0..2).for_each(|ring| rings.restart(ring, 1 << 15));
        }
        Self {
            burst,
            file: Rc::new(file),
            rings,
            descriptors: Vec::new(),
            reads: Reads::default(),
        }
    }

    pub fn area(&self, n: usize) -> u64 {
        PLACES[n] + u64::from(self.burst.receives) * APART
    }

    fn put(&self, at: u64, bytes: &[u8]) {
        self.file.write_all_at(bytes, at).unwrap();
    }

    pub fn get<const N: usize>(&self, at: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.file.read_exact_at(&mut bytes, at).unwrap();
        bytes
    }

    fn u16(&self, at: u64) -> u16 {
        u16::from_le_bytes(self.get(at))
    }

    /// Writes a descriptor of either kind of ring; what is behind its length is flags, id or next.
    fn descriptor(&mut self, at: u64, piece: (u64, usize), upper: [u16; 2]) {
        self.put(at, &(GUEST + piece.0).to_le_bytes());
        self.put(at + 8, &(piece.1 as u32).to_le_bytes());
        let words = upper.map(u16::to_le_bytes).concat();
        self.put(at + 12, &words);
        self.descriptors.push(at);
    }

    /// The pieces of buffer `n`: the header and some bytes in front, the rest behind.
    fn pieces(n: usize, count: usize) -> Vec<(u64, usize)> {
        let (mut at, mut left) = (BUFFERS + n as u64 * PLACE, HEADER + LEN);
        let len = |piece: usize, left: usize| if piece + 1 == count { left } else { 7 };
        let piece = |piece: usize| {
            let this = (at, len(piece, left));
            (at, left) = (at + this.1 as u64, left - this.1);
            this
        };
        (0..count).map(piece).collect()
    }

    /// Makes buffer `n` available, whose descriptors start at place `at`; the places that it takes.
    fn post(&mut self, n: usize, at: usize) -> usize {
        let write = if self.burst.receives { 0 } else { 2 };
        let (packed, desc) = (self.burst.packed, self.area(0));
        // With the wrap counter at 1, what is available has AVAIL and not USED (2.8.1).
        let turn = if packed { 1 << 7 } else { 0 };
        let places = match self.burst.form {
            Form::One => Self::pieces(n, 1),
            Form::Chain(count) => Self::pieces(n, count),
            Form::Table(count) => {
                let table = TABLES + n as u64 * TABLE;
                for (entry, piece) in Self::pieces(n, count).into_iter().enumerate() {
                    let next = if entry + 1 < count && !packed { 1 } else { 0 };
                    let flags = write | next;
                    let upper = if packed {
                        [0, flags]
                    } else {
                        [flags, entry as u16 + 1]
                    };
                    self.descriptor(table + entry as u64 * 16, piece, upper);
                }
                let flags = 4 | turn;
                let upper = if packed { [n as u16, flags] } else { [flags, 0] };
                self.descriptor(desc + at as u64 * 16, (table, count * 16), upper);
                return 1;
            }
        };
        let count = places.len();
        for (place, piece) in places.into_iter().enumerate() {
            let next = u16::from(place + 1 < count);
            let flags = write | turn | next;
            let upper = if packed {
                [n as u16, flags]
            } else {
                [flags, (at + place) as u16 + 1]
            };
            self.descriptor(desc + (at + place) as u64 * 16, piece, upper);
        }
        count
    }

    pub fn post_all(&mut self) {
        let mut at = 0;
        for n in 0..FRAMES {
            if self.burst.receives {
                let header = if self.burst.offloads { OPEN } else { [0; HEADER] };
                self.put(BUFFERS + n as u64 * PLACE, &[&header[..], &content(n)].concat());
            }
            if !self.burst.packed {
                self.put(self.area(1) + 4 + n as u64 * 2, &(at as u16).to_le_bytes());
            }
            at += self.post(n, at);
        }
        if !self.burst.packed {
            self.put(self.area(1) + 2, &(FRAMES as u16).to_le_bytes());
        }
    }

    /// Runs `work` with a peer that writes ones over what was read. `spares`: but not there, the first time.
    pub fn rewritten<R>(&mut self, spares: Range<u64>, work: impl FnOnce(&mut Rings) -> R) -> R {
        let (file, reads, used) = (self.file.clone(), self.reads.clone(), self.area(2));
        let (places, sends) = (places(&self.rings.device.memory), !self.burst.receives);
        let watcher = move |at: usize, len: usize| {
            let here = places
                .iter()
                .find(|(_, start, size)| at.wrapping_sub(*start) < *size as usize);
            let (guest, start, _) = here.expect("the guest's memory");
            let at = guest - GUEST + (at - start) as u64;
            let mut reads = reads.borrow_mut();
            let first =
                (at..at + len as u64).map(|byte| *reads.entry(byte).and_modify(|n| *n += 1).or_insert(1));
            let first = first.max() == Some(1);
            // What the device writes is compared with what is to be there: that is not to be changed.
            let ours = (used..used + 0x4000).contains(&at) || (sends && (BUFFERS..TABLES).contains(&at));
            let spared = first && spares.contains(&at);
            if !ours && !spared {
                file.write_all_at(&vec![0xff; len], at).unwrap();
            }
        };
        let rings = &mut self.rings;
        watched(watcher, || work(rings))
    }

    /// Most reads of a byte of a range, and fewest.
    pub fn counts(&self, range: Range<u64>) -> (u32, u32) {
        let reads = self.reads.borrow();
        let counts = range.map(|at| reads.get(&at).copied().unwrap_or(0));
        let (most, fewest) = (counts.clone().max(), counts.min());
        (most.unwrap(), fewest.unwrap())
    }

    pub fn once(&self, what: &str, at: u64, len: u64) {
        assert_eq!(
            self.counts(at..at + len),
            (1, 1),
            "{what} at {at:#x}, {:?}",
            self.burst
        );
    }

    /// The ring's words: each was read, and no more than once.
    pub fn check_ring(&self) {
        for at in &self.descriptors {
            self.once("a descriptor", *at, 16);
        }
        let driver = self.area(1);
        if self.burst.packed {
            self.once("the driver's event structure", driver, 4);
            return;
        }
        self.once("the index", driver + 2, 2);
        // Once to fetch what it names, whatever that is, and once to use it.
        let entries = driver + 4..driver + 4 + FRAMES as u64 * 2;
        assert_eq!(self.counts(entries), (2, 2), "{:?}", self.burst);
        let event = driver + 4 + SIZE * 2;
        let wish = if self.burst.event_idx { event } else { driver };
        self.once("what the driver wants", wish, 2);
    }

    /// What the ring says was used: ids in order, and the bytes written.
    pub fn check_used(&self, written: usize) {
        let (desc, used) = (self.area(0), self.area(2));
        let each = match self.burst.form {
            Form::Chain(count) => count as u64,
            _ => 1,
        };
        for n in 0..FRAMES as u64 {
            let (id, len): ([u8; 4], [u8; 4]) = match self.burst.packed {
                true => (
                    self.get(desc + n * each * 16 + 12),
                    self.get(desc + n * each * 16 + 8),
                ),
                false => (self.get(used + 4 + n * 8), self.get(used + 8 + n * 8)),
            };
            let expected = if self.burst.packed { n } else { n * each };
            assert_eq!(
                u64::from(u16::from_le_bytes([id[0], id[1]])),
                expected,
                "{:?}",
                self.burst
            );
            assert_eq!(u32::from_le_bytes(len), written as u32, "{:?}", self.burst);
        }
        if !self.burst.packed {
            assert_eq!(self.u16(used + 2), FRAMES as u16);
        }
    }
}
