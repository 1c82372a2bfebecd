use super::VfioError;
use super::info::{Area, RegionInfo};
use super::uapi::{self, Query};
use crate::mmio::{Bar, RW, Reg, Trap};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use vfio_bindings::bindings::vfio::{VFIO_REGION_INFO_FLAG_MMAP, VFIO_REGION_INFO_FLAG_WRITE};

/// One region of a device: a BAR, or configuration space.
#[derive(Clone, Debug)]
pub(super) struct Region {
    device: Arc<File>,
    info: RegionInfo,
}

/// How a BAR is reached.
#[derive(Debug, PartialEq, Eq)]
enum Way<'a> {
    /// One mapping.
    Whole,
    /// Mappings where the kernel allows some, calls elsewhere; no areas: calls everywhere.
    Pieces(&'a [Area]),
}

impl Region {
    /// Asks for region `index`.
    pub fn new(device: &Arc<File>, index: u32) -> Result<Self, VfioError> {
        let answer = uapi::query(device.as_fd(), Query::Region(index));
        let info = RegionInfo::parse(&answer.map_err(VfioError::os("ask for a region of the device"))?)?;
        if info.size > 0
            && info
                .offset
                .checked_add(info.size)
                .is_none_or(|end| end > i64::MAX as u64)
        {
            return Err(VfioError::BadAnswer("a region lies outside the device file"));
        }
        Ok(Self {
            device: device.clone(),
            info,
        })
    }

    /// Length in bytes; 0 where there is no such region.
    pub fn size(&self) -> u64 {
        self.info.size
    }

    /// Reads bytes at `offset`; `None` when they lie outside.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> Option<io::Result<()>> {
        Some(self.device.read_exact_at(buf, self.place(offset, buf.len())?))
    }

    /// Writes bytes, likewise.
    pub fn write(&self, offset: u64, buf: &[u8]) -> Option<io::Result<()>> {
        Some(self.device.write_all_at(buf, self.place(offset, buf.len())?))
    }

    fn place(&self, offset: u64, len: usize) -> Option<u64> {
        let inside = offset
            .checked_add(len as u64)
            .is_some_and(|end| end <= self.info.size);
        inside.then(|| self.info.offset + offset) // `new` checked the sum
    }

    /// The region as a BAR.
    pub fn bar(&self) -> Result<Bar, VfioError> {
        let len = usize::try_from(self.info.size).map_err(|_| VfioError::BadAnswer("a BAR without end"))?;
        match way(&self.info) {
            Way::Whole => self.map(Area {
                offset: 0,
                size: self.info.size,
            }),
            Way::Pieces(areas) => {
                let pieces: Result<Vec<_>, _> =
                    areas.iter().map(|area| Ok((*area, self.map(*area)?))).collect();
                Ok(Bar::trapped(
                    Arc::new(Pieces {
                        region: self.clone(),
                        pieces: pieces?,
                    }),
                    len,
                ))
            }
        }
    }

    fn map(&self, area: Area) -> Result<Bar, VfioError> {
        let bar = uapi::map(&self.device, self.info.offset + area.offset, area.size as usize);
        bar.map_err(VfioError::os("map a BAR"))
    }
}

/// Without areas named by the kernel, a mappable region is mappable as a whole: since Linux 4.16 that holds for
/// one with the MSI-X table too (`MSIX_MAPPABLE`), and before that the kernel named areas around the table.
fn way(info: &RegionInfo) -> Way<'_> {
    let mappable = info.has(VFIO_REGION_INFO_FLAG_MMAP) && info.has(VFIO_REGION_INFO_FLAG_WRITE);
    match &info.sparse {
        _ if !mappable => Way::Pieces(&[]),
        None => Way::Whole,
        Some(areas) => Way::Pieces(areas),
    }
}

/// A BAR with holes: the mapping where there is one, else a call to the kernel.
#[derive(Debug)]
struct Pieces {
    region: Region,
    pieces: Vec<(Area, Bar)>,
}

impl Pieces {
    fn find(&self, offset: usize) -> Option<(&Bar, Reg<RW>)> {
        let inside =
            |area: &Area| offset as u64 >= area.offset && offset as u64 + 4 <= area.offset + area.size;
        let (area, bar) = self.pieces.iter().find(|(area, _)| inside(area))?;
        let within = u32::try_from(offset as u64 - area.offset).ok()?;
        within
            .is_multiple_of(4)
            .then(|| (bar, Reg::new("sparse area", within)))
    }
}

impl Trap for Pieces {
    fn read32(&self, offset: usize) -> u32 {
        if let Some((bar, reg)) = self.find(offset) {
            return bar.read(reg);
        }
        let mut word = [0; 4];
        match self.region.read(offset as u64, &mut word) {
            Some(Ok(())) => u32::from_le_bytes(word),
            _ => u32::MAX, // as an absent device reads
        }
    }

    fn write32(&self, offset: usize, value: u32) {
        if let Some((bar, reg)) = self.find(offset) {
            return bar.write(reg, value);
        }
        if let Some(Err(error)) = self.region.write(offset as u64, &value.to_le_bytes()) {
            tracing::debug!(offset, %error, "a register write was lost");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vfio_bindings::bindings::vfio::VFIO_REGION_INFO_FLAG_READ;

    const ALL: u32 = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE | VFIO_REGION_INFO_FLAG_MMAP;

    fn region(flags: u32, sparse: Option<Vec<Area>>) -> Region {
        let file = tempfile::tempfile().unwrap();
        file.set_len(0x6000).unwrap();
        let info = RegionInfo {
            flags,
            size: 0x4000,
            offset: 0x1000,
            sparse,
            msix_mappable: false,
        };
        Region {
            device: Arc::new(file),
            info,
        }
    }

    const fn reg(offset: u32) -> Reg<RW> {
        Reg::new("test", offset)
    }

    #[test]
    fn the_way_follows_the_flags() {
        let area = Area {
            offset: 0,
            size: 0x1000,
        };
        assert_eq!(way(&region(ALL, None).info), Way::Whole);
        assert_eq!(way(&region(ALL, Some(vec![area])).info), Way::Pieces(&[area]));
        assert_eq!(
            way(&region(ALL & !VFIO_REGION_INFO_FLAG_MMAP, None).info),
            Way::Pieces(&[])
        );
        assert_eq!(
            way(&region(ALL & !VFIO_REGION_INFO_FLAG_WRITE, None).info),
            Way::Pieces(&[])
        );
    }

    #[test]
    fn all_ways_reach_the_same_registers() {
        let holes = vec![
            Area {
                offset: 0x1000,
                size: 0x1000,
            },
            Area {
                offset: 0x3000,
                size: 0x1000,
            },
        ];
        for (flags, sparse) in [
            (ALL, None),
            (ALL, Some(holes)),
            (ALL & !VFIO_REGION_INFO_FLAG_MMAP, None),
        ] {
            let region = region(flags, sparse);
            let bar = region.bar().unwrap();
            assert_eq!(bar.len(), 0x4000);
            for at in [0, 0xffc, 0x1000, 0x1ffc, 0x2000, 0x2ffc, 0x3000, 0x3ffc] {
                bar.write(reg(at), at + 1);
            }
            for at in [0, 0xffc, 0x1000, 0x1ffc, 0x2000, 0x2ffc, 0x3000, 0x3ffc] {
                let mut word = [0; 4];
                region.read(at.into(), &mut word).unwrap().unwrap();
                assert_eq!(
                    (u32::from_le_bytes(word), bar.read(reg(at))),
                    (at + 1, at + 1),
                    "{at:#x} of {bar:?}"
                );
            }
            assert_eq!(bar.read(reg(0x4000)), u32::MAX);
        }
    }

    #[test]
    fn accesses_outside_a_region_are_refused() {
        let region = region(ALL, None);
        assert!(region.read(0x3fff, &mut [0; 2]).is_none());
        assert!(region.write(u64::MAX, &[0]).is_none());
        assert!(region.read(0x3fff, &mut [0]).unwrap().is_ok());
    }
}
