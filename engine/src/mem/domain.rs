use super::Iova;
use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

/// What the device may do with a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The device may only read (descriptors and packets that are only sent).
    Read,
    /// The device may read and write.
    ReadWrite,
}

/// One contiguous range of usable IOVAs, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First usable address.
    pub first: u64,
    /// Last usable address.
    pub last: u64,
}

/// What a domain can map, as its kernel interface reports it.
#[derive(Clone, Debug)]
pub struct DmaLimits {
    /// Usable windows in rising order; the MSI window is not in them.
    pub windows: Vec<Window>,
    /// Bit n set: pages of 2^n bytes can be mapped.
    pub page_sizes: u64,
    /// MAP calls still possible, where the domain counts them.
    pub entries_left: Option<u32>,
    /// Whether mapped memory counts against RLIMIT_MEMLOCK.
    pub counts_memlock: bool,
}

/// Why a mapping could not be made or undone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DmaError {
    /// No usable window has room.
    #[error("no usable IOVA window has {len} bytes free; unmap something or use a smaller pool")]
    NoWindow {
        /// Bytes asked for.
        len: usize,
    },
    /// The kernel already has a mapping where ours should go: two owners of one address space.
    #[error(
        "the kernel already maps {iova} (+{len}); another user of this IOMMU container is mapping behind the engine: use one container per engine"
    )]
    Exists {
        /// Where.
        iova: Iova,
        /// Bytes.
        len: usize,
    },
    /// The kernel unmapped less than it was asked to: later mappings could reach the wrong memory.
    #[error(
        "unmapping {iova} gave back {unmapped} of {len} bytes; the memory is kept so that the device cannot reach anybody else's"
    )]
    ShortUnmap {
        /// Where.
        iova: Iova,
        /// Asked for.
        len: usize,
        /// Done.
        unmapped: u64,
    },
    /// Unmap of something that was not mapped as a whole.
    #[error("{iova} (+{len}) is not a mapping of this domain")]
    NotMapped {
        /// Where.
        iova: Iova,
        /// Bytes.
        len: usize,
    },
    /// The limit on locked memory is too low.
    #[error("locked-memory limit reached while mapping {len} bytes; raise it: ulimit -l {}", len.div_ceil(1024))]
    Memlock {
        /// Bytes asked for.
        len: usize,
    },
    /// The domain's limit on the number of mappings is reached.
    #[error(
        "the address space has no mapping entries left (VFIO's dma_entry_limit, barline's max_maps); use larger pages or fewer pools"
    )]
    NoEntries,
    /// The request cannot be mapped (length or alignment).
    #[error("{len} bytes at alignment {align} cannot be mapped by this IOMMU")]
    Unaligned {
        /// Bytes.
        len: usize,
        /// Required alignment.
        align: usize,
    },
    /// Memory without a descriptor, and the other side is another process.
    #[error(
        "{len} bytes of private memory cannot be shared with another process; make pools and rings with Source::Auto or Source::MemFd"
    )]
    Private {
        /// Bytes.
        len: usize,
    },
    /// Anything else the kernel said.
    #[error("mapping {len} bytes for DMA: {source}")]
    Os {
        /// Bytes.
        len: usize,
        /// The system's word.
        source: std::io::Error,
    },
}

/// An I/O address space: a type1 container, an IOAS, or the simulator's IOMMU.
pub trait DmaDomain: Send + Sync + std::fmt::Debug {
    /// Lets the devices of this domain reach `va..va+len` and tells under which address.
    ///
    /// # Errors
    /// See [`DmaError`]; on an error nothing is mapped.
    ///
    /// # Safety
    /// `va..va+len` stays mapped in this process, and is used as memory that a device reads and writes, until
    /// [`DmaDomain::unmap`] of the returned address has succeeded.
    unsafe fn map(&self, va: NonNull<u8>, len: usize, access: Access) -> Result<Iova, DmaError>;

    /// Like [`DmaDomain::map`], for memory that starts at byte 0 of a file, where it has one: a domain whose device is
    /// another process hands that on.
    ///
    /// # Errors
    /// As [`DmaDomain::map`], and [`DmaError::Private`].
    ///
    /// # Safety
    /// As [`DmaDomain::map`]; and `va..va+len` is a shared mapping of the file's bytes `0..len`.
    unsafe fn map_file(
        &self,
        va: NonNull<u8>,
        len: usize,
        access: Access,
        file: Option<BorrowedFd<'_>>,
    ) -> Result<Iova, DmaError> {
        let _ = file;
        // SAFETY: the caller's promise.
        unsafe { self.map(va, len, access) }
    }

    /// Takes a whole mapping away again. After an `Ok` no device of this domain reaches the memory.
    ///
    /// # Errors
    /// [`DmaError::NotMapped`], [`DmaError::ShortUnmap`]: the caller must keep the memory for ever.
    fn unmap(&self, iova: Iova, len: usize) -> Result<(), DmaError>;

    /// What can be mapped.
    fn limits(&self) -> DmaLimits;
}

/// Which IOVAs of a domain are taken; picks free ones, first fit, with a guard gap on both sides.
///
/// Every [`DmaDomain`] keeps one, so that an overlap is an error of ours before it can be one of the kernel's.
#[derive(Debug)]
pub struct IovaMap {
    windows: Vec<Window>,
    taken: BTreeMap<u64, u64>, // first -> last
}

/// Unmapped bytes kept on each side of a mapping: an overrun by the device faults instead of landing next door.
const GUARD: u64 = 2 << 20;
/// Nothing is placed below: a null or small integer taken for an IOVA faults at once.
const LOWEST: u64 = 1 << 24;

impl IovaMap {
    /// An empty map over `windows`.
    pub fn new(windows: &[Window]) -> Self {
        Self {
            windows: windows.to_vec(),
            taken: BTreeMap::new(),
        }
    }

    /// Reserves `len` bytes at a multiple of `align` (a power of two).
    ///
    /// # Errors
    /// [`DmaError::NoWindow`] when nothing fits, [`DmaError::Unaligned`] for a length of 0 or a bad `align`.
    pub fn reserve(&mut self, len: usize, align: u64) -> Result<Iova, DmaError> {
        if len == 0 || !align.is_power_of_two() {
            return Err(DmaError::Unaligned {
                len,
                align: align as usize,
            });
        }
        let none = DmaError::NoWindow { len };
        let first = self
            .windows
            .iter()
            .find_map(|w| self.fit(*w, len as u64, align))
            .ok_or(none)?;
        self.taken.insert(first, first + (len as u64 - 1));
        Ok(Iova::new(first))
    }

    fn fit(&self, window: Window, len: u64, align: u64) -> Option<u64> {
        let mut at = align_up(window.first.max(LOWEST), align)?;
        loop {
            let last = at.checked_add(len - 1).filter(|last| *last <= window.last)?;
            match self.blocker(at, last) {
                None => return Some(at),
                Some(end) => at = align_up(end.checked_add(1 + GUARD)?, align)?,
            }
        }
    }

    /// The end of a reservation that, with its guard gap, touches `first..=last`.
    fn blocker(&self, first: u64, last: u64) -> Option<u64> {
        let reach = last.saturating_add(GUARD);
        let (_, end) = self.taken.range(..=reach).next_back()?;
        (end.saturating_add(GUARD) >= first).then_some(*end)
    }

    /// Gives a whole reservation back.
    ///
    /// # Errors
    /// [`DmaError::NotMapped`] when `iova..+len` is not exactly one reservation.
    pub fn release(&mut self, iova: Iova, len: usize) -> Result<(), DmaError> {
        match self.taken.get(&iova.raw()) {
            Some(last) if len > 0 && *last - iova.raw() == len as u64 - 1 => {
                self.taken.remove(&iova.raw());
                Ok(())
            }
            _ => Err(DmaError::NotMapped { iova, len }),
        }
    }

    /// Number of reservations.
    pub fn len(&self) -> usize {
        self.taken.len()
    }

    /// Whether nothing is reserved.
    pub fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }
}

fn align_up(value: u64, align: u64) -> Option<u64> {
    Some(value.checked_add(align - 1)? & !(align - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const X86: [Window; 2] = [
        Window {
            first: 0,
            last: 0xfedf_ffff,
        },
        Window {
            first: 0xfef0_0000,
            last: (1 << 39) - 1,
        },
    ];

    proptest! {
        #[test]
        fn reservations_never_touch_each_other_nor_leave_a_window(
            ops in proptest::collection::vec((1usize..1 << 32, 12u32..31, any::<bool>()), 1..60)
        ) {
            let mut map = IovaMap::new(&X86);
            let mut live: Vec<(u64, usize)> = vec![];
            for (len, shift, drop_one) in ops {
                if drop_one && !live.is_empty() {
                    let (iova, len) = live.swap_remove(len % live.len());
                    prop_assert!(map.release(Iova::new(iova), len).is_ok());
                }
                let Ok(iova) = map.reserve(len, 1 << shift) else { continue };
                let (first, last) = (iova.raw(), iova.raw() + len as u64 - 1);
                prop_assert_eq!(first % (1 << shift), 0);
                prop_assert!(first >= LOWEST);
                prop_assert!(X86.iter().any(|w| first >= w.first && last <= w.last));
                for (other, other_len) in &live {
                    let other_last = other + *other_len as u64 - 1;
                    prop_assert!(last + GUARD < *other || other_last + GUARD < first);
                }
                live.push((first, len));
            }
            prop_assert_eq!(map.len(), live.len());
        }

        #[test]
        fn release_takes_only_whole_reservations(len in 1usize..1 << 30, wrong in 1usize..1 << 30) {
            let mut map = IovaMap::new(&X86);
            let iova = map.reserve(len, 4096).unwrap();
            if wrong != len {
                prop_assert!(map.release(iova, wrong).is_err());
            }
            prop_assert!(map.release(iova.offset(1), len).is_err());
            prop_assert!(map.release(iova, len).is_ok());
            prop_assert!(map.release(iova, len).is_err());
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let mut map = IovaMap::new(&X86);
        assert!(map.reserve(0, 4096).is_err());
        assert!(map.reserve(1, 3).is_err());
        assert!(map.reserve(usize::MAX, 4096).is_err());
        assert!(IovaMap::new(&[]).reserve(1, 1).is_err());
    }
}
