use super::mapping::Mapping;
use std::fs::File;
use std::io;
use std::sync::Arc;

/// One region of the peer's memory.
#[derive(Debug)]
pub(crate) struct Region {
    pub(super) mapping: Mapping,
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
    pub(super) fn from(&self, at: u64) -> Option<u64> {
        let offset = at.checked_sub(self.guest)?;
        self.len().checked_sub(offset).filter(|left| *left > 0)
    }
}

/// All of the peer's memory at one time. Does not change; a change is another of these.
#[derive(Clone, Debug, Default)]
pub(crate) struct GuestMemory {
    pub(super) regions: Vec<Arc<Region>>,
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

    pub(super) fn find(&self, guest: u64) -> Option<&Region> {
        let here = |region: &&Arc<Region>| region.from(guest).is_some();
        self.regions.iter().find(here).map(|region| &**region)
    }
}
