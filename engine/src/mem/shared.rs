use super::{Access, DmaDomain, DmaError, DmaLimits, Iova, IovaMap, Window};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A piece of memory that another process can map: `len` bytes from byte 0 of a file, at `iova`.
#[derive(Clone, Debug)]
pub struct SharedRegion {
    iova: Iova,
    len: usize,
    file: Arc<OwnedFd>,
}

impl SharedRegion {
    /// Where the other process looks for it.
    pub fn iova(&self) -> Iova {
        self.iova
    }

    /// Bytes.
    #[expect(clippy::len_without_is_empty, reason = "there is no empty region")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The file.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The address space of a device that is another process, such as a vhost-user back end: it maps our memory by descriptor.
///
/// The domain keeps books; handing regions over, and getting them back, is its user's business. So `unmap` always
/// succeeds: nothing can be taken from a process that has mapped it. Whoever made the mapping keeps buffers out of use until the process has
/// let go ([`crate::pool::Custody`]); the pages themselves live as long as somebody maps them.
///
/// As everywhere, IOVAs are never equal to virtual addresses, and gaps are between them.
#[derive(Debug)]
pub struct SharedDomain {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    iovas: IovaMap,
    regions: BTreeMap<u64, SharedRegion>,
}

/// As guests have their memory: below what any back end takes for an address.
const WINDOWS: [Window; 1] = [Window {
    first: 0x1_0000_0000,
    last: (1 << 40) - 1,
}];

impl SharedDomain {
    /// An empty address space.
    pub fn new() -> Self {
        Self {
            state: Mutex::new(State {
                iovas: IovaMap::new(&WINDOWS),
                regions: BTreeMap::new(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The region around `iova`.
    pub fn region(&self, iova: Iova) -> Option<SharedRegion> {
        let state = self.lock();
        let (first, region) = state.regions.range(..=iova.raw()).next_back()?;
        (iova.raw() - first < region.len as u64).then(|| region.clone())
    }

    /// Mappings that stand.
    pub fn mapped(&self) -> usize {
        self.lock().regions.len()
    }
}

impl Default for SharedDomain {
    fn default() -> Self {
        Self::new()
    }
}

impl DmaDomain for SharedDomain {
    unsafe fn map(&self, _va: NonNull<u8>, len: usize, _access: Access) -> Result<Iova, DmaError> {
        Err(DmaError::Private { len })
    }

    unsafe fn map_file(
        &self,
        _va: NonNull<u8>,
        len: usize,
        _access: Access,
        file: Option<BorrowedFd<'_>>,
    ) -> Result<Iova, DmaError> {
        let file = file.ok_or(DmaError::Private { len })?;
        let file = file
            .try_clone_to_owned()
            .map_err(|source| DmaError::Os { len, source })?;
        let mut state = self.lock();
        let iova = state.iovas.reserve(len, 2 << 20)?;
        let region = SharedRegion {
            iova,
            len,
            file: Arc::new(file),
        };
        state.regions.insert(iova.raw(), region);
        Ok(iova)
    }

    fn unmap(&self, iova: Iova, len: usize) -> Result<(), DmaError> {
        let mut state = self.lock();
        state.iovas.release(iova, len)?;
        state.regions.remove(&iova.raw());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::{Mapping, Memory, Numa, PageSize, Source};
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    #[test]
    fn a_region_is_found_by_any_of_its_addresses_and_its_file_is_the_memory() {
        let shared = Arc::new(SharedDomain::new());
        let domain: Arc<dyn DmaDomain> = shared.clone();
        let memory = Memory::new(8192, Source::MemFd(PageSize::Base4K), Numa::Any).unwrap();
        let mapping = Mapping::new(&memory, &domain, Access::ReadWrite).unwrap();
        assert_ne!(mapping.iova().raw(), mapping.as_ptr().as_ptr() as u64);
        let region = shared.region(mapping.iova().offset(8191)).unwrap();
        assert_eq!((region.iova(), region.len()), (mapping.iova(), 8192));
        assert!(shared.region(mapping.iova().offset(8192)).is_none());
        assert!(shared.region(Iova::new(0)).is_none());
        let file = File::from(region.file().try_clone_to_owned().unwrap());
        file.write_all_at(&[7], 5000).unwrap();
        // SAFETY: inside the memory, which nobody else uses.
        assert_eq!(unsafe { memory.as_ptr().add(5000).read_volatile() }, 7);
        assert!(
            file.set_len(0).is_err(),
            "whom it is shared with must not cut it off"
        );
        drop(mapping);
        assert_eq!(shared.mapped(), 0);
    }

    #[test]
    fn memory_without_a_file_is_refused_with_a_remedy() {
        let domain = SharedDomain::new();
        let mut bytes = [0u8; 16];
        // SAFETY: it refuses.
        let refused = unsafe { domain.map_file(NonNull::from(&mut bytes).cast(), 16, Access::Read, None) };
        assert!(refused.unwrap_err().to_string().contains("Source::MemFd"));
        assert_eq!(domain.mapped(), 0);
    }
}
