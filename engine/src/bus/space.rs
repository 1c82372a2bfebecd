use crate::mem::{DmaError, Iova, IovaMap, Window};
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::io;

/// An I/O address space of the kernel's as the engine knows it: what is usable, what is taken, what is mapped.
#[derive(Debug)]
pub(super) struct Space {
    windows: Vec<Window>,
    page_sizes: u64,
    free: IovaMap,
    mapped: BTreeMap<u64, usize>, // first -> length
}

/// Kept around what was mapped before the windows changed, as the map of free addresses does.
const GUARD: u64 = 2 << 20;

impl Space {
    pub fn new(windows: Vec<Window>, page_sizes: u64) -> Self {
        let free = IovaMap::new(&windows);
        Self {
            windows,
            page_sizes,
            free,
            mapped: BTreeMap::new(),
        }
    }

    /// Takes over what the kernel says after another group has joined, which can narrow the windows.
    ///
    /// What is mapped stays where it is. Its addresses are not used again afterwards: a few are lost, none is
    /// given out twice.
    pub fn update(&mut self, windows: Vec<Window>, page_sizes: u64) {
        self.page_sizes = page_sizes;
        if windows != self.windows {
            self.free = IovaMap::new(&without(&windows, &self.mapped));
            self.windows = windows;
        }
    }

    /// Finds addresses for `len` bytes at `va` and has the kernel map them there.
    pub fn map(
        &mut self,
        va: usize,
        len: usize,
        map: impl FnOnce(Iova) -> io::Result<()>,
    ) -> Result<Iova, DmaError> {
        let iova = self.reserve(va, len)?;
        if let Err(source) = map(iova) {
            self.cancel(iova, len);
            return Err(refused(source, iova, len));
        }
        self.mapped(iova, len);
        Ok(iova)
    }

    /// Has the kernel take a whole mapping away; it tells how many bytes that were.
    ///
    /// On an error the addresses stay taken: a later mapping there could still reach the old memory.
    pub fn unmap(
        &mut self,
        iova: Iova,
        len: usize,
        unmap: impl FnOnce() -> io::Result<u64>,
    ) -> Result<(), DmaError> {
        if !self.is_mapped(iova, len) {
            return Err(DmaError::NotMapped { iova, len });
        }
        let unmapped = unmap().map_err(|source| DmaError::Os { len, source })?;
        if unmapped != len as u64 {
            return Err(DmaError::ShortUnmap { iova, len, unmapped });
        }
        self.unmapped(iova, len);
        Ok(())
    }

    /// Reserves addresses for `len` bytes at `va`: at the largest alignment that fits, so that huge pages stay
    /// large pages in the IOMMU.
    fn reserve(&mut self, va: usize, len: usize) -> Result<Iova, DmaError> {
        let page = 1usize << self.page_sizes.trailing_zeros().min(30);
        if len == 0 || !va.is_multiple_of(page) || !len.is_multiple_of(page) {
            return Err(DmaError::Unaligned { len, align: page });
        }
        let good = [1 << 30, 2 << 20]
            .into_iter()
            .filter(|align| len >= *align && *align > page);
        let found = good
            .clone()
            .find_map(|align| self.free.reserve(len, align as u64).ok());
        found.map_or_else(|| self.free.reserve(len, page as u64), Ok)
    }

    /// Takes a reservation back that could not be mapped.
    fn cancel(&mut self, iova: Iova, len: usize) {
        let _ = self.free.release(iova, len);
    }

    /// The kernel has mapped a reservation.
    fn mapped(&mut self, iova: Iova, len: usize) {
        self.mapped.insert(iova.raw(), len);
    }

    /// Number of mappings.
    pub fn mappings(&self) -> usize {
        self.mapped.len()
    }

    /// Whether `iova..+len` is exactly one mapping.
    fn is_mapped(&self, iova: Iova, len: usize) -> bool {
        self.mapped.get(&iova.raw()) == Some(&len)
    }

    /// Whether nothing is mapped.
    pub fn is_empty(&self) -> bool {
        self.mapped.is_empty()
    }

    /// The kernel has unmapped a whole mapping.
    fn unmapped(&mut self, iova: Iova, len: usize) {
        self.mapped.remove(&iova.raw());
        // An error: it was mapped before the windows changed, and its addresses are not in the new map.
        let _ = self.free.release(iova, len);
    }
}

/// What the kernel's errors to a mapping mean; VFIO and the module use the same ones.
fn refused(source: io::Error, iova: Iova, len: usize) -> DmaError {
    match source.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EEXIST) => DmaError::Exists { iova, len },
        Some(Errno::ENOSPC) => DmaError::NoEntries,
        Some(Errno::ENOMEM) => DmaError::Memlock { len },
        _ => DmaError::Os { len, source },
    }
}

/// `windows` without what is mapped and its guard gaps.
fn without(windows: &[Window], mapped: &BTreeMap<u64, usize>) -> Vec<Window> {
    let mut rest = Vec::new();
    for window in windows {
        let mut first = Some(window.first);
        for (at, len) in mapped {
            let (low, high) = (
                at.saturating_sub(GUARD),
                at.saturating_add(*len as u64 - 1).saturating_add(GUARD),
            );
            let Some(start) = first.filter(|start| high >= *start && low <= window.last) else {
                continue;
            };
            if low > start {
                rest.push(Window {
                    first: start,
                    last: low - 1,
                });
            }
            first = high.checked_add(1).filter(|next| *next <= window.last);
        }
        rest.extend(first.map(|first| Window {
            first,
            last: window.last,
        }));
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WHOLE: Window = Window {
        first: 0,
        last: (1 << 39) - 1,
    };

    proptest! {
        #[test]
        fn nothing_is_given_out_twice_when_windows_change(
            pages in proptest::collection::vec(1usize..5000, 1..40),
            hole in 1u64..1000,
        ) {
            let mut space = Space::new(vec![WHOLE], 0x1000);
            let mut live: Vec<(u64, u64)> = vec![];
            let change = pages.len() / 2;
            for (n, pages) in pages.into_iter().enumerate() {
                if n == change {
                    let (low, high) = (hole << 24, (hole + 3) << 24);
                    let first = Window { first: 0, last: low - 1 };
                    space.update(vec![first, Window { first: high, last: WHOLE.last }], 0x1000);
                }
                let iova = space.reserve(0, pages << 12).unwrap();
                space.mapped(iova, pages << 12);
                let (first, last) = (iova.raw(), iova.raw() + (pages << 12) as u64 - 1);
                prop_assert!(live.iter().all(|(f, l)| last + GUARD < *f || l + GUARD < first));
                if n >= change {
                    prop_assert!(last < hole << 24 || first >= (hole + 3) << 24);
                }
                live.push((first, last));
            }
            for (first, last) in live {
                let (iova, len) = (Iova::new(first), (last - first + 1) as usize);
                prop_assert!(space.is_mapped(iova, len) && !space.is_mapped(iova, len + 4096));
                space.unmapped(iova, len);
                prop_assert!(!space.is_mapped(iova, len));
            }
        }
    }

    #[test]
    fn large_mappings_are_aligned_to_large_pages() {
        let mut space = Space::new(vec![WHOLE], 0x4020_1000);
        assert!(space.reserve(0, 4096).unwrap().raw().is_multiple_of(4096));
        assert!(space.reserve(0, 2 << 20).unwrap().raw().is_multiple_of(2 << 20));
        assert!(space.reserve(0, 1 << 30).unwrap().raw().is_multiple_of(1 << 30));
    }

    #[test]
    fn a_small_window_still_takes_what_fits_unaligned() {
        let window = Window {
            first: (1 << 30) + 4096,
            last: (3 << 30) - 4096,
        };
        let mut space = Space::new(vec![window], 0x1000);
        assert!(space.reserve(0, 1 << 30).is_ok());
    }

    #[test]
    fn odd_lengths_and_addresses_are_refused() {
        let mut space = Space::new(vec![WHOLE], 0x1000);
        assert!(matches!(
            space.reserve(0, 100),
            Err(DmaError::Unaligned {
                len: 100,
                align: 4096
            })
        ));
        assert!(space.reserve(8, 4096).is_err());
        assert!(space.reserve(0, 0).is_err());
    }

    #[test]
    fn errors_of_map_are_told_apart() {
        let told = |errno: Errno| refused(errno.into(), Iova::new(0x1000), 4096);
        assert!(matches!(told(Errno::EEXIST), DmaError::Exists { len: 4096, .. }));
        assert!(matches!(told(Errno::ENOSPC), DmaError::NoEntries));
        assert!(matches!(told(Errno::ENOMEM), DmaError::Memlock { len: 4096 }));
        assert!(matches!(told(Errno::EINVAL), DmaError::Os { .. }));
    }

    #[test]
    fn what_the_kernel_refuses_leaves_nothing_behind() {
        let mut space = Space::new(vec![WHOLE], 0x1000);
        let refused = space.map(0, 4096, |_| Err(Errno::ENOMEM.into()));
        assert!(matches!(refused, Err(DmaError::Memlock { len: 4096 })));
        let first = space.map(0, 4096, |_| Ok(())).unwrap();
        assert!(matches!(
            space.unmap(first, 4096, || Ok(0)),
            Err(DmaError::ShortUnmap { unmapped: 0, .. })
        ));
        assert!(space.is_mapped(first, 4096), "its memory must be kept");
        assert!(space.unmap(first, 4096, || Ok(4096)).is_ok());
        assert!(matches!(
            space.unmap(first, 4096, || Ok(4096)),
            Err(DmaError::NotMapped { .. })
        ));
        assert_eq!(space.map(0, 4096, |_| Ok(())).unwrap(), first);
    }
}
