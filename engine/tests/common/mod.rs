//! What the engine's tests share: small pools, an address space, and a device played by hand.
#![allow(dead_code, reason = "each test file uses its own part")]

use barline::mem::{
    Access, Desc16, DmaDomain, DmaSlice, Iova, LocalDomain, Mapping, Memory, Numa, PageSize, Source,
};
use barline::mmio::{Bar, Doorbell, RW, Reg, Trap};
use barline::pool::{Discard, Packet, Pool, Verdict};
use barline::ring::{RxFormat, TxFormat};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::atomic::{AtomicU32, AtomicU64};

pub const SMALL: Source = Source::MemFd(PageSize::Base4K);

/// A pool of `packets` packets of 256 bytes behind a headroom of 64.
pub fn pool(packets: usize) -> Pool {
    Pool::builder()
        .packets(packets)
        .data_room(256)
        .headroom(64)
        .source(SMALL)
        .build()
        .unwrap()
}

/// Where a packet's buffer begins: its name, as far as the public interface tells.
pub fn place(packet: &Packet) -> usize {
    packet.as_ptr() as usize - packet.headroom()
}

/// An address space, as a model and as an engine sees it.
pub fn domain() -> (Arc<LocalDomain>, Arc<dyn DmaDomain>) {
    let local = Arc::new(LocalDomain::new());
    (local.clone(), local)
}

/// A register that remembers what was written to it.
#[derive(Debug, Default)]
pub struct Tail {
    value: AtomicU32,
    rings: AtomicU64,
}

impl Tail {
    pub fn value(&self) -> u32 {
        self.value.load(Relaxed)
    }

    pub fn rings(&self) -> u64 {
        self.rings.load(Relaxed)
    }
}

impl Trap for Tail {
    fn read32(&self, _offset: usize) -> u32 {
        panic!("a register was read on the packet path");
    }

    fn write32(&self, _offset: usize, value: u32) {
        self.value.store(value, Relaxed);
        self.rings.fetch_add(1, Relaxed);
    }
}

pub fn doorbell(tail: &Arc<Tail>) -> Doorbell {
    Bar::trapped(tail.clone(), 4)
        .doorbell(Reg::<RW>::new("TAIL", 0))
        .unwrap()
}

/// Descriptor memory of its own, mapped.
pub fn descriptors(domain: &Arc<dyn DmaDomain>, len: u32) -> DmaSlice<Desc16> {
    let memory = Memory::new(len as usize * 16, SMALL, Numa::Any).unwrap();
    let mapping = Mapping::new(&memory, domain, Access::ReadWrite).unwrap();
    DmaSlice::new(&mapping, 0, len).unwrap()
}

/// A format of this test's own. Word 0: address. Word 1: bit 63 done, bit 62 error, bit 61 not the last part,
/// bit 60 report, bits 31:0 length.
#[derive(Debug)]
pub struct Plain;

pub const DONE: u64 = 1 << 63;
pub const ERROR: u64 = 1 << 62;
pub const MORE: u64 = 1 << 61;
pub const REPORT: u64 = 1 << 60;

/// What the format makes of a word.
pub fn verdict(word: u64) -> Verdict {
    match word {
        w if w & DONE == 0 => Verdict::Pending,
        w if w & MORE != 0 => Verdict::Part,
        w if w & ERROR != 0 => Verdict::Discard(Discard::Error),
        w => Verdict::Frame(w as u32),
    }
}

impl RxFormat for Plain {
    type Desc = Desc16;

    fn arm(desc: &Desc16, buffer: Iova) {
        desc[0].store(buffer.raw(), Relaxed);
        desc[1].store(0, Relaxed);
    }

    fn done(desc: &Desc16) -> Verdict {
        verdict(desc[1].load(Acquire))
    }
}

impl TxFormat for Plain {
    type Desc = Desc16;

    fn post(desc: &Desc16, data: Iova, len: u32) {
        desc[0].store(data.raw(), Relaxed);
        desc[1].store(len.into(), Relaxed);
    }

    fn report(desc: &Desc16, len: u32) {
        desc[1].store(u64::from(len) | REPORT, Relaxed);
    }

    fn done(desc: &Desc16) -> bool {
        desc[1].load(Acquire) & DONE != 0
    }
}

/// The device side of one ring: reaches memory only through the address space, as a device does.
#[derive(Debug)]
pub struct Device {
    pub domain: Arc<LocalDomain>,
    pub tail: Arc<Tail>,
    base: Iova,
    len: u32,
    head: u32,
}

impl Device {
    pub fn new(domain: &Arc<LocalDomain>, ring: &DmaSlice<Desc16>, tail: &Arc<Tail>) -> Self {
        Self {
            domain: domain.clone(),
            tail: tail.clone(),
            base: ring.iova(),
            len: ring.len(),
            head: 0,
        }
    }

    /// Descriptors that are the device's.
    pub fn owned(&self) -> u32 {
        self.tail.value().wrapping_sub(self.head) & (self.len - 1)
    }

    fn at(&self, index: u32) -> Iova {
        self.base.offset(u64::from(index) * 16)
    }

    /// Receives one frame: false where there is no descriptor.
    pub fn receive(&mut self, frame: &[u8]) -> bool {
        if self.owned() == 0 {
            return false;
        }
        let buffer = Iova::new(self.domain.load(self.at(self.head)).unwrap());
        self.domain.write(buffer, frame).unwrap();
        self.write_back(frame.len() as u64 | DONE)
    }

    /// Writes any word back to the next descriptor: false where there is none.
    pub fn write_back(&mut self, word: u64) -> bool {
        if self.owned() == 0 {
            return false;
        }
        self.domain.store(self.at(self.head).offset(8), word).unwrap();
        self.head = (self.head + 1) & (self.len - 1);
        true
    }

    /// Sends one frame, and reports where asked to.
    pub fn send(&mut self) -> Option<Vec<u8>> {
        let (at, word) = self.next()?;
        let mut frame = vec![0; (word & 0xffff_ffff) as usize];
        let data = Iova::new(self.domain.load(at).unwrap());
        self.domain.read(data, &mut frame).unwrap();
        if word & REPORT != 0 {
            self.domain.store(at.offset(8), word | DONE).unwrap();
        }
        self.head = (self.head + 1) & (self.len - 1);
        Some(frame)
    }

    fn next(&self) -> Option<(Iova, u64)> {
        let at = self.at(self.head);
        (self.owned() > 0).then(|| (at, self.domain.load(at.offset(8)).unwrap()))
    }

    /// Takes the report of a descriptor back; what it was.
    pub fn unreport(&self, index: u32) -> [u64; 2] {
        let at = self.at(index & (self.len - 1));
        let words = [0, 8].map(|word| self.domain.load(at.offset(word)).unwrap());
        self.domain.store(at.offset(8), words[1] & !DONE).unwrap();
        words
    }

    /// Overwrites both words of any descriptor, the device's or not.
    pub fn scribble(&self, index: u32, words: [u64; 2]) {
        let at = self.at(index & (self.len - 1));
        self.domain.store(at, words[0]).unwrap();
        self.domain.store(at.offset(8), words[1]).unwrap();
    }
}
