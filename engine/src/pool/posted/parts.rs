//! What devices need that give back in an order of their own, or put a frame into several buffers.

use super::{FOREIGN, Posted, Received};
use crate::pool::{Batch, LINE_SHIFT, Packet, PoolCache};
use std::ptr::NonNull;

/// A look at a completed buffer that is not a packet yet.
#[derive(Clone, Copy, Debug)]
pub struct Peek {
    data: NonNull<u8>,
    headroom: usize,
}

impl Peek {
    #[inline(always)]
    pub(super) fn at(base: NonNull<u8>, slot: u32, headroom: u16) -> Self {
        let headroom = if slot == FOREIGN { 0 } else { headroom.into() };
        let line = if slot == FOREIGN { 0 } else { slot as usize };
        // SAFETY: a slot's buffer lies in the arena, and its headroom in the buffer; with neither it is the arena's start.
        let data = unsafe { base.add((line << LINE_SHIFT) + headroom) };
        Self { data, headroom }
    }

    /// The address in this process where a received frame begins, as a number: what tests know a buffer by.
    #[inline(always)]
    pub fn place(self) -> usize {
        self.data.as_ptr() as usize
    }

    /// The `N` bytes right in front of where a received frame begins; zeros where the headroom is shorter.
    #[inline(always)]
    pub fn before<const N: usize>(self) -> [u8; N] {
        if N > self.headroom {
            return [0; N];
        }
        // SAFETY: the headroom is inside the buffer, in front of `data`. A device that writes to a buffer which it has
        // given back breaks the ring protocol; the bytes are then any bytes.
        unsafe { self.data.sub(N).cast::<[u8; N]>().read() }
    }
}

impl Posted {
    /// Exchanges what stands at two positions, for a device that gives back in another order than it was given.
    #[cold]
    pub fn swap(&mut self, a: u32, b: u32) {
        self.slots
            .swap((a & self.mask) as usize, (b & self.mask) as usize);
        for (index, _) in &mut self.foreign {
            if *index == a {
                *index = b;
            } else if *index == b {
                *index = a;
            }
        }
        let head = self.head;
        let by_age = |(index, _): &(u32, Packet)| index.wrapping_sub(head);
        self.foreign.make_contiguous().sort_unstable_by_key(by_age);
    }

    /// Takes the frame that stands in the `lens.len()` oldest buffers, as one packet at the back of `out`: the first part
    /// behind the headroom, each other one `prefix` bytes further to the front. A frame longer than `most` or than a
    /// buffer is discarded and counted. Nothing happens when `out` is full, or so many are not posted.
    #[cold]
    pub fn gather(
        &mut self,
        cache: &mut PoolCache,
        out: &mut Batch,
        most: u32,
        prefix: usize,
        lens: &[u32],
    ) -> Received {
        let (base, headroom, room) = (self.pool().base(), usize::from(self.headroom), self.room());
        let Some(first) = lens
            .first()
            .copied()
            .filter(|_| lens.len() <= self.len() as usize && out.room() > 0)
        else {
            return Received::default();
        };
        let total: u64 = lens.iter().map(|len| u64::from(*len)).sum();
        let fits = total > 0 && total <= u64::from(most) && total <= room as u64 && prefix <= headroom;
        if !fits {
            lens.iter().for_each(|_| self.recycle(cache, self.head));
            let lengths = 1;
            return Received {
                lengths,
                ..Received::default()
            };
        }
        let (slot, mut filled) = (self.get(self.head), first as usize);
        self.head = self.head.wrapping_add(1);
        // SAFETY: the slot was posted by us and leaves the ring here; the whole length was checked against the room.
        let packet = unsafe { Packet::from_slot(base, slot, total as u16, headroom as u16) };
        let to = packet.as_ptr().cast_mut();
        for len in &lens[1..] {
            let from = Peek::at(base, self.get(self.head), headroom as u16).data;
            // SAFETY: both are buffers of ours and not the same one. `filled + len` is at most the room behind the headroom of
            // the first; `len` is at most that too, and `prefix` at most the headroom of the other.
            unsafe {
                std::ptr::copy_nonoverlapping(from.sub(prefix).as_ptr(), to.add(filled), *len as usize);
            }
            filled += *len as usize;
            self.recycle(cache, self.head);
        }
        let _ = out.push(packet); // there is room
        Received {
            packets: 1,
            bytes: total,
            ..Received::default()
        }
    }
}
