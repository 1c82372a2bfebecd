//! The peer's memory: mapped, and reached only through checked ranges. All `unsafe` of the crate is here and below.
//!
//! The peer may write to it at any time. So no reference to it is ever made, except to atomics: words that mean
//! something to both sides are atomics, read once; frames are copied out and in as plain bytes, whose content nothing
//! here relies on.
#![allow(unsafe_code)]

pub(crate) mod barrier;
mod bus;
mod log;
mod mapping;
mod regions;
#[cfg(test)]
pub(crate) mod witness;

pub(crate) use log::Log;
pub(crate) use regions::{GuestMemory, Region};
use std::ptr::{NonNull, copy_nonoverlapping};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64};
#[cfg(test)]
pub(crate) use witness::Told;

/// A word that the peer may write to at any time. In tests its reads are told.
#[cfg(not(test))]
pub(crate) type Told<A> = A;

/// So many bytes were read there: for tests.
#[inline(always)]
fn tell(at: *const u8, len: usize) {
    #[cfg(test)]
    barline_conformance::witness::tell(at as usize, len);
    let _ = (at, len);
}

/// Words that both sides use: a part of one region, found by the front end's own address.
#[derive(Clone, Debug)]
pub(crate) struct Area {
    start: NonNull<u8>,
    len: usize,
    /// Where the guest has it.
    pub guest: u64,
    _memory: Arc<GuestMemory>,
}

// SAFETY: it points into a mapping that it keeps alive, and reaches it by atomics only.
unsafe impl Send for Area {}
// SAFETY: as above.
unsafe impl Sync for Area {}

impl Area {
    /// `len` bytes at `user`, aligned to `align`; none where no region has all of them.
    pub fn new(memory: &Arc<GuestMemory>, user: u64, len: usize, align: usize) -> Option<Self> {
        let fits = |region: &&Arc<Region>| {
            let offset = user.checked_sub(region.user);
            let left = offset.and_then(|offset| region.len().checked_sub(offset));
            left.is_some_and(|left| left >= len as u64)
        };
        let region = memory.regions.iter().find(fits)?;
        let offset = user - region.user;
        // SAFETY: `offset + len` is within the region (`fits`).
        let start = unsafe { region.mapping.start.add(offset as usize) };
        (start.as_ptr() as usize).is_multiple_of(align).then(|| Self {
            start,
            len,
            guest: region.guest + offset,
            _memory: memory.clone(),
        })
    }

    /// The place of a word. A wrong offset is this crate's mistake, never the peer's.
    #[inline(always)]
    fn at<T>(&self, offset: usize) -> *mut T {
        assert!(offset <= self.len - size_of::<T>() && offset.is_multiple_of(align_of::<T>()));
        // SAFETY: within the area.
        unsafe { self.start.add(offset).as_ptr().cast() }
    }

    #[inline(always)]
    pub fn u16(&self, offset: usize) -> &Told<AtomicU16> {
        // SAFETY: in the area, which lives as long as `self`; aligned, because areas start at 2 at least, and rings at
        // the alignment that `new` was given.
        unsafe { &*self.at(offset) }
    }

    #[inline(always)]
    pub fn u32(&self, offset: usize) -> &Told<AtomicU32> {
        // SAFETY: as `u16`; used rings start at 4.
        unsafe { &*self.at(offset) }
    }

    #[inline(always)]
    pub fn u64(&self, offset: usize) -> &Told<AtomicU64> {
        // SAFETY: as `u16`; descriptors start at 16.
        unsafe { &*self.at(offset) }
    }

    /// Asks the CPU to fetch the line of a word.
    #[inline(always)]
    pub fn prefetch(&self, offset: usize) {
        prefetch(self.at::<u8>(offset));
    }
}

/// The same, to be written: the other core's copy is asked for and given up at once.
#[inline(always)]
fn prefetch_to_write(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint; it faults on nothing, and CPUs that do not know it take it for a longer no-operation.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) at, options(nostack, preserves_flags));
    }
    let _ = at;
}

#[inline(always)]
fn prefetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint; it faults on nothing.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    let _ = at;
}

/// Bytes of the usual header.
pub(crate) const HEADER: usize = 12;

/// The peer's memory as a queue sees it: by the guest's addresses, and with the region it used last at hand.
#[derive(Debug)]
pub(crate) struct View {
    memory: Arc<GuestMemory>,
    start: u64,
    len: u64,
    host: NonNull<u8>,
}

// SAFETY: it points into a mapping that it keeps alive.
unsafe impl Send for View {}

impl View {
    pub fn new(memory: &Arc<GuestMemory>) -> Self {
        Self {
            memory: memory.clone(),
            start: 0,
            len: 0,
            host: NonNull::dangling(),
        }
    }

    /// Where `len` bytes of the guest are, if one region has them all.
    #[inline(always)]
    fn find(&mut self, guest: u64, len: usize) -> Option<NonNull<u8>> {
        let offset = guest.wrapping_sub(self.start);
        if offset < self.len && self.len - offset >= len as u64 {
            // SAFETY: within the region that is at hand.
            return Some(unsafe { self.host.add(offset as usize) });
        }
        self.look(guest, len)
    }

    #[cold]
    #[inline(never)]
    fn look(&mut self, guest: u64, len: usize) -> Option<NonNull<u8>> {
        let region = self.memory.find(guest)?;
        (self.start, self.len, self.host) = (region.guest, region.len(), region.mapping.start);
        let offset = guest - self.start;
        // SAFETY: `find` says that the address is in the region.
        (self.len - offset >= len as u64).then(|| unsafe { self.host.add(offset as usize) })
    }

    /// Whether the guest has these bytes. The CPU is asked to fetch the first two lines of them: those behind a header that are to be
    /// written, to write them. Stores are done one by one in their order, so that without it each would wait for its line by itself.
    #[inline(always)]
    pub fn expect<const WRITE: bool>(&mut self, guest: u64, len: u32) -> bool {
        match self.find(guest, len as usize) {
            Some(at) => {
                prefetch(at.as_ptr());
                if WRITE {
                    prefetch_to_write(at.as_ptr().wrapping_add(HEADER));
                } else {
                    prefetch(at.as_ptr().wrapping_add(64));
                }
                true
            }
            None => len == 0 || self.pieces(guest, len as usize, |_, _| ()),
        }
    }

    /// The parts of a range that lies in several regions, one behind the other; false where a part is in none.
    #[cold]
    #[inline(never)]
    fn pieces(&self, guest: u64, len: usize, mut each: impl FnMut(NonNull<u8>, usize)) -> bool {
        let (mut at, mut left) = (guest, len);
        while left > 0 {
            let Some(region) = self.memory.find(at) else {
                return false;
            };
            let part = region.from(at).map_or(0, |here| here.min(left as u64)) as usize;
            // SAFETY: `part` bytes from there are in the region.
            each(
                unsafe { region.mapping.start.add((at - region.guest) as usize) },
                part,
            );
            left -= part;
            at = at.wrapping_add(part as u64);
        }
        true
    }

    /// Copies from the guest; false, with `to` in any state, where the guest does not have these bytes.
    #[inline(always)]
    pub fn copy_out(&mut self, guest: u64, to: &mut [u8]) -> bool {
        if let Some(from) = self.find(guest, to.len()) {
            // SAFETY: the region has so many bytes there; the packet pool's memory is never in it, being another mapping.
            unsafe { copy(from.as_ptr(), to.as_mut_ptr(), to.len()) };
            tell(from.as_ptr(), to.len());
            return true;
        }
        let (mut to, len) = (to.as_mut_ptr(), to.len());
        self.pieces(guest, len, |from, part| {
            // SAFETY: parts sum up to the length of `to`; otherwise as above.
            unsafe {
                copy_nonoverlapping(from.as_ptr(), to, part);
                to = to.add(part);
            }
            tell(from.as_ptr(), part);
        })
    }

    /// Writes twelve bytes to the guest where others are there; false, with any part written, where the guest does not have
    /// them. Headers mostly are there, from the buffer's last use: then their line stays in the peer's cache, and who reads it does
    /// not wait for it.
    #[inline(always)]
    pub fn settle(&mut self, guest: u64, low: u64, high: u32) -> bool {
        let Some(there) = self.find(guest, HEADER) else {
            let bytes = [low as u32, (low >> 32) as u32, high].map(u32::to_le_bytes);
            return self.copy_in(guest, bytes.as_flattened());
        };
        let (first, second) = (there.cast::<u64>(), there.cast::<u32>());
        // SAFETY: the region has twelve bytes there.
        unsafe {
            let second = second.add(2);
            let differs = first.read_unaligned() != low.to_le() || second.read_unaligned() != high.to_le();
            tell(there.as_ptr(), 12);
            if differs {
                first.write_unaligned(low.to_le());
                second.write_unaligned(high.to_le());
            }
        }
        true
    }

    /// Copies to the guest; false, with any part copied, where the guest does not have these bytes.
    #[inline(always)]
    pub fn copy_in(&mut self, guest: u64, from: &[u8]) -> bool {
        if let Some(to) = self.find(guest, from.len()) {
            // SAFETY: as in `copy_out`.
            unsafe { copy(from.as_ptr(), to.as_ptr(), from.len()) };
            return true;
        }
        let (mut from, len) = (from.as_ptr(), from.len());
        self.pieces(guest, len, |to, part| {
            // SAFETY: parts sum up to the length of `from`; otherwise as above.
            unsafe {
                copy_nonoverlapping(from, to.as_ptr(), part);
                from = from.add(part);
            }
        })
    }
}

/// Copies, without a call for the lengths of short frames: 16 to 128 bytes are at most eight moves that overlap.
///
/// # Safety
/// As [`copy_nonoverlapping`].
#[inline(always)]
unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    type Block = [u64; 2];
    if !(16..=128).contains(&len) {
        // SAFETY: the caller's promise.
        return unsafe { copy_nonoverlapping(from, to, len) };
    }
    let mut at = 0;
    while at + 16 < len {
        // SAFETY: `at + 16 < len`.
        unsafe {
            to.add(at)
                .cast::<Block>()
                .write_unaligned(from.add(at).cast::<Block>().read_unaligned());
        }
        at += 16;
    }
    // SAFETY: the last 16 bytes, and `len` is 16 at least.
    unsafe {
        let last = from.add(len - 16).cast::<Block>().read_unaligned();
        to.add(len - 16).cast::<Block>().write_unaligned(last);
    }
}

#[cfg(test)]
mod tests;
