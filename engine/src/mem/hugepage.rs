//! Mappings of whole pages.

use super::{MemoryError, PageSize, Source, free_huge_pages};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, mmap_anonymous, munmap};
use std::alloc::Layout;
use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;

/// One mapping of whole pages, before it becomes a [`super::Memory`].
pub(super) struct Pages {
    pub ptr: NonNull<u8>,
    pub len: usize,
    pub size: PageSize,
    pub fd: Option<OwnedFd>,
}

/// Maps `len` bytes (rounded up to whole pages), at `fixed` when given, and makes them fit for DMA.
///
/// # Safety
/// `fixed..fixed + len rounded up` is address space the caller reserved and nobody uses.
pub(super) unsafe fn map_pages(
    source: Source,
    size: PageSize,
    len: usize,
    fixed: Option<NonNull<u8>>,
) -> Result<Pages, MemoryError> {
    let bad = MemoryError::BadLength(len, isize::MAX as usize);
    let rounded = len.checked_next_multiple_of(size.bytes());
    let Some(wanted) = rounded
        .and_then(NonZeroUsize::new)
        .filter(|len| len.get() <= isize::MAX as usize)
    else {
        return Err(bad);
    };
    let len = wanted.get();
    let (ptr, fd) = match source {
        // SAFETY: the caller's promise about `fixed`.
        Source::Private => (unsafe { map_private(wanted, fixed) }?, None),
        // SAFETY: the caller's promise about `fixed`.
        _ => unsafe { map_memfd(size, wanted, fixed) }.map(|(ptr, fd)| (ptr, Some(fd)))?,
    };
    // A fork would make the parent's next write move the page away from under the device.
    // SAFETY: exactly the mapping made above.
    let advised = unsafe { madvise(ptr.cast::<c_void>(), len, MmapAdvise::MADV_DONTFORK) };
    if let Err(errno) = advised {
        // SAFETY: exactly the mapping made above; nobody has seen it yet.
        let _ = unsafe { munmap(ptr.cast::<c_void>(), len) };
        return Err(MemoryError::os("keep DMA memory out of forks (madvise)", errno));
    }
    Ok(Pages { ptr, len, size, fd })
}

/// # Safety
/// See [`map_pages`].
unsafe fn map_memfd(
    size: PageSize,
    len: NonZeroUsize,
    fixed: Option<NonNull<u8>>,
) -> Result<(NonNull<u8>, OwnedFd), MemoryError> {
    let huge = match size {
        PageSize::Base4K => MFdFlags::empty(),
        PageSize::Huge2M => MFdFlags::MFD_HUGETLB | MFdFlags::MFD_HUGE_2MB,
        PageSize::Huge1G => MFdFlags::MFD_HUGETLB | MFdFlags::MFD_HUGE_1GB,
    };
    let fd = memfd_create(
        c"barline",
        MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING | huge,
    )
    .map_err(|e| MemoryError::os("make a memfd for DMA memory", e))?;
    nix::unistd::ftruncate(&fd, len.get() as i64).map_err(|e| MemoryError::os("size a memfd", e))?;
    // Another process that it is shared with must not be able to cut it off under our feet.
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&fd, FcntlArg::F_ADD_SEALS(seals)).map_err(|e| MemoryError::os("seal a memfd", e))?;
    let flags = MapFlags::MAP_SHARED | fixed.map_or(MapFlags::empty(), |_| MapFlags::MAP_FIXED);
    let at = fixed.and_then(|p| NonZeroUsize::new(p.as_ptr() as usize));
    // SAFETY: without `fixed` the kernel picks free address space; with it, the caller reserved the range.
    let ptr = unsafe {
        mmap(
            at,
            len,
            ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
            flags,
            &fd,
            0,
        )
    }
    .map_err(|e| MemoryError::os("map DMA memory", e))?;
    Ok((ptr.cast(), fd))
}

/// # Safety
/// See [`map_pages`].
unsafe fn map_private(len: NonZeroUsize, fixed: Option<NonNull<u8>>) -> Result<NonNull<u8>, MemoryError> {
    let no_pages = || MemoryError::TooFewHugePages {
        size: PageSize::Huge2M,
        need: len.get().div_ceil(PageSize::Huge2M.bytes()),
        free: free_huge_pages(PageSize::Huge2M).free,
        remedy: PageSize::Huge2M
            .remedy(len.get().div_ceil(PageSize::Huge2M.bytes()))
            .replace("-a ", ""),
    };
    // The crate panics where the kernel has no huge pages at all.
    if free_huge_pages(PageSize::Huge2M).total == 0 {
        return Err(no_pages());
    }
    let layout = Layout::from_size_align(len.get(), 4096).map_err(|_| no_pages())?;
    // SAFETY: the layout has a non-zero size.
    let raw = unsafe { hugepage_rs::alloc(layout) };
    let ptr = NonNull::new(raw).ok_or_else(no_pages)?;
    let Some(at) = fixed else { return Ok(ptr) };
    let how = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    // SAFETY: moves the whole fresh mapping onto address space that the caller reserved. From then on it is ours
    // to unmap, and the allocator, which keeps no books, is not asked to.
    let moved = unsafe { libc::mremap(raw.cast(), len.get(), len.get(), how, at.as_ptr()) };
    if moved == libc::MAP_FAILED {
        let source = std::io::Error::last_os_error();
        // SAFETY: the move failed, so the allocation still stands where it was made.
        unsafe { hugepage_rs::dealloc(raw, layout) };
        return Err(MemoryError::Os {
            step: "move private huge pages into the pool's arena (use a memfd source)",
            source,
        });
    }
    Ok(at)
}

/// Reserves `len` bytes of address space at a multiple of `align`, backed by nothing.
pub(super) fn reserve_aligned(len: usize, align: usize) -> Result<NonNull<u8>, MemoryError> {
    let whole = NonZeroUsize::new(len + align).ok_or(MemoryError::BadLength(len, usize::MAX))?;
    let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
    // SAFETY: a fresh anonymous mapping without access rights.
    let raw = unsafe { mmap_anonymous(None, whole, ProtFlags::PROT_NONE, flags) }
        .map_err(|e| MemoryError::os("reserve address space for a pool", e))?;
    let start = raw.as_ptr() as usize;
    let base = start.next_multiple_of(align);
    let trim = |at: usize, len: usize| {
        if let (Some(at), true) = (NonNull::new(at as *mut c_void), len > 0) {
            // SAFETY: a part of the reservation made above that is outside the piece handed out.
            let _ = unsafe { munmap(at, len) };
        }
    };
    trim(start, base - start);
    trim(base + len, start + align - base);
    NonNull::new(base as *mut u8).ok_or(MemoryError::BadLength(len, usize::MAX))
}

/// Maps one zeroed base page of ordinary memory at `at`.
///
/// # Safety
/// `at` is the start of a base page of address space that the caller reserved.
pub(super) unsafe fn map_header(at: NonNull<u8>) -> Result<(), MemoryError> {
    let len = PageSize::Base4K.bytes();
    let (Some(addr), Some(len)) = (NonZeroUsize::new(at.as_ptr() as usize), NonZeroUsize::new(len)) else {
        return Err(MemoryError::BadLength(len, len));
    };
    let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED;
    // SAFETY: the caller reserved the page.
    unsafe {
        mmap_anonymous(
            Some(addr),
            len,
            ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
            flags,
        )
    }
    .map(drop)
    .map_err(|e| MemoryError::os("map a pool's header", e))
}
