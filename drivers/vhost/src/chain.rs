//! Buffers of the peer's, as descriptors make them: gathered from a ring, checked, not yet used.

use crate::fault::Fault;
use crate::sys::View;
use std::sync::atomic::Ordering::Acquire;
use std::sync::atomic::compiler_fence;

/// Flags of a descriptor (virtio 1.2, 2.7.5 and 2.8.1).
pub(crate) mod flag {
    pub const NEXT: u16 = 1;
    pub const WRITE: u16 = 2;
    pub const INDIRECT: u16 = 4;
}

/// Bytes of a descriptor, of either kind of ring.
pub(crate) const DESC: usize = 16;

/// A piece of the guest's memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub at: u64,
    pub len: u32,
}

/// One buffer: pieces one behind the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    place: Pieces,
    /// Bytes of all pieces.
    pub bytes: u32,
    /// Bytes written to it: what the peer is told.
    pub written: u32,
    /// What the ring calls it.
    pub id: u16,
    /// Places that it takes in a packed ring.
    pub places: u16,
}

/// Where the pieces of a buffer are kept. Mostly it has one.
#[derive(Clone, Copy, Debug)]
enum Pieces {
    One(Piece),
    /// From here to there among all pieces of the burst.
    Several(u32, u32),
}

/// What the buffers of a ring are for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Whether we write to them.
    pub write: bool,
    /// Bytes that the shortest must have.
    pub least: u32,
    /// Whether tables of descriptors were negotiated.
    pub indirect: bool,
    /// Most descriptors of a buffer: the length of the ring (2.7.5.3.1, 2.8.8).
    pub most: u32,
}

/// Buffers that were read from a ring in this burst, in the ring's order.
#[derive(Debug, Default)]
pub(crate) struct Chains {
    pub list: Vec<Chain>,
    pieces: Vec<Piece>,
}

impl Chains {
    pub fn new() -> Self {
        Self {
            list: Vec::with_capacity(128),
            pieces: Vec::with_capacity(256),
        }
    }

    #[inline(always)]
    pub fn clear(&mut self) {
        self.list.clear();
        self.pieces.clear();
    }

    #[inline(always)]
    pub fn pieces<'a>(&'a self, chain: &'a Chain) -> &'a [Piece] {
        match &chain.place {
            Pieces::One(piece) => std::slice::from_ref(piece),
            Pieces::Several(first, end) => &self.pieces[*first as usize..*end as usize],
        }
    }

    /// A buffer of one piece.
    #[inline(always)]
    pub fn single(
        &mut self,
        view: &mut View,
        rules: &Rules,
        flags: u16,
        piece: Piece,
        id: u16,
    ) -> Result<(), Fault> {
        check(view, rules, flags, piece)?;
        if piece.len < rules.least {
            return Err(Fault::Chain);
        }
        self.list.push(Chain {
            place: Pieces::One(piece),
            bytes: piece.len,
            written: 0,
            id,
            places: 1,
        });
        Ok(())
    }

    /// Starts a buffer.
    #[inline(always)]
    pub fn begin(&self) -> u32 {
        self.pieces.len() as u32
    }

    /// Adds a piece to the buffer that is being read.
    #[inline(always)]
    pub fn piece(&mut self, view: &mut View, rules: &Rules, flags: u16, piece: Piece) -> Result<(), Fault> {
        check(view, rules, flags, piece)?;
        self.pieces.push(piece);
        Ok(())
    }

    /// Ends the buffer whose pieces started at `first`.
    pub fn end(&mut self, rules: &Rules, id: u16, places: u16, first: u32) -> Result<(), Fault> {
        let pieces = self.pieces[first as usize..].iter();
        let sum = pieces.map(|piece| u64::from(piece.len)).sum::<u64>();
        let bytes = u32::try_from(sum).map_err(|_| Fault::Chain)?;
        if bytes < rules.least {
            return Err(Fault::Chain);
        }
        self.list.push(Chain {
            place: Pieces::Several(first, self.begin()),
            bytes,
            written: 0,
            id,
            places,
        });
        Ok(())
    }

    /// Forgets the pieces of a buffer that is not whole.
    pub fn abandon(&mut self, first: u32) {
        self.pieces.truncate(first as usize);
    }

    /// Reads a table of descriptors. `split`: they are linked by number; else they follow each other (2.8.7).
    #[cold]
    pub fn table(&mut self, view: &mut View, rules: &Rules, table: Piece, split: bool) -> Result<(), Fault> {
        let count = table.len / DESC as u32;
        if !rules.indirect || count == 0 || !(table.len as usize).is_multiple_of(DESC) {
            return Err(Fault::Chain);
        }
        let mut at = 0;
        for _ in 0..count.min(rules.most) {
            let mut desc = [0; DESC];
            if !view.copy_out(table.at.wrapping_add(u64::from(at) * DESC as u64), &mut desc) {
                return Err(Fault::Address);
            }
            // What is checked from here on is this copy: the compiler, too, is not to read again.
            compiler_fence(Acquire);
            let [address, rest] = [&desc[..8], &desc[8..]].map(word);
            let (len, mut flags, next) = match split {
                true => (rest as u32, (rest >> 32) as u16, (rest >> 48) as u16),
                // Of a packed table's flags only WRITE means something (2.8.7), and that only where we write: DPDK's
                // virtio-user (22.11) sets it for the header of what it sends.
                false if rules.write => (rest as u32, (rest >> 48) as u16 & flag::WRITE, 0),
                false => (rest as u32, 0, 0),
            };
            if flags & flag::INDIRECT != 0 {
                return Err(Fault::Chain);
            }
            if !split && at + 1 < count {
                flags |= flag::NEXT;
            }
            self.piece(view, rules, flags, Piece { at: address, len })?;
            if flags & flag::NEXT == 0 {
                return Ok(());
            }
            at = if split { u32::from(next) } else { at + 1 };
            if at >= count {
                return Err(Fault::Descriptor);
            }
        }
        Err(Fault::Chain) // without end, or longer than the ring
    }
}

/// Whether a piece is for what the ring is for, and in the guest's memory.
#[inline(always)]
fn check(view: &mut View, rules: &Rules, flags: u16, piece: Piece) -> Result<(), Fault> {
    if (flags & flag::WRITE != 0) != rules.write {
        return Err(Fault::Chain);
    }
    let there = match rules.write {
        true => view.expect::<true>(piece.at, piece.len),
        false => view.expect::<false>(piece.at, piece.len),
    };
    there.then_some(()).ok_or(Fault::Address)
}

fn word(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |word, byte| word << 8 | u64::from(*byte))
}
