use super::{Access, DmaDomain, DmaError, DmaLimits, Iova, IovaMap, Window};
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

/// A DMA access outside what is mapped: what an IOMMU reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaFault {
    /// Where the device went.
    pub iova: Iova,
    /// How many bytes.
    pub len: usize,
    /// Whether it wrote.
    pub write: bool,
}

#[derive(Clone, Copy)]
struct Entry {
    va: NonNull<u8>,
    len: usize,
    access: Access,
}

// SAFETY: an address; the accesses through it are argued where they are made.
unsafe impl Send for Entry {}
// SAFETY: as above.
unsafe impl Sync for Entry {}

/// The address space of devices that live in this process: translates, checks and faults like an IOMMU.
///
/// IOVAs are never equal to virtual addresses, so a mixed-up address faults at once. Device models reach memory
/// only through [`LocalDomain::read`], [`LocalDomain::write`], [`LocalDomain::load`] and [`LocalDomain::store`].
pub struct LocalDomain {
    entries: RwLock<BTreeMap<u64, Entry>>,
    iovas: Mutex<IovaMap>,
    faults: Mutex<Vec<DmaFault>>,
    maps: AtomicU64,
}

/// Windows like those of a 48-bit VT-d: everything but the MSI window.
const WINDOWS: [Window; 2] = [
    Window {
        first: 0x1_0000_0000,
        last: (1 << 47) - 1,
    },
    Window {
        first: 0x100_0000,
        last: 0xfedf_ffff,
    },
];
/// A model that runs wild must not fill the memory with its faults.
const MOST_FAULTS: usize = 1024;

impl LocalDomain {
    /// An empty address space.
    pub fn new() -> Self {
        Self {
            entries: RwLock::new(BTreeMap::new()),
            iovas: Mutex::new(IovaMap::new(&WINDOWS)),
            faults: Mutex::new(Vec::new()),
            maps: AtomicU64::new(0),
        }
    }

    /// Copies `to.len()` bytes from `iova`, as a device's read.
    ///
    /// # Errors
    /// The fault, which is recorded too; `to` is left as it was.
    pub fn read(&self, iova: Iova, to: &mut [u8]) -> Result<(), DmaFault> {
        self.access(iova, to.len(), false, |from| {
            // SAFETY: `access` checked that the bytes are mapped and holds off `unmap` meanwhile. A CPU that
            // writes them at the same time breaks the ring protocol; the bytes are then any bytes.
            unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to.as_mut_ptr(), to.len()) }
        })
    }

    /// Copies `from` to `iova`, as a device's write.
    ///
    /// # Errors
    /// The fault, which is recorded too; nothing is written.
    pub fn write(&self, iova: Iova, from: &[u8]) -> Result<(), DmaFault> {
        self.access(iova, from.len(), true, |to| {
            // SAFETY: as in `read`; and by the ring protocol no reference to a buffer that is the device's exists.
            unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to.as_ptr(), from.len()) }
        })
    }

    /// One aligned 64-bit word, with acquire ordering: descriptors.
    ///
    /// # Errors
    /// The fault (also for an address that is not a multiple of 8).
    pub fn load(&self, iova: Iova) -> Result<u64, DmaFault> {
        let len = if iova.raw().is_multiple_of(8) {
            8
        } else {
            usize::MAX
        };
        self.access(iova, len, false, |at| {
            // SAFETY: 8 mapped bytes, aligned because mappings start at page bounds in both address spaces.
            unsafe { AtomicU64::from_ptr(at.as_ptr().cast()) }.load(Ordering::Acquire)
        })
    }

    /// One aligned 64-bit word, with release ordering: everything written before is visible first.
    ///
    /// # Errors
    /// The fault (also for an address that is not a multiple of 8).
    pub fn store(&self, iova: Iova, value: u64) -> Result<(), DmaFault> {
        let len = if iova.raw().is_multiple_of(8) {
            8
        } else {
            usize::MAX
        };
        self.access(iova, len, true, |at| {
            // SAFETY: as in `load`.
            unsafe { AtomicU64::from_ptr(at.as_ptr().cast()) }.store(value, Ordering::Release);
        })
    }

    fn access<R>(
        &self,
        iova: Iova,
        len: usize,
        write: bool,
        act: impl FnOnce(NonNull<u8>) -> R,
    ) -> Result<R, DmaFault> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((first, entry)) = entries.range(..=iova.raw()).next_back() {
            let offset = iova.raw() - first;
            let fits = offset
                .checked_add(len as u64)
                .is_some_and(|end| end <= entry.len as u64);
            if fits && (!write || entry.access == Access::ReadWrite) {
                // SAFETY: `offset` is below the mapped length.
                return Ok(act(unsafe { entry.va.add(offset as usize) }));
            }
        }
        drop(entries);
        let fault = DmaFault { iova, len, write };
        let mut faults = self.fault_log();
        if faults.len() < MOST_FAULTS {
            faults.push(fault);
        }
        Err(fault)
    }

    fn fault_log(&self) -> MutexGuard<'_, Vec<DmaFault>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The device's address of what this process has at `va`, in the first mapping that has it.
    pub fn iova_of(&self, va: usize) -> Option<Iova> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let find = |(first, entry): (&u64, &Entry)| {
            let offset = va.checked_sub(entry.va.as_ptr() as usize)?;
            (offset < entry.len).then(|| Iova::new(first + offset as u64))
        };
        entries.iter().find_map(find)
    }

    /// Takes the faults recorded so far. A test ends with asserting that there are none.
    pub fn take_faults(&self) -> Vec<DmaFault> {
        std::mem::take(&mut *self.fault_log())
    }

    /// MAP calls so far: one a pool, none on the packet path.
    pub fn map_calls(&self) -> u64 {
        self.maps.load(Ordering::Relaxed)
    }

    /// Mappings that stand.
    pub fn mapped(&self) -> usize {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Default for LocalDomain {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for LocalDomain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LocalDomain({} mappings)", self.mapped())
    }
}

impl DmaDomain for LocalDomain {
    unsafe fn map(&self, va: NonNull<u8>, len: usize, access: Access) -> Result<Iova, DmaError> {
        let mut iovas = self.iovas.lock().unwrap_or_else(PoisonError::into_inner);
        let iova = iovas.reserve(len, 2 << 20)?;
        self.maps.fetch_add(1, Ordering::Relaxed);
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.insert(iova.raw(), Entry { va, len, access });
        Ok(iova)
    }

    fn unmap(&self, iova: Iova, len: usize) -> Result<(), DmaError> {
        let mut iovas = self.iovas.lock().unwrap_or_else(PoisonError::into_inner);
        iovas.release(iova, len)?;
        // Still under the lock of the addresses: nobody can take this one before its entry is gone.
        self.entries
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&iova.raw());
        Ok(())
    }

    fn limits(&self) -> DmaLimits {
        DmaLimits {
            windows: WINDOWS.to_vec(),
            page_sizes: !0xfff,
            entries_left: None,
            counts_memlock: false,
        }
    }
}
