//! What the ring tests share: a pool, an address space, and the device's side of a ring, played by hand. It knows the
//! layout from the specification (2.7, 2.8) and shares nothing with the driver.
#![allow(dead_code, reason = "each test file uses its own part")]

use barline::mem::{Access, DmaDomain, Iova, LocalDomain, Mapping, Memory, Numa, PageSize, Source};
use barline::pool::{Custody, Packet, Pool, PoolMap};
use barline::ring::FrameLimit;
use barline::ring::completion::{Format, Health, Notify};
use barline_virtio::{Areas, Packed, Split, Traits};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub const SMALL: Source = Source::MemFd(PageSize::Base4K);
/// Bytes in front of each frame.
pub const HEADER: u32 = 12;

/// Counts its kicks.
#[derive(Clone, Debug, Default)]
pub struct Kicks(Arc<AtomicU64>);

impl Kicks {
    pub fn count(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Notify for Kicks {
    fn notify(&mut self, _tail: u32) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// All that a ring stands on.
pub struct Rig {
    pub local: Arc<LocalDomain>,
    pub domain: Arc<dyn DmaDomain>,
    pub pool: Pool,
    pub map: PoolMap,
    pub custody: Arc<Custody>,
    pub health: Health,
    pub limit: FrameLimit,
    pub kicks: Kicks,
}

pub fn pool(packets: usize) -> Pool {
    let shape = Pool::builder().packets(packets).data_room(256).headroom(64);
    shape.source(SMALL).build().unwrap()
}

impl Rig {
    pub fn new(packets: usize) -> Self {
        let local = Arc::new(LocalDomain::new());
        let domain: Arc<dyn DmaDomain> = local.clone();
        let pool = pool(packets);
        Self {
            map: pool.map(&domain).unwrap(),
            limit: FrameLimit::new(pool.data_room() as u32),
            local,
            domain,
            pool,
            custody: Custody::new(),
            health: Health::default(),
            kicks: Kicks::default(),
        }
    }

    pub fn memory(&self, bytes: usize) -> Arc<Mapping> {
        let memory = Memory::new(bytes, SMALL, Numa::Any).unwrap();
        Mapping::new(&memory, &self.domain, Access::ReadWrite).unwrap()
    }
}

/// A shape of rings, with its device's side.
pub trait Shape: Format + Sized {
    type Far: Far;
    fn make(rig: &Rig, len: u32, with: Traits) -> (Self, Self::Far);
}

/// A buffer that the driver made available.
#[derive(Clone, Copy, Debug)]
pub struct Buffer {
    pub id: u16,
    pub at: u64,
    pub len: u32,
    pub write: bool,
    /// Flags that no single descriptor has.
    pub odd: u16,
}

/// The device's side of a ring.
pub trait Far {
    /// The next buffer that is available.
    fn take(&mut self) -> Option<Buffer>;
    /// Tells that buffers were used: each id with a length. `skips`: so many more positions are passed without a word.
    fn give(&mut self, id: u16, len: u32, skips: u32);
    /// Asks for no notifications, or for one when the driver goes on from here.
    fn quiet(&mut self, on: bool);
    /// Whether the driver wants an interrupt for the next completion.
    fn wanted(&self) -> bool;
    /// Where nonsense may be written: the first byte, and how many.
    fn target(&self) -> (u64, usize);
    fn domain(&self) -> &Arc<LocalDomain>;

    fn write(&self, buffer: &Buffer, offset: u32, bytes: &[u8]) {
        assert!(
            buffer.write && offset + bytes.len() as u32 <= buffer.len,
            "{buffer:?}"
        );
        let at = Iova::new(buffer.at + u64::from(offset));
        self.domain().write(at, bytes).unwrap();
    }

    fn read(&self, buffer: &Buffer) -> Vec<u8> {
        assert!(!buffer.write);
        let mut bytes = vec![0; buffer.len as usize];
        self.domain().read(Iova::new(buffer.at), &mut bytes).unwrap();
        bytes
    }
}

fn get<const N: usize>(domain: &LocalDomain, at: u64) -> [u8; N] {
    let mut bytes = [0; N];
    domain.read(Iova::new(at), &mut bytes).unwrap();
    bytes
}

fn get16(domain: &LocalDomain, at: u64) -> u16 {
    u16::from_le_bytes(get(domain, at))
}

fn put(domain: &LocalDomain, at: u64, bytes: &[u8]) {
    domain.write(Iova::new(at), bytes).unwrap();
}

/// Device's side of a split ring.
pub struct FarSplit {
    domain: Arc<LocalDomain>,
    areas: Areas,
    len: u32,
    with: Traits,
    taken: u16,
    used: u16,
}

impl Far for FarSplit {
    fn domain(&self) -> &Arc<LocalDomain> {
        &self.domain
    }

    fn take(&mut self) -> Option<Buffer> {
        let driver = self.areas.driver.raw();
        if get16(&self.domain, driver + 2) == self.taken {
            return None;
        }
        let slot = u64::from(self.taken) % u64::from(self.len);
        let id = get16(&self.domain, driver + 4 + 2 * slot);
        self.taken = self.taken.wrapping_add(1);
        let desc: [u8; 16] = get(&self.domain, self.areas.desc.raw() + 16 * u64::from(id));
        let flags = u16::from_le_bytes([desc[12], desc[13]]);
        Some(Buffer {
            id,
            at: u64::from_le_bytes(desc[..8].try_into().unwrap()),
            len: u32::from_le_bytes(desc[8..12].try_into().unwrap()),
            write: flags & 2 != 0,
            odd: flags & !2,
        })
    }

    fn give(&mut self, id: u16, len: u32, skips: u32) {
        let device = self.areas.device.raw();
        let slot = u64::from(self.used) % u64::from(self.len);
        let entry = [u32::from(id).to_le_bytes(), len.to_le_bytes()].concat();
        put(&self.domain, device + 4 + 8 * slot, &entry);
        self.used = self.used.wrapping_add(1 + skips as u16);
        put(&self.domain, device + 2, &self.used.to_le_bytes());
    }

    fn quiet(&mut self, on: bool) {
        let device = self.areas.device.raw();
        let event = if on {
            self.taken.wrapping_sub(1)
        } else {
            get16(&self.domain, self.areas.driver.raw() + 2)
        };
        put(&self.domain, device, &u16::from(on).to_le_bytes());
        put(
            &self.domain,
            device + 4 + 8 * u64::from(self.len),
            &event.to_le_bytes(),
        );
    }

    fn wanted(&self) -> bool {
        let driver = self.areas.driver.raw();
        match self.with.event_idx {
            true => get16(&self.domain, driver + 4 + 2 * u64::from(self.len)) == self.used,
            false => get16(&self.domain, driver) & 1 == 0,
        }
    }

    fn target(&self) -> (u64, usize) {
        (self.areas.device.raw(), 6 + 8 * self.len as usize)
    }
}

/// Device's side of a packed ring.
pub struct FarPacked {
    domain: Arc<LocalDomain>,
    areas: Areas,
    len: u32,
    /// Position and wrap counter of the next available and of the next used descriptor.
    next: (u32, bool),
    used: (u32, bool),
}

fn on((at, wrap): (u32, bool), by: u32, len: u32) -> (u32, bool) {
    let next = at + by;
    if next < len {
        (next, wrap)
    } else {
        (next - len, !wrap)
    }
}

impl Far for FarPacked {
    fn domain(&self) -> &Arc<LocalDomain> {
        &self.domain
    }

    fn take(&mut self) -> Option<Buffer> {
        let (at, wrap) = self.next;
        let desc: [u8; 16] = get(&self.domain, self.areas.desc.raw() + 16 * u64::from(at));
        let flags = u16::from_le_bytes([desc[14], desc[15]]);
        let (avail, used) = (flags & 1 << 7 != 0, flags & 1 << 15 != 0);
        if avail != wrap || used == wrap {
            return None;
        }
        self.next = on(self.next, 1, self.len);
        Some(Buffer {
            id: u16::from_le_bytes([desc[12], desc[13]]),
            at: u64::from_le_bytes(desc[..8].try_into().unwrap()),
            len: u32::from_le_bytes(desc[8..12].try_into().unwrap()),
            write: flags & 2 != 0,
            odd: flags & !(1 << 7 | 1 << 15 | 2),
        })
    }

    fn give(&mut self, id: u16, len: u32, skips: u32) {
        let (at, wrap) = self.used;
        let flags: u16 = if wrap { 1 << 7 | 1 << 15 } else { 0 };
        let rest = [&len.to_le_bytes()[..], &id.to_le_bytes(), &flags.to_le_bytes()].concat();
        put(
            &self.domain,
            self.areas.desc.raw() + 16 * u64::from(at) + 8,
            &rest,
        );
        self.used = on(self.used, 1 + skips, self.len);
    }

    fn quiet(&mut self, on: bool) {
        // Off: a notification when the next descriptor is made available, which is the one that `next` comes to.
        let mut at = self.next;
        let mut ahead = FarPacked {
            domain: self.domain.clone(),
            areas: self.areas,
            len: self.len,
            next: at,
            used: self.used,
        };
        while !on && ahead.take().is_some() {
            at = ahead.next;
        }
        let offset = at.0 as u16 | u16::from(at.1) << 15;
        let flags: u16 = if on { 1 } else { 2 };
        put(
            &self.domain,
            self.areas.device.raw(),
            &[offset.to_le_bytes(), flags.to_le_bytes()].concat(),
        );
    }

    fn wanted(&self) -> bool {
        get16(&self.domain, self.areas.driver.raw() + 2) != 1
    }

    fn target(&self) -> (u64, usize) {
        (self.areas.desc.raw(), 16 * self.len as usize)
    }
}

impl<const RX: bool> Shape for Split<RX> {
    type Far = FarSplit;

    fn make(rig: &Rig, len: u32, with: Traits) -> (Self, FarSplit) {
        let ring = Self::new(&rig.memory(Self::bytes(len)), 0, len, with).unwrap();
        let (domain, areas) = (rig.local.clone(), ring.areas());
        (
            ring,
            FarSplit {
                domain,
                areas,
                len,
                with,
                taken: 0,
                used: 0,
            },
        )
    }
}

impl<const RX: bool> Shape for Packed<RX> {
    type Far = FarPacked;

    fn make(rig: &Rig, len: u32, with: Traits) -> (Self, FarPacked) {
        let ring = Self::new(&rig.memory(Self::bytes(len)), 0, len, with).unwrap();
        let (domain, areas) = (rig.local.clone(), ring.areas());
        (
            ring,
            FarPacked {
                domain,
                areas,
                len,
                next: (0, true),
                used: (0, true),
            },
        )
    }
}

/// Bytes that tell which frame they are of.
pub fn frame(number: u32, len: u32) -> Vec<u8> {
    let byte = |at: u32| (number.wrapping_mul(31).wrapping_add(at).wrapping_mul(0x9e37_79b9) >> 24) as u8;
    (0..len).map(byte).collect()
}

/// Small numbers from a seed: choices of the device.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n.max(1)
    }
}

/// Buffers that the device holds.
#[derive(Default)]
pub struct Hand(pub VecDeque<Buffer>);

impl Hand {
    pub fn fetch(&mut self, far: &mut impl Far) {
        while let Some(buffer) = far.take() {
            assert_eq!(buffer.odd, 0, "one descriptor, no chain");
            assert!(
                self.0.iter().all(|held| held.id != buffer.id),
                "an id twice: {buffer:?}"
            );
            self.0.push_back(buffer);
        }
    }
}

/// Moves a packet's data towards its buffer's start, so that `headroom` bytes are left in front.
pub fn with_headroom(packet: &mut Packet, headroom: usize, bytes: &[u8]) {
    let more = packet.headroom() - headroom;
    packet.prepend(more).unwrap();
    assert!(packet.set(bytes));
}
