use super::LINE_SHIFT;
use super::pool::Inner;
use crate::mem::ARENA;
use crate::offload::{Checksum, Offload};
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// A packet: the only owner of one buffer of a pool.
///
/// 16 bytes, `Send`, not `Clone`. Handing it to a ring is a move, so neither use after transmit nor a double free
/// can be written down. A packet that is dropped goes back to its pool by the slow way; loops give back in bulk
/// ([`super::PoolCache::free`]).
#[repr(C)]
pub struct Packet {
    data: NonNull<u8>,
    pub(super) slot: u32,
    pub(super) len: u16,
    /// Bytes free in front, and [`FLAG`].
    pub(super) headroom: u16,
}

/// In a handle's headroom: the pool has a record of the packet's offload. A handle that is made anew has none.
const FLAG: u16 = 1 << 15;
/// Most bytes in front of a packet.
pub(super) const MOST_HEADROOM: usize = (FLAG - 1) as usize;

const _: () = assert!(size_of::<Packet>() == 16 && size_of::<Option<Packet>>() == 16);

// SAFETY: a packet is the only owner of its buffer, and the pool behind it is shared safely between threads.
unsafe impl Send for Packet {}
// SAFETY: `&Packet` only reads the buffer.
unsafe impl Sync for Packet {}

impl Packet {
    /// # Safety
    /// `slot` is owned by the caller and given up; `base` is the arena of its pool, and `headroom + len` is within
    /// the pool's buffer size. `headroom` is at most [`MOST_HEADROOM`].
    #[inline(always)]
    pub(super) unsafe fn from_slot(base: NonNull<u8>, slot: u32, len: u16, headroom: u16) -> Self {
        // SAFETY: the buffer lies in the arena (caller).
        let data = unsafe { base.add(((slot as usize) << LINE_SHIFT) + headroom as usize) };
        Self {
            data,
            slot,
            len,
            headroom,
        }
    }

    #[inline(always)]
    pub(super) fn slot(&self) -> u32 {
        self.slot
    }

    /// Gives up the packet for its slot.
    #[inline(always)]
    pub(super) fn into_slot(self) -> u32 {
        ManuallyDrop::new(self).slot
    }

    #[inline(always)]
    pub(super) fn arena(&self) -> usize {
        self.data.as_ptr() as usize & !(ARENA - 1)
    }

    #[inline(always)]
    pub(super) fn address(&self) -> u64 {
        self.data.as_ptr() as u64
    }

    fn pool(&self) -> &Inner {
        // SAFETY: the arena's first word is the pool's address; the pool lives as long as any of its slots is out.
        unsafe { Inner::of_arena(self.arena()) }
    }

    /// Length in bytes.
    #[inline(always)]
    #[expect(clippy::len_without_is_empty, reason = "Deref gives is_empty")]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Bytes free before the first one.
    pub fn headroom(&self) -> usize {
        (self.headroom & !FLAG) as usize
    }

    #[inline(always)]
    fn set_headroom(&mut self, headroom: usize) {
        debug_assert!(headroom <= MOST_HEADROOM);
        self.headroom = headroom as u16 | self.headroom & FLAG;
    }

    /// Whether something of it is left to a device, or was done by one: [`Packet::offload`] says what.
    #[inline(always)]
    pub fn has_offload(&self) -> bool {
        self.headroom & FLAG != 0
    }

    /// What is left to a device to do with it, or was done by one. It stays with the packet through moves and rings, and where
    /// it is in the content when the packet grows or shrinks at its front ([`Packet::prepend`], [`Packet::trim_front`]).
    pub fn offload(&self) -> Offload {
        match self.has_offload() {
            true => self.pool().offload(self.slot, self.headroom()),
            false => Offload::default(),
        }
    }

    /// Says what is left to a device, or was done by one. Nothing is looked at here: a transmit queue checks it, does what it
    /// can, and drops and counts what cannot be (`tx_offload`). The first call of a pool makes the table for it.
    pub fn set_offload(&mut self, offload: Offload) {
        if offload == Offload::default() {
            self.headroom &= !FLAG;
            return;
        }
        self.pool().set_offload(self.slot, self.headroom(), offload);
        self.headroom |= FLAG;
    }

    /// Bytes free after the last one.
    pub fn tailroom(&self) -> usize {
        (self.pool().buffer_len() - self.headroom()).saturating_sub(self.len as usize)
    }

    /// Makes the packet `bytes` longer at the front and returns the new part; `None` when the headroom is short.
    pub fn prepend(&mut self, bytes: usize) -> Option<&mut [u8]> {
        let (headroom, len) = (
            self.headroom().checked_sub(bytes)?,
            self.len().checked_add(bytes)?,
        );
        self.len = u16::try_from(len).ok()?;
        self.set_headroom(headroom);
        // SAFETY: `bytes` is at most the headroom, so the new start is inside the buffer.
        self.data = unsafe { self.data.sub(bytes) };
        self.get_mut(..bytes)
    }

    /// Writes `bytes` zeros in front of the first byte; `false` when the headroom is short, or the packet has an offload, which
    /// zeros would deny (but for 0 bytes, which say nothing). The packet stays as it is.
    #[inline(always)]
    pub(super) fn clear_front(&mut self, bytes: usize) -> bool {
        // With the flag it is less than nothing.
        if bytes > 0 && bytes as isize > (self.headroom as i16).into() {
            return false;
        }
        // SAFETY: `bytes` is at most the headroom, so all of it is inside the buffer, which this packet owns.
        let front = unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr().sub(bytes), bytes) };
        // Mostly it is zeros, from the last use. Where a device that is a core reads them, their line stays with it.
        let (words, odd) = front.as_chunks::<4>();
        let words = words.iter().fold(0, |sum, word| sum | u32::from_ne_bytes(*word));
        if odd.iter().fold(words, |sum, byte| sum | u32::from(*byte)) != 0 {
            front.fill(0);
        }
        true
    }

    /// The `bytes` in front of the first byte, to write there; `None` when the headroom is short.
    pub(crate) fn front(&mut self, bytes: usize) -> Option<&mut [u8]> {
        if bytes > self.headroom() {
            return None;
        }
        // SAFETY: `bytes` is at most the headroom, so all of it is inside the buffer, which this packet owns.
        Some(unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr().sub(bytes), bytes) })
    }

    /// Makes sure that there are `bytes` free in front: where the headroom is short, the content moves back.
    pub(super) fn make_room(&mut self, bytes: usize) -> bool {
        let short = bytes.saturating_sub(self.headroom());
        if short > 0 {
            let (len, offload) = (self.len(), self.offload());
            if self.append(short).is_none() {
                return false;
            }
            self.copy_within(..len, short);
            self.set_offload(Offload::default());
            let cut = self.trim_front(short);
            debug_assert!(cut.is_some(), "it was made longer by as much");
            self.set_offload(offload); // it is about the content, which has moved
        }
        true
    }

    /// Takes `bytes` off the front; `None`, and nothing is taken, when the packet is shorter, or when these bytes are part of
    /// what a checksum is still to be made of ([`Checksum::Partial`]).
    pub fn trim_front(&mut self, bytes: usize) -> Option<()> {
        let len = self.len().checked_sub(bytes)?;
        if self.has_offload() && !self.may_lose(bytes) {
            return None;
        }
        let headroom = self.headroom() + bytes;
        if headroom > MOST_HEADROOM {
            return self.pull_front(bytes);
        }
        self.set_headroom(headroom);
        self.len = len as u16;
        // SAFETY: `bytes` is at most the length, so the new start is inside the buffer or at its end.
        self.data = unsafe { self.data.add(bytes) };
        Some(())
    }

    #[cold]
    fn may_lose(&self, bytes: usize) -> bool {
        match self.offload().checksum {
            Checksum::Partial { start, .. } => bytes <= start.into(),
            _ => true,
        }
    }

    /// The front of a very long packet is cut off by moving the rest: a handle cannot say so much headroom.
    #[cold]
    fn pull_front(&mut self, bytes: usize) -> Option<()> {
        let mut offload = self.offload();
        let back = |place: &mut u16| *place = place.saturating_sub(bytes as u16);
        if let Checksum::Partial { start, .. } = &mut offload.checksum {
            back(start);
        }
        if let Some(segmentation) = &mut offload.segmentation {
            back(&mut segmentation.header);
        }
        self.copy_within(bytes.., 0);
        self.len -= bytes as u16;
        self.set_offload(offload);
        Some(())
    }

    /// Makes the packet `bytes` longer at the end and returns the new part (its old content is whatever the buffer
    /// held); `None` when the tailroom is short.
    pub fn append(&mut self, bytes: usize) -> Option<&mut [u8]> {
        if bytes > self.tailroom() {
            return None;
        }
        let old = self.len();
        self.len = u16::try_from(old.checked_add(bytes)?).ok()?;
        self.get_mut(old..)
    }

    /// Shortens the packet to `len` bytes; longer stays as it is. A checksum that is still to be made is made of what is left.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(u16::try_from(len).unwrap_or(u16::MAX));
    }

    /// Replaces the content, and forgets its offload; `false`, and nothing changes, when the buffer is too short.
    pub fn set(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() > self.len() + self.tailroom() || bytes.len() > u16::MAX as usize {
            return false;
        }
        self.headroom &= !FLAG;
        self.len = bytes.len() as u16;
        self.copy_from_slice(bytes);
        true
    }

    /// Replaces content and offload by those of another packet; `false`, and nothing changes, when the buffer is too short.
    pub fn copy_of(&mut self, other: &Self) -> bool {
        let good = self.set(other);
        if good {
            self.set_offload(other.offload());
        }
        good
    }

    /// Asks the CPU to fetch the first line, for reading and writing soon.
    #[inline(always)]
    pub fn prefetch(&self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch is a hint; it reads nothing the program sees and faults on nothing.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(self.data.as_ptr().cast());
        }
    }
}

impl Deref for Packet {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        // SAFETY: the buffer is initialised memory (zeroed pages), `headroom + len` is within it, and this packet
        // is its only owner: it is in no ring, so no device writes to it.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.len as usize) }
    }
}

impl DerefMut for Packet {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.len as usize) }
    }
}

impl Drop for Packet {
    #[cold]
    #[inline(never)]
    fn drop(&mut self) {
        let slot = self.slot;
        self.pool().give(&[slot]);
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Packet({} bytes, headroom {}, slot {:#x})",
            self.len,
            self.headroom(),
            self.slot
        )
    }
}
