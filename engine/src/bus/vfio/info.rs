//! The kernel's answers to info ioctls, decoded from their bytes: pure, no access.

use super::VfioError;
use super::chain::{caps, u32_at, u64_at};
use crate::bus::region::{Area, Place};
use crate::mem::Window;
use std::mem::offset_of;
use vfio_bindings::bindings::vfio::{self as k, *};

fn u32_of(answer: &[u8], at: usize) -> Result<u32, VfioError> {
    u32_at(answer, at).ok_or(VfioError::BadAnswer("a structure is cut off"))
}

fn u64_of(answer: &[u8], at: usize) -> Result<u64, VfioError> {
    u64_at(answer, at).ok_or(VfioError::BadAnswer("a structure is cut off"))
}

/// `VFIO_DEVICE_GET_INFO`.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeviceInfo {
    pub flags: u32,
    pub regions: u32,
    pub irqs: u32,
}

impl DeviceInfo {
    pub fn parse(answer: &[u8]) -> Result<Self, VfioError> {
        Ok(Self {
            flags: u32_of(answer, offset_of!(vfio_device_info, flags))?,
            regions: u32_of(answer, offset_of!(vfio_device_info, num_regions))?,
            irqs: u32_of(answer, offset_of!(vfio_device_info, num_irqs))?,
        })
    }
}

/// `VFIO_DEVICE_GET_IRQ_INFO`.
#[derive(Clone, Copy, Debug)]
pub(super) struct IrqInfo {
    pub flags: u32,
    pub count: u32,
}

impl IrqInfo {
    pub fn parse(answer: &[u8]) -> Result<Self, VfioError> {
        Ok(Self {
            flags: u32_of(answer, offset_of!(vfio_irq_info, flags))?,
            count: u32_of(answer, offset_of!(vfio_irq_info, count))?,
        })
    }
}

/// `VFIO_DEVICE_GET_REGION_INFO`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RegionInfo {
    pub flags: u32,
    /// Bytes; 0 where there is no such region.
    pub size: u64,
    /// Where it stands in the device file.
    pub offset: u64,
    /// The only pieces that can be mapped, where the kernel names some.
    pub sparse: Option<Vec<Area>>,
    /// The part with the MSI-X table can be mapped too.
    pub msix_mappable: bool,
}

impl RegionInfo {
    pub fn parse(answer: &[u8]) -> Result<Self, VfioError> {
        let mut info = Self {
            flags: u32_of(answer, offset_of!(vfio_region_info, flags))?,
            size: u64_of(answer, offset_of!(vfio_region_info, size))?,
            offset: u64_of(answer, offset_of!(vfio_region_info, offset))?,
            sparse: None,
            msix_mappable: false,
        };
        let first = u32_of(answer, offset_of!(vfio_region_info, cap_offset))?;
        for cap in caps(
            answer,
            if info.has(VFIO_REGION_INFO_FLAG_CAPS) {
                first
            } else {
                0
            },
        ) {
            let cap = cap?;
            match u32::from(cap.id) {
                VFIO_REGION_INFO_CAP_MSIX_MAPPABLE => info.msix_mappable = true,
                VFIO_REGION_INFO_CAP_SPARSE_MMAP => {
                    type Sparse = vfio_region_info_cap_sparse_mmap;
                    let count = u32_of(cap.bytes, offset_of!(Sparse, nr_areas))?;
                    info.sparse = Some(info.areas(&cap.pairs(count, offset_of!(Sparse, areas))?)?);
                }
                _ => {} // later kernels' capabilities
            }
        }
        Ok(info)
    }

    fn areas(&self, pairs: &[(u64, u64)]) -> Result<Vec<Area>, VfioError> {
        let inside =
            |(offset, size): (u64, u64)| offset.checked_add(size).is_some_and(|end| end <= self.size);
        if !pairs.iter().all(|pair| inside(*pair)) {
            return Err(VfioError::BadAnswer("a mappable area lies outside its region"));
        }
        let areas = pairs.iter().map(|(offset, size)| Area {
            offset: *offset,
            size: *size,
        });
        Ok(areas.filter(|area| area.size > 0).collect())
    }

    pub fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Without areas, all of a mappable region can be mapped: since Linux 4.16 that holds for one with the MSI-X
    /// table too (`MSIX_MAPPABLE`), and before that the kernel named areas around the table.
    pub fn place(self) -> Place {
        Place {
            size: self.size,
            offset: self.offset,
            map_flags: 0,
            mappable: self.has(VFIO_REGION_INFO_FLAG_MMAP) && self.has(VFIO_REGION_INFO_FLAG_WRITE),
            areas: self.sparse,
        }
    }
}

/// `VFIO_IOMMU_GET_INFO` of type1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IommuInfo {
    /// Bit n set: pages of 2^n bytes.
    pub page_sizes: u64,
    /// Usable IOVAs, in rising order; `None` before kernel 5.4.
    pub windows: Option<Vec<Window>>,
    /// MAP calls still possible.
    pub entries_left: Option<u32>,
}

impl IommuInfo {
    pub fn parse(answer: &[u8]) -> Result<Self, VfioError> {
        let flags = u32_of(answer, offset_of!(vfio_iommu_type1_info, flags))?;
        let first = u32_of(answer, offset_of!(vfio_iommu_type1_info, cap_offset)).unwrap_or(0);
        let sizes = u64_of(answer, offset_of!(vfio_iommu_type1_info, iova_pgsizes))?;
        let page_sizes = if flags & VFIO_IOMMU_INFO_PGSIZES != 0 {
            sizes
        } else {
            0x1000
        };
        let mut info = Self {
            page_sizes,
            windows: None,
            entries_left: None,
        };
        for cap in caps(
            answer,
            if flags & VFIO_IOMMU_INFO_CAPS != 0 {
                first
            } else {
                0
            },
        ) {
            let cap = cap?;
            match u32::from(cap.id) {
                VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE => {
                    type Ranges = vfio_iommu_type1_info_cap_iova_range;
                    let count = u32_of(cap.bytes, offset_of!(Ranges, nr_iovas))?;
                    let pairs = cap.pairs(count, offset_of!(Ranges, iova_ranges))?;
                    info.windows = Some(windows(&pairs));
                }
                k::VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL => {
                    let at = offset_of!(vfio_iommu_type1_info_dma_avail, avail);
                    info.entries_left = Some(u32_of(cap.bytes, at)?);
                }
                _ => {}
            }
        }
        Ok(info)
    }
}

fn windows(pairs: &[(u64, u64)]) -> Vec<Window> {
    let windows = pairs.iter().filter(|(first, last)| first <= last);
    let mut windows: Vec<Window> = windows
        .map(|(first, last)| Window {
            first: *first,
            last: *last,
        })
        .collect();
    windows.sort_by_key(|window| window.first);
    windows
}

/// Decodes bytes as each of the answers, and asserts what the rest of this module relies on. What the property test
/// and the fuzz target run; no part of the interface.
///
/// # Panics
/// When a decoder lets something through that it promises to refuse.
#[cfg(any(test, feature = "fuzzing"))]
pub fn decode_any(bytes: &[u8]) {
    let _ = (DeviceInfo::parse(bytes), IrqInfo::parse(bytes));
    if let Ok(info) = RegionInfo::parse(bytes) {
        for area in info.sparse.unwrap_or_default() {
            let end = area.offset.checked_add(area.size);
            assert!(
                area.size > 0 && end.is_some_and(|end| end <= info.size),
                "{area:?}"
            );
        }
    }
    if let Ok(info) = IommuInfo::parse(bytes) {
        let windows = info.windows.unwrap_or_default();
        assert!(windows.is_sorted_by_key(|window| window.first));
        assert!(windows.iter().all(|window| window.first <= window.last));
    }
}

#[cfg(test)]
mod tests;
