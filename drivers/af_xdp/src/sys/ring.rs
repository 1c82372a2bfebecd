//! Rings that the kernel and this process share.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// A part of a socket, mapped. It keeps the socket alive in the kernel until it is blanked or dropped.
#[derive(Debug)]
pub(crate) struct Area {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: it is memory, the same for all threads, reached by atomics only.
unsafe impl Send for Area {}
// SAFETY: as above.
unsafe impl Sync for Area {}

const ACCESS: i32 = libc::PROT_READ | libc::PROT_WRITE;

impl Area {
    fn new(socket: BorrowedFd<'_>, offset: i64, len: usize) -> io::Result<Arc<Self>> {
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        // SAFETY: a new mapping, wherever the kernel likes.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                ACCESS,
                flags,
                socket.as_raw_fd(),
                offset,
            )
        };
        match NonNull::new(at.cast()) {
            Some(base) if at != libc::MAP_FAILED => Ok(Arc::new(Self { base, len })),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Puts zeros in its place: whoever still looks at it sees a ring in which nothing happens, and the kernel is rid of
    /// this mapping of the socket.
    pub fn blank(&self) -> io::Result<()> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        // SAFETY: exactly our own mapping, replaced in one step; its users only load and store atomics, for which any
        // value is one.
        let at = unsafe { libc::mmap(self.base.as_ptr().cast(), self.len, ACCESS, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: our own mapping; every ring in it holds this area.
        let _ = unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// A received or sent piece of a frame: `struct xdp_desc`.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct Desc {
    /// Where it is in the UMEM.
    pub addr: AtomicU64,
    /// Bytes.
    pub len: AtomicU32,
    /// `XDP_PKT_CONTD`.
    pub options: AtomicU32,
}

/// What stands in a ring: atomics only, all bit patterns are values.
pub(crate) trait Entry: Send + Sync + fmt::Debug + 'static {}
impl Entry for AtomicU64 {}
impl Entry for Desc {}

/// Where the parts of a ring are in its mapping (`struct xdp_ring_offset`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offsets {
    pub producer: u64,
    pub consumer: u64,
    pub flags: u64,
    pub desc: u64,
}

/// One ring. Indices run freely.
pub(crate) struct Ring<T: Entry> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    first: NonNull<T>,
    mask: u32,
    area: Arc<Area>,
}

// SAFETY: it points into memory that it keeps mapped, and reaches it by atomics only.
unsafe impl<T: Entry> Send for Ring<T> {}
// SAFETY: as above.
unsafe impl<T: Entry> Sync for Ring<T> {}

impl<T: Entry> Ring<T> {
    /// Maps a ring of `len` entries, a power of two; `page` tells the kernel which one.
    pub fn map(socket: BorrowedFd<'_>, at: Offsets, len: u32, page: i64) -> io::Result<Self> {
        let wrong = || io::Error::from(io::ErrorKind::InvalidData);
        let entries = u64::from(len) * size_of::<T>() as u64;
        let ends = [
            at.producer + 4,
            at.consumer + 4,
            at.flags + 4,
            at.desc.checked_add(entries).ok_or_else(wrong)?,
        ];
        let aligned = [at.producer, at.consumer, at.flags]
            .iter()
            .all(|at| at.is_multiple_of(4))
            && at.desc.is_multiple_of(8);
        let bytes = ends.into_iter().max().and_then(|end| usize::try_from(end).ok());
        let bytes = bytes
            .filter(|_| len.is_power_of_two() && aligned)
            .ok_or_else(wrong)?;
        let area = Area::new(socket, page, bytes)?;
        let place = |offset: u64| {
            // SAFETY: every offset, with what stands there, is below `bytes`, the length of the mapping.
            unsafe { area.base.add(offset as usize) }
        };
        Ok(Self {
            producer: place(at.producer).cast(),
            consumer: place(at.consumer).cast(),
            flags: place(at.flags).cast(),
            first: place(at.desc).cast(),
            mask: len - 1,
            area,
        })
    }

    /// A ring without a kernel.
    #[cfg(test)]
    pub fn fake(len: u32) -> Self {
        let bytes = 64 + len as usize * size_of::<T>();
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, wherever the kernel likes.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), bytes, ACCESS, flags, -1, 0) };
        assert!(at != libc::MAP_FAILED && len.is_power_of_two());
        let area = Arc::new(Area {
            base: NonNull::new(at.cast()).unwrap(),
            len: bytes,
        });
        // SAFETY: below `bytes`.
        let place = |offset: usize| unsafe { area.base.add(offset) };
        Self {
            producer: place(0).cast(),
            consumer: place(4).cast(),
            flags: place(8).cast(),
            first: place(64).cast(),
            mask: len - 1,
            area,
        }
    }

    /// The same ring, for the other side.
    #[cfg(test)]
    pub fn twin(&self) -> Self {
        let (producer, consumer, flags, first) = (self.producer, self.consumer, self.flags, self.first);
        let (mask, area) = (self.mask, self.area.clone());
        Self {
            producer,
            consumer,
            flags,
            first,
            mask,
            area,
        }
    }

    /// Entries.
    #[inline(always)]
    pub fn len(&self) -> u32 {
        self.mask + 1
    }

    pub fn area(&self) -> &Arc<Area> {
        &self.area
    }

    #[inline(always)]
    pub fn producer(&self) -> &AtomicU32 {
        // SAFETY: inside the area, which lives as long as `self`, and aligned (`map`).
        unsafe { self.producer.as_ref() }
    }

    #[inline(always)]
    pub fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { self.consumer.as_ref() }
    }

    #[inline(always)]
    pub fn flags(&self) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { self.flags.as_ref() }
    }

    /// The entry at a free-running index.
    #[inline(always)]
    pub fn at(&self, index: u32) -> &T {
        // SAFETY: masked by the length minus one; all entries are inside the area (`map`).
        unsafe { self.first.add((index & self.mask) as usize).as_ref() }
    }
}

impl<T: Entry> fmt::Debug for Ring<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ring({} entries)", self.len())
    }
}
