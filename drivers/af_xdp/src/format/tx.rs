//! Transmit: the transmit ring and the completion ring.

use super::{LINE, NONE, odd, options};
use crate::ids::Ids;
use crate::socket::Socket;
use crate::sys::ring::{Desc, Ring};
use crate::sys::umem::BASE;
use barline::mem::Iova;
use barline::ring::completion::{Format, Look};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Transmit: frames go down the transmit ring, in several pieces where they are longer than a chunk, and the addresses
/// of all pieces come back in the completion ring.
#[derive(Debug)]
pub(crate) struct Transmit {
    tx: Ring<Desc>,
    completion: Ring<AtomicU64>,
    positions: u32,
    ids: Ids,
    /// Descriptors of a packet, by id.
    pieces: Box<[u8]>,
    chunk: u32,
    /// Descriptors so far.
    tail: u32,
    /// The completion where the packet at a position begins, and its pieces: of the last that was looked at.
    at: (u32, u32, u32),
    /// Where the kernel is known to be.
    seen: u32,
    zero_copy: bool,
    socket: Option<Arc<Socket>>,
}

/// Pieces of the longest frame: an even power of two.
pub(crate) fn pieces(frame: u32, chunk: u32) -> u32 {
    frame.div_ceil(chunk).next_power_of_two()
}

impl Transmit {
    /// `positions`: packets; both rings have the descriptors for as many of the longest.
    pub fn new(
        (tx, completion): (Ring<Desc>, Ring<AtomicU64>),
        positions: u32,
        chunk: u32,
        zero_copy: bool,
        socket: Option<Arc<Socket>>,
    ) -> Self {
        Self {
            tx,
            completion,
            positions,
            ids: Ids::new(positions),
            pieces: vec![0; positions as usize].into_boxed_slice(),
            chunk,
            tail: 0,
            at: (0, 0, 0),
            seen: 0,
            zero_copy,
            socket,
        }
    }

    #[inline(always)]
    fn write(&mut self, address: u64, len: u32, options: u32) {
        let desc = self.tx.at(self.tail);
        desc.addr.store(address, Relaxed);
        desc.len.store(len, Relaxed);
        desc.options.store(options, Relaxed);
        self.tail = self.tail.wrapping_add(1);
    }

    /// A frame that is longer than a chunk.
    #[cold]
    fn cut(&mut self, address: u64, len: u32) -> u8 {
        let (mut done, mut pieces) = (0, 0);
        while done < len {
            let part = (len - done).min(self.chunk);
            let options = if done + part < len { libc::XDP_PKT_CONTD } else { 0 };
            self.write(address + u64::from(done), part, options);
            done += part;
            pieces += 1;
        }
        pieces
    }

    /// The index of the completion at a position.
    #[inline(always)]
    fn index(&mut self, at: u32) -> u32 {
        let (last, index, pieces) = self.at;
        if at != last {
            // The next one: positions are asked for in order.
            self.at = (at, index.wrapping_add(pieces), 0);
        }
        self.at.1
    }
}

impl Format for Transmit {
    const PREFIX: usize = 0;
    /// An Ethernet header.
    const SHORTEST: u32 = 14;

    #[inline(always)]
    fn positions(&self) -> u32 {
        self.positions
    }

    #[inline(always)]
    fn post(&mut self, at: u32, id: u16, buffer: Iova, len: u32) {
        let address = buffer.raw().wrapping_sub(BASE);
        let pieces = if len <= self.chunk {
            self.write(address, len, 0);
            1
        } else {
            self.cut(address, len)
        };
        self.ids.put(at, id, address & LINE);
        self.pieces[usize::from(id)] = pieces;
    }

    #[inline(always)]
    fn publish(&mut self, _from: u32, _to: u32) -> bool {
        // Release: descriptors and frames before the index that announces them.
        self.tx.producer().store(self.tail, Release);
        self.tx.flags().load(Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }

    #[inline(always)]
    fn look(&mut self, at: u32, tail: u32) -> Look {
        let index = self.index(at);
        if index == self.seen {
            self.completion.consumer().store(index, Release);
            // Acquire: before the loads of what it announces, and before the buffers are used again.
            self.seen = self.completion.producer().load(Acquire);
            let ahead = self.seen.wrapping_sub(index);
            if ahead > self.tail.wrapping_sub(index) {
                self.seen = index;
                return odd(self.socket.as_ref(), Look::Overrun);
            }
            if ahead == 0 {
                return Look::Pending;
            }
        }
        let address = self.completion.at(index).load(Relaxed);
        let Some(id) = self.ids.find(address & LINE, at, tail) else {
            return odd(self.socket.as_ref(), Look::Done { id: NONE, len: 0 });
        };
        let pieces = u32::from(self.pieces[usize::from(id)]);
        if self.seen.wrapping_sub(index) < pieces {
            // Pieces are completed together; but nothing is taken from that.
            let fresh = self.completion.producer().load(Acquire);
            if fresh.wrapping_sub(index) < pieces {
                return Look::Pending;
            }
            self.seen = fresh;
        }
        self.at.2 = pieces;
        Look::Done {
            id: id.into(),
            len: 0,
        }
    }

    fn is_pending(&self, _at: u32) -> bool {
        self.completion.producer().load(Acquire) == self.seen
    }

    fn renumber(&mut self, at: u32, id: u16) {
        self.ids.renumber(at, id);
    }

    /// Descriptors and completions are in one order: from the last completion on, so many of them as packets have pieces.
    fn describe(&self, at: u32) -> Option<String> {
        let (known, index, _) = self.at;
        let ahead = at.wrapping_sub(known);
        if ahead >= self.positions {
            return None; // completed
        }
        let pieces = |at: u32| u32::from(self.pieces[usize::from(self.ids.id(at))]);
        let before = (0..ahead).map(|ahead| pieces(known.wrapping_add(ahead)));
        let first = before.fold(index, u32::wrapping_add);
        let desc = self.tx.at(first);
        Some(format!(
            "tx entry {}: address {:#x}, length {}, {}",
            first & (self.tx.len() - 1),
            desc.addr.load(Relaxed),
            desc.len.load(Relaxed),
            options(desc.options.load(Relaxed)),
        ))
    }

    /// In copy mode the flag is always set: there it counts whether the kernel has left something in the ring.
    #[inline(always)]
    fn needs_wakeup(&self) -> bool {
        self.tx.flags().load(Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
            && (self.zero_copy || self.tx.consumer().load(Relaxed) != self.tail)
    }
}
