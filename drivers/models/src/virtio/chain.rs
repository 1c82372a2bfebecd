//! Buffers: chains of descriptors, and the bytes in them.

use super::misuse::Misuse;
use barline::mem::DmaFault;
use barline_sim::Host;

/// VIRTQ_DESC_F_* (2.7.5, 2.8.6 to 2.8.7).
pub mod flag {
    /// The buffer goes on.
    pub const NEXT: u16 = 1;
    /// The device writes it.
    pub const WRITE: u16 = 2;
    /// It is a table of descriptors.
    pub const INDIRECT: u16 = 4;
}

/// Why a queue cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fail {
    /// Memory was out of reach; it is counted where it happened.
    Dma,
    /// The driver's doing.
    Misuse(Misuse),
}

impl From<DmaFault> for Fail {
    fn from(_: DmaFault) -> Self {
        Self::Dma
    }
}

impl From<Misuse> for Fail {
    fn from(what: Misuse) -> Self {
        Self::Misuse(what)
    }
}

/// What the walk along a queue goes by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setup {
    /// Descriptors in the ring.
    pub size: u16,
    /// Descriptor area.
    pub desc: u64,
    /// Driver area.
    pub driver: u64,
    /// Device area.
    pub device: u64,
    /// INDIRECT_DESC was accepted.
    pub indirect: bool,
    /// EVENT_IDX was accepted.
    pub event_idx: bool,
    /// IN_ORDER was accepted.
    pub in_order: bool,
}

/// The place of the next available buffer: count, and with IN_ORDER the descriptor.
pub type Mark = (u64, u16);

/// A piece of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where.
    pub iova: u64,
    /// Bytes.
    pub len: u32,
}

/// One buffer that the driver made available.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Head (split) or buffer id (packed).
    pub id: u16,
    /// How far the ring goes on with it: one entry (split), or its descriptors (packed).
    pub slots: u16,
    /// What the device reads.
    pub readable: Vec<Piece>,
    /// What it writes.
    pub writable: Vec<Piece>,
    bytes: u64,
}

/// A descriptor's fields, in the order in which both formats have them.
#[derive(Clone, Copy, Debug)]
pub struct Desc {
    /// Where.
    pub iova: u64,
    /// Bytes.
    pub len: u32,
    /// Third field: flags (split) or id (packed).
    pub third: u16,
    /// Fourth: next (split) or flags (packed).
    pub fourth: u16,
}

impl Desc {
    /// From its two words.
    pub fn of(words: [u64; 2]) -> Self {
        Self {
            iova: words[0],
            len: words[1] as u32,
            third: (words[1] >> 32) as u16,
            fourth: (words[1] >> 48) as u16,
        }
    }

    /// Descriptor `index` of a table anywhere.
    pub fn load(host: &mut Host, table: u64, index: u16) -> Result<Self, Fail> {
        let mut bytes = [0; 16];
        host.read(table.wrapping_add(u64::from(index) * 16), &mut bytes)?;
        let [low, high] = [0, 8].map(|at| u64::from_le_bytes(std::array::from_fn(|n| bytes[at + n])));
        Ok(Self::of([low, high]))
    }
}

impl Chain {
    /// Without elements.
    pub fn new(id: u16, slots: u16) -> Self {
        Self {
            id,
            slots,
            ..Self::default()
        }
    }

    /// Appends an element; readable ones come first (2.7.4.2).
    pub fn push(&mut self, desc: Desc, write: bool) -> Result<(), Fail> {
        self.bytes += u64::from(desc.len);
        if self.bytes > 1 << 32 {
            return Err(Misuse::TooManyBytes.into());
        }
        let piece = Piece {
            iova: desc.iova,
            len: desc.len,
        };
        match write {
            true => self.writable.push(piece),
            false if self.writable.is_empty() => self.readable.push(piece),
            false => return Err(Misuse::ReadableLast.into()),
        }
        Ok(())
    }

    /// Elements so far.
    pub fn elements(&self) -> usize {
        self.readable.len() + self.writable.len()
    }
}

/// Bytes in all pieces.
pub fn total(pieces: &[Piece]) -> u64 {
    pieces.iter().map(|piece| u64::from(piece.len)).sum()
}

/// Reads what the pieces hold, the first `most` bytes of it.
pub fn gather(host: &mut Host, pieces: &[Piece], most: usize, to: &mut Vec<u8>) -> Result<(), Fail> {
    to.clear();
    for piece in pieces {
        let had = to.len();
        let len = (piece.len as usize).min(most - had);
        if len > 0 {
            to.resize(had + len, 0);
            host.read(piece.iova, &mut to[had..])?;
        }
    }
    Ok(())
}

/// Writes over the pieces from byte `at` on; how many bytes found room.
pub fn scatter(host: &mut Host, pieces: &[Piece], at: u64, mut from: &[u8]) -> Result<usize, Fail> {
    let (mut skip, all) = (at, from.len());
    for piece in pieces {
        let len = u64::from(piece.len);
        if skip >= len {
            skip -= len;
            continue;
        }
        let room = (len - skip).min(from.len() as u64) as usize;
        let (now, later) = from.split_at(room);
        if !now.is_empty() {
            host.write(piece.iova.wrapping_add(skip), now)?;
        }
        (from, skip) = (later, 0);
    }
    Ok(all - from.len())
}

/// A 16-bit field of a ring, aligned to 2, with acquire ordering: the word around it is loaded, which lies in the same
/// page.
pub fn load16(host: &mut Host, at: u64) -> Result<u16, Fail> {
    let word = host.load(at & !7)?;
    Ok((word >> (at % 8 * 8)) as u16)
}
