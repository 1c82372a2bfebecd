use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, mmap_anonymous, munmap};
use std::alloc::Layout;
use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::{fmt, fs};

/// The size of the pages under a piece of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PageSize {
    /// The machine's base page.
    Base4K,
    /// 2 MiB huge pages.
    Huge2M,
    /// 1 GiB huge pages.
    Huge1G,
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Base4K => "4 KiB",
            Self::Huge2M => "2 MiB",
            Self::Huge1G => "1 GiB",
        })
    }
}

impl PageSize {
    /// Bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Base4K => 4 << 10,
            Self::Huge2M => 2 << 20,
            Self::Huge1G => 1 << 30,
        }
    }

    /// The command that reserves `pages` more of this size.
    fn remedy(self, pages: usize) -> String {
        match self {
            Self::Base4K => format!("free {} MiB of memory", (pages * 4).div_ceil(1024)),
            _ => format!("echo {pages} | sudo tee -a {}/nr_hugepages", self.sysfs()),
        }
    }

    fn sysfs(self) -> String {
        format!("/sys/kernel/mm/hugepages/hugepages-{}kB", self.bytes() / 1024)
    }
}

/// Where DMA memory comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Source {
    /// 2 MiB huge pages where enough are free, else 4 KiB pages with a warning: runs on a fresh machine.
    #[default]
    Auto,
    /// A memfd of this page size: shareable by fd, leaves nothing behind in a file system.
    MemFd(PageSize),
    /// Private anonymous huge pages of the default size, through `hugepage-rs`; has no fd.
    Private,
}

impl Source {
    /// The pages that `bytes` of it would stand on, as things are now.
    pub(crate) fn expected_page(self, bytes: usize) -> PageSize {
        let huge = PageSize::Huge2M;
        match self {
            Self::MemFd(size) => size,
            Self::Private => huge,
            Self::Auto if free_huge_pages(huge).free >= bytes.div_ceil(huge.bytes()) => huge,
            Self::Auto => PageSize::Base4K,
        }
    }
}

/// Free and total huge pages of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HugePages {
    /// In the pool and not reserved by anybody.
    pub free: usize,
    /// In the pool.
    pub total: usize,
}

/// Why memory could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// Not enough huge pages.
    #[error("{need} huge pages of {size} are needed and {free} are free; reserve more: {remedy}")]
    TooFewHugePages {
        /// Page size.
        size: PageSize,
        /// Pages needed.
        need: usize,
        /// Pages free.
        free: usize,
        /// Command.
        remedy: String,
    },
    /// A request that no memory can satisfy.
    #[error("{0} bytes of DMA memory cannot be asked for at once; the most is {1}")]
    BadLength(usize, usize),
    /// The kernel said no.
    #[error("{step}: {source}")]
    Os {
        /// What was tried.
        step: &'static str,
        /// The kernel's word.
        source: std::io::Error,
    },
}

impl MemoryError {
    pub(super) fn os(step: &'static str, errno: nix::Error) -> Self {
        Self::Os {
            step,
            source: errno.into(),
        }
    }
}

/// Free and total huge pages of `size`, from sysfs; zeros where the kernel has none. Base pages count as none.
pub fn free_huge_pages(size: PageSize) -> HugePages {
    let read = |name: &str| {
        let text = fs::read_to_string(format!("{}/{name}", size.sysfs())).unwrap_or_default();
        text.trim().parse::<usize>().unwrap_or(0)
    };
    let (free, reserved) = (read("free_hugepages"), read("resv_hugepages"));
    HugePages {
        free: free.saturating_sub(reserved),
        total: read("nr_hugepages"),
    }
}

/// One mapping of whole pages, before it becomes a [`super::Memory`].
pub(super) struct Pages {
    pub ptr: NonNull<u8>,
    pub len: usize,
    pub size: PageSize,
    pub fd: Option<OwnedFd>,
}

/// Decides the page size for `len` bytes of `source`: checked before anything is allocated.
pub(super) fn choose(source: Source, len: usize) -> Result<PageSize, MemoryError> {
    let enough = |size: PageSize| free_huge_pages(size).free >= len.div_ceil(size.bytes());
    let size = match source {
        Source::MemFd(size) => size,
        Source::Private => PageSize::Huge2M,
        Source::Auto if enough(PageSize::Huge2M) => PageSize::Huge2M,
        Source::Auto => {
            tracing::warn!(
                len,
                "too few free huge pages: using 4 KiB pages, which cost TLB and IOTLB misses"
            );
            PageSize::Base4K
        }
    };
    if size == PageSize::Base4K || enough(size) {
        return Ok(size);
    }
    let need = len.div_ceil(size.bytes());
    let HugePages { free, total } = free_huge_pages(size);
    let remedy = size.remedy(total + need - free.min(need)).replace("-a ", "");
    Err(MemoryError::TooFewHugePages {
        size,
        need,
        free,
        remedy,
    })
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
