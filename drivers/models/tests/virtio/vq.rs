//! A virtqueue, the driver's side, in both formats. Simple, slow, and strict with the device.

use barline::mem::{Iova, LocalDomain};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// A piece of a buffer: address, bytes, whether the device writes it.
pub type Piece = (Iova, u32, bool);

#[derive(Clone, Copy, Default, Debug)]
pub struct How {
    pub packed: bool,
    pub in_order: bool,
    pub event_idx: bool,
}

#[derive(Clone, Debug)]
pub struct Buffer {
    pub id: u16,
    pub pieces: Vec<Piece>,
    slots: u16,
    /// Split: descriptors of the table.
    descs: Vec<u16>,
}

impl Buffer {
    fn writable(&self) -> u32 {
        self.pieces
            .iter()
            .filter(|piece| piece.2)
            .map(|piece| piece.1)
            .sum()
    }
}

pub struct Vq {
    pub domain: Arc<LocalDomain>,
    pub how: How,
    pub size: u16,
    pub desc: Iova,
    pub driver: Iova,
    pub device: Iova,
    tables: Iova,
    free: VecDeque<u16>,
    out: HashMap<u16, Buffer>,
    order: VecDeque<u16>,
    /// Split: free-running index; packed: descriptors since the start.
    pub avail: u64,
    pub used: u64,
    /// What `avail` was when the device was asked last whether it wants to know.
    asked: u64,
    /// Buffers that the device skipped, and their full length.
    pub batched: u64,
}

/// Longest indirect table, in descriptors.
const TABLE: u64 = 8;

impl Vq {
    /// Bytes of memory it needs.
    pub fn bytes(size: u16) -> u64 {
        (16 + 2 + 8 + TABLE * 16) * u64::from(size) + 4096 * 4
    }

    pub fn new(domain: &Arc<LocalDomain>, how: How, size: u16, at: Iova) -> Self {
        let page = |bytes: u64| bytes.next_multiple_of(64);
        let desc = at;
        let driver = desc.offset(page(16 * u64::from(size)));
        // Aligned as little as may be.
        let driver = driver.offset(if how.packed { 4 } else { 2 });
        let device = at.offset(page(16 * u64::from(size)) + page(8 + 2 * u64::from(size)) + 4);
        let tables = at.offset((Self::bytes(size) - TABLE * 16 * u64::from(size)) & !63);
        Self {
            domain: domain.clone(),
            how,
            size,
            desc,
            driver,
            device,
            tables,
            free: (0..size).collect(),
            out: HashMap::new(),
            order: VecDeque::new(),
            avail: 0,
            used: 0,
            asked: 0,
            batched: 0,
        }
    }

    pub fn put16(&self, at: Iova, value: u16) {
        self.domain.write(at, &value.to_le_bytes()).unwrap();
    }

    pub fn get16(&self, at: Iova) -> u16 {
        let mut bytes = [0; 2];
        self.domain.read(at, &mut bytes).unwrap();
        u16::from_le_bytes(bytes)
    }

    /// Writes a descriptor: address, length, two 16-bit fields.
    pub fn put_desc(&self, table: Iova, index: u16, (iova, len): (Iova, u32), third: u16, fourth: u16) {
        let word = u64::from(len) | u64::from(third) << 32 | u64::from(fourth) << 48;
        let at = table.offset(u64::from(index) * 16);
        self.domain.store(at, iova.raw()).unwrap();
        self.domain.store(at.offset(8), word).unwrap();
    }

    /// Free descriptors.
    pub fn room(&self) -> u16 {
        let used: u16 = self.out.values().map(|buffer| buffer.slots).sum();
        self.size - used
    }

    pub fn outstanding(&self) -> usize {
        self.out.len()
    }

    /// Makes a buffer available.
    pub fn add(&mut self, pieces: &[Piece], indirect: bool) -> u16 {
        let mut elements: Vec<(Piece, u16)> = pieces
            .iter()
            .map(|piece| (*piece, if piece.2 { 2 } else { 0 }))
            .collect();
        if indirect {
            let table = self
                .tables
                .offset(TABLE * 16 * (self.avail % u64::from(self.size)));
            let last = pieces.len() - 1;
            for (at, ((iova, len, _), write)) in elements.iter().enumerate() {
                let (third, fourth) = match self.how.packed {
                    true => (0, *write),
                    false => (
                        write | u16::from(at < last),
                        if at < last { at as u16 + 1 } else { 0 },
                    ),
                };
                self.put_desc(table, at as u16, (*iova, *len), third, fourth);
            }
            elements = vec![((table, 16 * pieces.len() as u32, false), 4)];
        }
        match self.how.packed {
            true => self.add_packed(&elements, pieces),
            false => self.add_split(&elements, pieces),
        }
    }

    fn add_split(&mut self, elements: &[(Piece, u16)], pieces: &[Piece]) -> u16 {
        let descs: Vec<u16> = elements.iter().map(|_| self.free.pop_front().unwrap()).collect();
        for (at, ((iova, len, _), flags)) in elements.iter().enumerate() {
            let (next, more) = descs.get(at + 1).map_or((0, 0), |next| (*next, 1));
            self.put_desc(self.desc, descs[at], (*iova, *len), flags | more, next);
        }
        let id = descs[0];
        let slot = self.avail % u64::from(self.size);
        self.put16(self.driver.offset(4 + 2 * slot), id);
        self.avail += 1;
        self.put16(self.driver.offset(2), self.avail as u16);
        self.remember(id, pieces, elements.len(), descs)
    }

    fn add_packed(&mut self, elements: &[(Piece, u16)], pieces: &[Piece]) -> u16 {
        let id = self.free.pop_front().unwrap();
        let first = self.avail;
        // From the last to the first, which makes all of them available.
        for (at, ((iova, len, _), flags)) in elements.iter().enumerate().rev() {
            let place = first + at as u64;
            let wrap = (place / u64::from(self.size)).is_multiple_of(2);
            let marks = if wrap { 1 << 7 } else { 1 << 15 };
            let more = u16::from(at + 1 < elements.len());
            let index = (place % u64::from(self.size)) as u16;
            // Only the last one's id counts.
            let id = if more == 0 { id } else { 0xdead };
            self.put_desc(self.desc, index, (*iova, *len), id, flags | marks | more);
        }
        self.avail += elements.len() as u64;
        self.remember(id, pieces, elements.len(), Vec::new())
    }

    fn remember(&mut self, id: u16, pieces: &[Piece], slots: usize, descs: Vec<u16>) -> u16 {
        let buffer = Buffer {
            id,
            pieces: pieces.to_vec(),
            slots: slots as u16,
            descs,
        };
        assert!(self.out.insert(id, buffer).is_none(), "id {id} is out already");
        self.order.push_back(id);
        id
    }

    /// Whether the device wants to know of what was added since this was asked last.
    pub fn is_to_notify(&mut self) -> bool {
        let (old, new) = (std::mem::replace(&mut self.asked, self.avail), self.avail);
        if old == new {
            return false;
        }
        let size = u64::from(self.size);
        if !self.how.packed {
            if !self.how.event_idx {
                return self.get16(self.device) == 0;
            }
            assert_eq!(self.get16(self.device), 0, "flags with EVENT_IDX");
            let event = self.get16(self.device.offset(4 + 8 * size));
            return (old..new).any(|index| index as u16 == event);
        }
        let (event, flags) = (self.get16(self.device), self.get16(self.device.offset(2)));
        match flags {
            0 => true,
            1 => false,
            2 if self.how.event_idx => (old..new).any(|place| {
                let wrap = u16::from((place / size).is_multiple_of(2));
                (place % size) as u16 | wrap << 15 == event
            }),
            other => panic!("device event flags {other}"),
        }
    }

    /// Asks for no interrupt, or for one when `more` further entries are used (1: the next).
    pub fn want_interrupt(&self, more: Option<u64>) {
        let size = u64::from(self.size);
        if !self.how.packed {
            match (self.how.event_idx, more) {
                (false, more) => self.put16(self.driver, more.is_none().into()),
                (true, Some(more)) => {
                    self.put16(self.driver.offset(4 + 2 * size), (self.used + more - 1) as u16);
                }
                (true, None) => self.put16(
                    self.driver.offset(4 + 2 * size),
                    (self.used as u16).wrapping_sub(1),
                ),
            }
            return;
        }
        match (self.how.event_idx, more) {
            (_, None) => self.put16(self.driver.offset(2), 1),
            (false, Some(_)) => self.put16(self.driver.offset(2), 0),
            (true, Some(more)) => {
                let place = self.used + more - 1;
                let wrap = u16::from((place / size).is_multiple_of(2));
                self.put16(self.driver, (place % size) as u16 | wrap << 15);
                self.put16(self.driver.offset(2), 2);
            }
        }
    }

    /// The next used entry as the device wrote it: id and length.
    pub fn peek(&self) -> Option<(u32, u32)> {
        let size = u64::from(self.size);
        if !self.how.packed {
            let index = self.get16(self.device.offset(2));
            let at = self.device.offset(4 + 8 * (self.used % size));
            let mut bytes = [0; 8];
            self.domain.read(at, &mut bytes).unwrap();
            let word = u64::from_le_bytes(bytes);
            return (index != self.used as u16).then_some((word as u32, (word >> 32) as u32));
        }
        let at = self.desc.offset(16 * (self.used % size) + 8);
        let word = self.domain.load(at).unwrap();
        let (flags, wrap) = ((word >> 48) as u16, (self.used / size).is_multiple_of(2));
        let marks = if wrap { 0x8080 } else { 0 };
        (flags & 0x8080 == marks).then_some(((word >> 32) as u32 & 0xffff, word as u32))
    }

    /// Takes what was used by one entry: one buffer with its length, or in order a batch of them.
    pub fn poll(&mut self) -> Vec<(Buffer, u32)> {
        let Some((id, len)) = self.peek() else {
            return Vec::new();
        };
        let id = u16::try_from(id).expect("an id of 16 bits");
        let mut done = Vec::new();
        if self.how.in_order {
            while self.order.front().is_some_and(|first| *first != id) {
                let first = self.order.pop_front().unwrap();
                let buffer = self.take(first);
                self.batched += 1;
                let len = buffer.writable();
                done.push((buffer, len));
            }
            assert_eq!(self.order.pop_front(), Some(id), "an id that is not out");
        } else {
            self.order.retain(|other| *other != id);
        }
        let buffer = self.take(id);
        done.push((buffer, len));
        done
    }

    fn take(&mut self, id: u16) -> Buffer {
        let buffer = self.out.remove(&id).expect("an id that is out");
        match self.how.packed {
            true => {
                self.free.push_back(id);
                self.used += u64::from(buffer.slots);
            }
            false => {
                self.free.extend(&buffer.descs);
                self.used += 1;
            }
        }
        buffer
    }
}
