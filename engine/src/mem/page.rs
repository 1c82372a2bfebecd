//! Pages: their sizes, how many are free, and which are taken.

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
    pub(super) fn remedy(self, pages: usize) -> String {
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
