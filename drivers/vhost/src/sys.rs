//! The peer's memory: mapped, and reached only through checked ranges. All `unsafe` of the crate is here.
//!
//! The peer may write to it at any time. So no reference to it is ever made, except to atomics: words that mean
//! something to both sides are atomics, read once; frames are copied out and in as plain bytes, whose content nothing
//! here relies on.
#![allow(unsafe_code)]

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::sys::stat::fstat;
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::{NonNull, copy_nonoverlapping};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// A part of a file, mapped shared. Unmapped when it is dropped.
#[derive(Debug)]
struct Mapping {
    base: NonNull<u8>,
    mapped: usize,
    /// The first byte that was asked for.
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: it is memory, the same for all threads; all accesses are atomic or copies of bytes without meaning.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// `len` bytes of `file` from `offset` on. The file must have them: an access beyond its end is SIGBUS.
    fn new(file: &File, offset: u64, len: u64) -> io::Result<Self> {
        let wrong = |text: &str| io::Error::new(io::ErrorKind::InvalidInput, text.to_owned());
        // Before its length is looked at: from here on it cannot be made shorter, where the peer has left that to be chosen.
        let sealed = fcntl(file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK));
        if let Err(errno) = sealed {
            tracing::debug!(%errno, "the peer can make its memory shorter");
        }
        let stat = fstat(file)?;
        let end = offset
            .checked_add(len)
            .ok_or_else(|| wrong("a range that wraps"))?;
        if len == 0 || u64::try_from(stat.st_size).unwrap_or(0) < end {
            return Err(wrong("a range that the file does not have"));
        }
        // Huge pages are mapped and unmapped whole; their size is the file's block size.
        let block = u64::try_from(stat.st_blksize).unwrap_or(0);
        let page = if block.is_power_of_two() {
            block.max(4096)
        } else {
            4096
        };
        let from = offset & !(page - 1);
        let whole = (end - from).checked_next_multiple_of(page);
        let whole = whole.and_then(|whole| usize::try_from(whole).ok());
        let mapped = whole
            .and_then(NonZeroUsize::new)
            .ok_or_else(|| wrong("too long"))?;
        let at = i64::try_from(from).map_err(|_| wrong("too far"))?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_NORESERVE;
        // SAFETY: a new mapping, wherever the kernel likes: nothing else is there.
        let base = unsafe { mmap(None, mapped, access, flags, file.as_fd(), at) }?.cast::<u8>();
        // SAFETY: `offset - from + len` is within the mapping.
        let start = unsafe { base.add((offset - from) as usize) };
        Ok(Self {
            base,
            mapped: mapped.get(),
            start,
            len: len as usize,
        })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: made in `new` with this length; whoever keeps a pointer into it keeps it alive.
        if let Err(errno) = unsafe { munmap(self.base.cast(), self.mapped) } {
            tracing::warn!(%errno, "the peer's memory stays mapped");
        }
    }
}

/// One region of the peer's memory.
#[derive(Debug)]
pub(crate) struct Region {
    mapping: Mapping,
    /// Its address in the guest (descriptors).
    pub guest: u64,
    /// Its address in the front end's process (rings).
    pub user: u64,
}

impl Region {
    /// Maps it.
    ///
    /// # Errors
    /// A range that wraps or that the file does not have; the kernel's word.
    pub fn new(file: &File, offset: u64, len: u64, guest: u64, user: u64) -> io::Result<Self> {
        if guest.checked_add(len).is_none() || user.checked_add(len).is_none() {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let mapping = Mapping::new(file, offset, len)?;
        Ok(Self { mapping, guest, user })
    }

    pub fn len(&self) -> u64 {
        self.mapping.len as u64
    }

    /// Bytes of this region from the guest's address `at` on; none where it is not in here.
    fn from(&self, at: u64) -> Option<u64> {
        let offset = at.checked_sub(self.guest)?;
        self.len().checked_sub(offset).filter(|left| *left > 0)
    }
}

/// All of the peer's memory at one time. Does not change; a change is another of these.
#[derive(Clone, Debug, Default)]
pub(crate) struct GuestMemory {
    regions: Vec<Arc<Region>>,
}

impl GuestMemory {
    /// The same with one region more; none where it overlaps another one.
    pub fn with(&self, region: Region) -> Option<Self> {
        let apart = |other: &Arc<Region>| {
            region.guest + region.len() <= other.guest || other.guest + other.len() <= region.guest
        };
        self.regions.iter().all(apart).then(|| {
            let mut regions = self.regions.clone();
            regions.push(Arc::new(region));
            Self { regions }
        })
    }

    /// The same without the region of this place and length; none where there is no such region.
    pub fn without(&self, guest: u64, user: u64, len: u64) -> Option<Self> {
        let is = |region: &Arc<Region>| (region.guest, region.user, region.len()) == (guest, user, len);
        let at = self.regions.iter().position(is)?;
        let mut regions = self.regions.clone();
        regions.remove(at);
        Some(Self { regions })
    }

    pub fn regions(&self) -> usize {
        self.regions.len()
    }

    fn find(&self, guest: u64) -> Option<&Region> {
        let here = |region: &&Arc<Region>| region.from(guest).is_some();
        self.regions.iter().find(here).map(|region| &**region)
    }
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
    pub fn u16(&self, offset: usize) -> &AtomicU16 {
        // SAFETY: in the area, which lives as long as `self`; aligned, because areas start at 2 at least, and rings at
        // the alignment that `new` was given.
        unsafe { AtomicU16::from_ptr(self.at(offset)) }
    }

    #[inline(always)]
    pub fn u32(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: as `u16`; used rings start at 4.
        unsafe { AtomicU32::from_ptr(self.at(offset)) }
    }

    #[inline(always)]
    pub fn u64(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: as `u16`; descriptors start at 16.
        unsafe { AtomicU64::from_ptr(self.at(offset)) }
    }

    /// Asks the CPU to fetch the line of a word.
    #[inline(always)]
    pub fn prefetch(&self, offset: usize) {
        prefetch::<false>(self.at::<u8>(offset));
    }
}

#[inline(always)]
fn prefetch<const WRITE: bool>(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint; it faults on nothing.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_ET0, _MM_HINT_T0, _mm_prefetch};
        if WRITE {
            _mm_prefetch::<_MM_HINT_ET0>(at.cast());
        } else {
            _mm_prefetch::<_MM_HINT_T0>(at.cast());
        }
    }
    let _ = at;
}

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

    /// Whether the guest has these bytes; asks the CPU to fetch the first two lines of them.
    #[inline(always)]
    pub fn expect<const WRITE: bool>(&mut self, guest: u64, len: u32) -> bool {
        match self.find(guest, len as usize) {
            Some(at) => {
                prefetch::<WRITE>(at.as_ptr());
                prefetch::<WRITE>(at.as_ptr().wrapping_add(64));
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
            return true;
        }
        let (mut to, len) = (to.as_mut_ptr(), to.len());
        self.pieces(guest, len, |from, part| {
            // SAFETY: parts sum up to the length of `to`; otherwise as above.
            unsafe {
                copy_nonoverlapping(from.as_ptr(), to, part);
                to = to.add(part);
            }
        })
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

/// Bytes of a page in the log of writes (vhost-user, "Migration").
const LOG_PAGE: u64 = 4096;

/// The log of pages that were written: a bit each, shared with who copies the guest's memory.
#[derive(Debug)]
pub(crate) struct Log(Mapping);

impl Log {
    /// Maps it.
    ///
    /// # Errors
    /// As [`Region::new`].
    pub fn new(file: &File, offset: u64, len: u64) -> io::Result<Self> {
        Mapping::new(file, offset, len).map(Self)
    }

    /// Bytes at the guest's address `at` were written. After the write: a bit that is taken before it would lose it.
    pub fn mark(&self, at: u64, len: u64) {
        if len == 0 {
            return;
        }
        for page in at / LOG_PAGE..=at.saturating_add(len - 1) / LOG_PAGE {
            let byte = page / 8;
            if byte >= self.0.len as u64 {
                return; // the log is for less memory than there is: nobody asks for the rest
            }
            // SAFETY: within the mapping, which lives as long as `self`; a byte is always aligned.
            let bits = unsafe { AtomicU8::from_ptr(self.0.start.add(byte as usize).as_ptr()) };
            bits.fetch_or(1 << (page % 8), Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use proptest::prelude::*;
    use std::os::unix::fs::FileExt;

    fn file(len: u64) -> File {
        let file = File::from(memfd_create(c"test", MFdFlags::MFD_CLOEXEC).unwrap());
        file.set_len(len).unwrap();
        file
    }

    /// Two regions that touch, and one apart.
    fn memory(file: &File) -> Arc<GuestMemory> {
        let region = |offset, guest| Region::new(file, offset, 4096, guest, 0x7000_0000 + guest).unwrap();
        let memory = GuestMemory::default().with(region(0, 0x1000)).unwrap();
        let memory = memory.with(region(8192, 0x2000)).unwrap();
        assert!(memory.with(region(4096, 0x2fff)).is_none(), "it overlaps");
        Arc::new(memory.with(region(4096, 0x9000)).unwrap())
    }

    #[test]
    fn only_what_the_file_has_is_mapped() {
        let file = file(8192);
        assert!(Region::new(&file, 4096, 4097, 0, 0).is_err());
        assert!(Region::new(&file, u64::MAX, 4096, 0, 0).is_err());
        assert!(Region::new(&file, 0, 0, 0, 0).is_err());
        assert!(Region::new(&file, 0, 4096, u64::MAX - 5, 0).is_err());
        // Not at a page: regions of a front end may start anywhere.
        file.write_at(&[7; 8], 100).unwrap();
        let region = Region::new(&file, 100, 200, 0, 0).unwrap();
        let memory = Arc::new(GuestMemory::default().with(region).unwrap());
        let (mut view, mut bytes) = (View::new(&memory), [0; 8]);
        assert!(view.copy_out(0, &mut bytes) && bytes == [7; 8]);
        assert!(!view.copy_out(193, &mut bytes));
    }

    #[test]
    fn memory_that_can_be_sealed_stays_as_long_as_it_is() {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let file = File::from(memfd_create(c"test", flags).unwrap());
        file.set_len(8192).unwrap();
        let _region = Region::new(&file, 0, 8192, 0, 0).unwrap();
        file.set_len(4096).expect_err("sealed");
        file.set_len(12288).unwrap();
    }

    #[test]
    fn areas_are_whole_and_aligned() {
        let file = file(12288);
        let memory = memory(&file);
        let user = 0x7000_0000;
        assert!(Area::new(&memory, user + 0x1ff0, 32, 16).is_none(), "two regions");
        assert!(Area::new(&memory, user + 0x1002, 32, 4).is_none());
        assert!(Area::new(&memory, 0x1000, 32, 4).is_none());
        let area = Area::new(&memory, user + 0x9010, 16, 16).unwrap();
        assert_eq!(area.guest, 0x9010);
        area.u32(4).store(0x0102_0304, Ordering::Relaxed);
        let mut bytes = [0; 4];
        file.read_at(&mut bytes, 4096 + 0x14).unwrap();
        assert_eq!(bytes, [4, 3, 2, 1]);
    }

    #[test]
    fn pages_are_marked() {
        let file = file(4096);
        let log = Log::new(&file, 0, 2).unwrap();
        log.mark(0x0fff, 2);
        log.mark(0xffff, 1);
        log.mark(0xffff, 0x10000);
        log.mark(u64::MAX - 1, 5);
        let mut bytes = [0; 3];
        file.read_at(&mut bytes, 0).unwrap();
        assert_eq!(bytes, [0b11, 0b1000_0000, 0]);
    }

    proptest! {
        #[test]
        fn what_is_copied_is_what_is_there(at in 0u64..0x4000, len in 0usize..5000) {
            let file = file(12288);
            let content: Vec<u8> = (0..12288u32).map(|n| (n * 7 + n / 256) as u8).collect();
            file.write_at(&content, 0).unwrap();
            let memory = memory(&file);
            let flat = [&content[..4096], &content[8192..]].concat();
            let (mut view, mut bytes) = (View::new(&memory), vec![0; len]);
            let inside = len == 0 || (at >= 0x1000 && at + len as u64 <= 0x3000);
            prop_assert_eq!(view.expect::<false>(at, len as u32), inside);
            prop_assert_eq!(view.copy_out(at, &mut bytes), inside);
            if inside && len > 0 {
                let from = at as usize - 0x1000;
                prop_assert_eq!(&bytes[..], &flat[from..from + len]);
                bytes.reverse();
                prop_assert!(view.copy_in(at, &bytes));
                let mut again = vec![0; len];
                prop_assert!(view.copy_out(at, &mut again));
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
