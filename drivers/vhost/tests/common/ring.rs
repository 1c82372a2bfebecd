//! The driver's side of a virtqueue, from the specification (virtio 1.2: 2.7 and 2.8), one buffer at a time.

use super::memory::{GUEST, Memory, USER};
use std::collections::{HashMap, VecDeque};
use vhost::VringConfigData;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// A piece of a buffer: offset in the memory, and length.
pub type Piece = (u64, u32);

/// A buffer that the device has.
#[derive(Clone, Debug)]
pub struct Token {
    pub pieces: Vec<Piece>,
    places: u16,
}

#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub packed: bool,
    pub event_idx: bool,
    pub in_order: bool,
    pub size: u16,
}

pub struct Ring {
    memory: Memory,
    pub shape: Shape,
    /// Offset of descriptors, driver's area, device's area, tables.
    pub desc: u64,
    pub driver: u64,
    pub device: u64,
    tables: u64,
    /// Split: descriptors that are free. Packed: ids.
    free: VecDeque<u16>,
    room: u16,
    /// Next available, next used; packed: with a wrap counter.
    pub next: u16,
    pub used: u16,
    wrap: (bool, bool),
    held: HashMap<u16, Token>,
    order: VecDeque<u16>,
    /// The last of several buffers that one word told of.
    batch: Option<u16>,
    /// Buffers that were not told of one by one.
    pub batched: u64,
    pub kick: EventFd,
    pub call: EventFd,
    /// What was used last was in order.
    pub in_order: bool,
    pub kicks: u64,
}

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

impl Ring {
    /// Bytes of memory that a ring takes.
    pub const BYTES: u64 = 0x40000;

    pub fn new(memory: &Memory, at: u64, shape: Shape) -> Self {
        Self {
            memory: memory.clone(),
            shape,
            desc: at,
            driver: at + 0x8000,
            // Its index at the end of a page, its entries on the next one.
            device: at + 0xaffc,
            tables: at + 0x10000,
            free: (0..shape.size).collect(),
            room: shape.size,
            next: 0,
            used: 0,
            wrap: (true, true),
            held: HashMap::new(),
            order: VecDeque::new(),
            batch: None,
            batched: 0,
            kick: EventFd::new(EFD_NONBLOCK).unwrap(),
            call: EventFd::new(EFD_NONBLOCK).unwrap(),
            in_order: true,
            kicks: 0,
        }
    }

    pub fn config(&self, log: bool) -> VringConfigData {
        VringConfigData {
            queue_max_size: self.shape.size,
            queue_size: self.shape.size,
            flags: log.into(),
            desc_table_addr: USER + self.desc,
            used_ring_addr: USER + self.device,
            avail_ring_addr: USER + self.driver,
            log_addr: log.then_some(GUEST + self.device),
        }
    }

    /// What SET_VRING_BASE says.
    pub fn base(&self) -> u16 {
        match self.shape.packed {
            true => self.next | u16::from(self.wrap.0) << 15,
            false => self.next,
        }
    }

    /// Where the device goes on, in the words of GET_VRING_BASE: everything used was taken.
    pub fn used_place(&self) -> u16 {
        match self.shape.packed {
            true => self.used | u16::from(self.wrap.1) << 15,
            false => self.used,
        }
    }

    /// The buffer that is used `n` buffers from now.
    pub fn nth(&self, n: usize) -> &Token {
        &self.held[&self.order[n]]
    }

    /// Gives a buffer to the device; false where there is no room.
    pub fn add(&mut self, pieces: &[Piece], write: bool, indirect: bool) -> bool {
        let places = if indirect { 1 } else { pieces.len() as u16 };
        if self.room < places || self.free.len() < usize::from(places) {
            return false;
        }
        let flag = if write { WRITE } else { 0 };
        let id = match self.shape.packed {
            true => self.add_packed(pieces, flag, indirect),
            false => self.add_split(pieces, flag, indirect),
        };
        self.room -= places;
        self.order.push_back(id);
        let pieces = pieces.to_vec();
        self.held.insert(id, Token { pieces, places });
        true
    }

    /// Writes a table; its descriptor's pieces.
    fn table(&self, id: u16, pieces: &[Piece], flag: u16) -> Piece {
        let at = self.tables + u64::from(id) * 256;
        for (n, (offset, len)) in pieces.iter().enumerate() {
            let place = at + n as u64 * 16;
            self.memory.set_u64(place, GUEST + offset);
            let more = n + 1 < pieces.len();
            let rest = match self.shape.packed {
                // As DPDK's virtio-user has it: the header of what is sent is marked as writable too.
                true => u64::from(*len) | u64::from(if n == 0 { WRITE } else { flag }) << 48,
                false => {
                    let flags = flag | if more { NEXT } else { 0 };
                    u64::from(*len) | u64::from(flags) << 32 | (n as u64 + 1) << 48
                }
            };
            self.memory.set_u64(place + 8, rest);
        }
        (at, pieces.len() as u32 * 16)
    }

    fn add_split(&mut self, pieces: &[Piece], flag: u16, indirect: bool) -> u16 {
        let head = self.free[0];
        let table = indirect.then(|| [self.table(head, pieces, flag)]);
        let extra = if indirect { INDIRECT } else { flag };
        let pieces = table.as_ref().map_or(pieces, |table| &table[..]);
        for (n, (offset, len)) in pieces.iter().enumerate() {
            let at = self.desc + u64::from(self.free.pop_front().unwrap()) * 16;
            self.memory.set_u64(at, GUEST + offset);
            let more = n + 1 < pieces.len();
            let flags = extra | if more { NEXT } else { 0 };
            let next = if more { self.free[0] } else { 0xdead };
            let rest = u64::from(*len) | u64::from(flags) << 32 | u64::from(next) << 48;
            self.memory.set_u64(at + 8, rest);
        }
        let slot = u64::from(self.next % self.shape.size);
        self.memory.set_u16(self.driver + 4 + slot * 2, head);
        self.next = self.next.wrapping_add(1);
        self.memory.set_u16(self.driver + 2, self.next);
        head
    }

    fn add_packed(&mut self, pieces: &[Piece], flag: u16, indirect: bool) -> u16 {
        let id = self.free.pop_front().unwrap();
        let table = indirect.then(|| [self.table(id, pieces, flag)]);
        let extra = if indirect { INDIRECT } else { flag };
        let pieces = table.as_ref().map_or(pieces, |table| &table[..]);
        let mut first = None;
        for (n, (offset, len)) in pieces.iter().enumerate() {
            let at = self.desc + u64::from(self.next) * 16;
            self.memory.set_u64(at, GUEST + offset);
            let more = n + 1 < pieces.len();
            let state = if self.wrap.0 { 1 << 7 } else { 1 << 15 };
            let flags = extra | state | if more { NEXT } else { 0 };
            let rest = u64::from(*len) | u64::from(id) << 32 | u64::from(flags) << 48;
            match first {
                None => first = Some((at + 8, rest)),
                Some(_) => self.memory.set_u64(at + 8, rest),
            }
            self.next += 1;
            if self.next == self.shape.size {
                (self.next, self.wrap.0) = (0, !self.wrap.0);
            }
        }
        let (at, rest) = first.unwrap();
        self.memory.set_u64(at, rest); // last
        id
    }

    /// Takes back the next buffer that the device has used, and how much it wrote.
    pub fn take(&mut self) -> Option<(Token, u32)> {
        let (id, len) = match (self.shape.packed, self.batch) {
            (true, Some(last)) => (self.of_batch(last)?, 0),
            (true, None) => self.take_packed()?,
            (false, _) => self.take_split()?,
        };
        let token = self
            .held
            .remove(&id)
            .unwrap_or_else(|| panic!("{id} was not given"));
        self.in_order &= self.order.front() == Some(&id);
        self.order.retain(|other| *other != id);
        self.room += token.places;
        if self.shape.packed {
            self.free.push_back(id);
            self.used += token.places;
            if self.used >= self.shape.size {
                (self.used, self.wrap.1) = (self.used - self.shape.size, !self.wrap.1);
            }
        }
        Some((token, len))
    }

    fn take_split(&mut self) -> Option<(u16, u32)> {
        if self.memory.u16(self.device + 2) == self.used {
            return None;
        }
        let slot = u64::from(self.used % self.shape.size);
        let word = self.memory.u64(self.device + 4 + slot * 8);
        self.used = self.used.wrapping_add(1);
        let mut at = word as u32 as u16;
        loop {
            self.free.push_back(at);
            let rest = self.memory.u64(self.desc + u64::from(at) * 16 + 8);
            if (rest >> 32) as u16 & NEXT == 0 {
                break;
            }
            at = (rest >> 48) as u16;
        }
        Some((word as u32 as u16, (word >> 32) as u32))
    }

    /// The next buffer of several that are told of by the last one (2.8.9).
    fn of_batch(&mut self, last: u16) -> Option<u16> {
        let next = *self.order.front()?;
        self.batch = (next != last).then_some(last);
        self.batched += u64::from(next != last);
        Some(next)
    }

    fn take_packed(&mut self) -> Option<(u16, u32)> {
        let (id, len) = self.used_packed()?;
        if self.shape.in_order && self.order.contains(&id) {
            return Some((self.of_batch(id)?, len));
        }
        Some((id, len))
    }

    fn used_packed(&self) -> Option<(u16, u32)> {
        let rest = self.memory.u64(self.desc + u64::from(self.used) * 16 + 8);
        let flags = (rest >> 48) as u16;
        let (avail, used) = (flags & 1 << 7 != 0, flags & 1 << 15 != 0);
        (avail == used && used == self.wrap.1).then_some(((rest >> 32) as u16, rest as u32))
    }

    /// Buffers that the device has.
    pub fn outstanding(&self) -> usize {
        self.held.len()
    }

    /// Whether the device asks for a kick now that buffers from `old` on were added.
    pub fn wants_kick(&self, old: u16) -> bool {
        let passes = |event: u16, new: u16| new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old);
        match (self.shape.packed, self.shape.event_idx) {
            (false, false) => self.memory.u16(self.device) & 1 == 0,
            (false, true) => {
                let at = self.device + 4 + u64::from(self.shape.size) * 8;
                passes(self.memory.u16(at), self.next)
            }
            (true, _) => match self.memory.u16(self.device + 2) {
                0 => true,
                // The place of the buffer that was added last, with its wrap counter: tests add one at a time.
                2 => self.memory.u16(self.device) == old,
                _ => false,
            },
        }
    }

    /// Kicks if the device wants it.
    pub fn notify(&mut self, old: u16) {
        if self.wants_kick(old) {
            self.kicks += 1;
            self.kick.write(1).unwrap();
        }
    }

    /// Wants calls, or none.
    pub fn want_calls(&self, on: bool) {
        match (self.shape.packed, self.shape.event_idx) {
            (false, false) => self.memory.set_u16(self.driver, u16::from(!on)),
            (false, true) => {
                let at = self.driver + 4 + u64::from(self.shape.size) * 2;
                // Off: one that was passed long ago.
                let event = if on {
                    self.used
                } else {
                    self.used.wrapping_sub(0x4000)
                };
                self.memory.set_u16(at, event);
            }
            (true, false) => self.memory.set_u16(self.driver + 2, if on { 0 } else { 1 }),
            (true, true) => {
                self.memory
                    .set_u16(self.driver, self.used | u16::from(self.wrap.1) << 15);
                self.memory.set_u16(self.driver + 2, if on { 2 } else { 1 });
            }
        }
    }

    /// Calls since the last look.
    pub fn calls(&self) -> u64 {
        self.call.read().unwrap_or(0)
    }
}
