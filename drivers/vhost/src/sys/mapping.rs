use super::bus::Guard;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::sys::stat::fstat;
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;

/// A part of a file, mapped shared. Unmapped when it is dropped.
#[derive(Debug)]
pub(super) struct Mapping {
    base: NonNull<u8>,
    mapped: usize,
    /// None once it is being unmapped.
    pub guard: Option<Guard>,
    /// The first byte that was asked for.
    pub start: NonNull<u8>,
    pub len: usize,
}

// SAFETY: it is memory, the same for all threads; all accesses are atomic or copies of bytes without meaning.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// `len` bytes of `file` from `offset` on, which it must have. What it loses later reads as zeros ([`super::bus`]).
    pub fn new(file: &File, offset: u64, len: u64) -> io::Result<Self> {
        let wrong = |text: &str| io::Error::new(io::ErrorKind::InvalidInput, text.to_owned());
        // Before its length is looked at: from here on it cannot be made shorter, where the peer has left that to be chosen. Where
        // it has not, QEMU has sealed it itself, and DPDK's is a file of a hugetlbfs, or was made without MFD_ALLOW_SEALING.
        if let Err(errno) = fcntl(file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK))
            && !is_sealed(file)
        {
            tracing::debug!(%errno, "the peer can make its memory shorter: what it takes away will read as zeros");
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
        let mut mapping = Self {
            base,
            mapped: mapped.get(),
            guard: None,
            start,
            len: len as usize,
        };
        mapping.guard = Some(Guard::new(base.as_ptr() as usize, mapped.get(), page as usize)?);
        Ok(mapping)
    }
}

/// Whether its owner has sealed it against shrinking.
fn is_sealed(file: &File) -> bool {
    let seals = fcntl(file, FcntlArg::F_GET_SEALS).map(SealFlag::from_bits_retain);
    seals.is_ok_and(|seals| seals.contains(SealFlag::F_SEAL_SHRINK))
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let lost = self.guard.take().map_or(0, |guard| guard.lost());
        if lost > 0 {
            tracing::warn!(pages = lost, "a peer took memory away while it was in use");
        }
        // SAFETY: made in `new` with this length; whoever keeps a pointer into it keeps it alive.
        if let Err(errno) = unsafe { munmap(self.base.cast(), self.mapped) } {
            tracing::warn!(%errno, "the peer's memory stays mapped");
        }
    }
}
