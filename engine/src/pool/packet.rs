use super::LINE_SHIFT;
use super::pool::Inner;
use crate::mem::ARENA;
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
    pub(super) headroom: u16,
}

const _: () = assert!(size_of::<Packet>() == 16 && size_of::<Option<Packet>>() == 16);

// SAFETY: a packet is the only owner of its buffer, and the pool behind it is shared safely between threads.
unsafe impl Send for Packet {}
// SAFETY: `&Packet` only reads the buffer.
unsafe impl Sync for Packet {}

impl Packet {
    /// # Safety
    /// `slot` is owned by the caller and given up; `base` is the arena of its pool, and `headroom + len` is within
    /// the pool's buffer size.
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
        self.headroom as usize
    }

    /// Bytes free after the last one.
    pub fn tailroom(&self) -> usize {
        (self.pool().buffer_len() - self.headroom as usize).saturating_sub(self.len as usize)
    }

    /// Makes the packet `bytes` longer at the front and returns the new part; `None` when the headroom is short.
    pub fn prepend(&mut self, bytes: usize) -> Option<&mut [u8]> {
        let (headroom, len) = (
            self.headroom().checked_sub(bytes)?,
            self.len().checked_add(bytes)?,
        );
        self.len = u16::try_from(len).ok()?;
        self.headroom = headroom as u16;
        // SAFETY: `bytes` is at most the headroom, so the new start is inside the buffer.
        self.data = unsafe { self.data.sub(bytes) };
        self.get_mut(..bytes)
    }

    /// Writes `bytes` zeros in front of the first byte; `false` when the headroom is short. The packet stays as it is.
    #[inline(always)]
    pub(super) fn clear_front(&mut self, bytes: usize) -> bool {
        if bytes > self.headroom as usize {
            return false;
        }
        // SAFETY: `bytes` is at most the headroom, so all of it is inside the buffer, which this packet owns.
        unsafe { self.data.sub(bytes).write_bytes(0, bytes) };
        true
    }

    /// The same; where the headroom is short, the content moves back.
    pub(super) fn make_front(&mut self, bytes: usize) -> bool {
        let short = bytes.saturating_sub(self.headroom());
        if short > 0 {
            let len = self.len();
            if self.append(short).is_none() {
                return false;
            }
            self.copy_within(..len, short);
            self.trim_front(short);
        }
        self.clear_front(bytes)
    }

    /// Takes `bytes` off the front; `None`, and nothing is taken, when the packet is shorter.
    pub fn trim_front(&mut self, bytes: usize) -> Option<()> {
        let len = self.len().checked_sub(bytes)?;
        self.headroom = u16::try_from(self.headroom() + bytes).ok()?;
        self.len = len as u16;
        // SAFETY: `bytes` is at most the length, so the new start is inside the buffer or at its end.
        self.data = unsafe { self.data.add(bytes) };
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

    /// Shortens the packet to `len` bytes; longer stays as it is.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(u16::try_from(len).unwrap_or(u16::MAX));
    }

    /// Replaces the content; `false`, and nothing changes, when the buffer is too short.
    pub fn set(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() > self.len() + self.tailroom() || bytes.len() > u16::MAX as usize {
            return false;
        }
        self.len = bytes.len() as u16;
        self.copy_from_slice(bytes);
        true
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
            self.len, self.headroom, self.slot
        )
    }
}
