//! Regions of a device file: what a BAR and configuration space are to a process, under VFIO and under the module.

#[allow(unsafe_code)] // the mapping of device memory
mod map;

use crate::mmio::{Bar, Trap};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// A piece of a region, in bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Area {
    pub offset: u64,
    pub size: u64,
}

/// What the kernel tells of a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Bytes; 0 where there is no such region.
    pub size: u64,
    /// Where it stands in the device file.
    pub offset: u64,
    /// Added to the offset of mappings.
    pub map_flags: u64,
    /// It can be mapped, readable and writable.
    pub mappable: bool,
    /// The only pieces that can be, where the kernel names some.
    pub areas: Option<Vec<Area>>,
}

/// One region of a device: a BAR, or configuration space.
#[derive(Clone, Debug)]
pub(super) struct Region {
    device: Arc<File>,
    place: Place,
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
    /// A region of `device`; `None` when it or one of its areas lies outside of where it can be.
    pub fn new(device: &Arc<File>, place: Place) -> Option<Self> {
        let end = place
            .offset
            .checked_add(place.map_flags)?
            .checked_add(place.size)?;
        let inside = |area: &Area| {
            area.offset
                .checked_add(area.size)
                .is_some_and(|end| end <= place.size)
        };
        let fits = end <= i64::MAX as u64 && place.areas.iter().flatten().all(inside);
        fits.then(|| Self {
            device: device.clone(),
            place,
        })
    }

    /// Length in bytes; 0 where there is no such region.
    pub fn size(&self) -> u64 {
        self.place.size
    }

    /// Reads bytes at `offset`; `None` when they lie outside.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> Option<io::Result<()>> {
        Some(self.device.read_exact_at(buf, self.at(offset, buf.len())?))
    }

    /// Writes bytes, likewise.
    pub fn write(&self, offset: u64, buf: &[u8]) -> Option<io::Result<()>> {
        Some(self.device.write_all_at(buf, self.at(offset, buf.len())?))
    }

    fn at(&self, offset: u64, len: usize) -> Option<u64> {
        let inside = offset
            .checked_add(len as u64)
            .is_some_and(|end| end <= self.place.size);
        inside.then(|| self.place.offset + offset) // `new` checked the sum
    }

    /// The header of configuration space; `None` when the region is shorter.
    pub fn header(&self) -> Option<io::Result<[u8; 0x40]>> {
        let mut header = [0; 0x40];
        Some(self.read(0, &mut header)?.map(|()| header))
    }

    /// The region as a BAR.
    pub fn bar(&self) -> io::Result<Bar> {
        let len = usize::try_from(self.place.size).map_err(io::Error::other)?;
        match way(&self.place) {
            Way::Whole => self.map(Area {
                offset: 0,
                size: self.place.size,
            }),
            Way::Pieces(areas) => {
                let pieces: io::Result<Vec<_>> =
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

    fn map(&self, area: Area) -> io::Result<Bar> {
        let offset = self.place.offset + self.place.map_flags + area.offset;
        map::map(&self.device, offset, area.size as usize)
    }
}

/// Without areas named by the kernel, a mappable region is mappable as a whole.
fn way(place: &Place) -> Way<'_> {
    match &place.areas {
        _ if !place.mappable => Way::Pieces(&[]),
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
    /// The mapping that holds `bytes` at `offset`, and where in it.
    fn find(&self, offset: usize, bytes: usize) -> Option<(&Bar, usize)> {
        let inside = |area: &Area| {
            offset as u64 >= area.offset && offset as u64 + bytes as u64 <= area.offset + area.size
        };
        let (area, bar) = self.pieces.iter().find(|(area, _)| inside(area))?;
        let within = usize::try_from(offset as u64 - area.offset).ok()?;
        within.is_multiple_of(bytes).then_some((bar, within))
    }
}

impl Trap for Pieces {
    fn read32(&self, offset: usize) -> u32 {
        self.read_part(offset, 4)
    }

    fn write32(&self, offset: usize, value: u32) {
        self.write_part(offset, 4, value);
    }

    fn read_part(&self, offset: usize, bytes: usize) -> u32 {
        if let Some((bar, at)) = self.find(offset, bytes) {
            return match bytes {
                1 => bar.load::<u8>(at).into(),
                2 => bar.load::<u16>(at).into(),
                _ => bar.load(at),
            };
        }
        let mut word = [0; 4];
        let part = word.get_mut(..bytes).unwrap_or_default();
        match self.region.read(offset as u64, part) {
            Some(Ok(())) => u32::from_le_bytes(word),
            _ => u32::MAX, // as an absent device reads
        }
    }

    fn write_part(&self, offset: usize, bytes: usize, value: u32) {
        if let Some((bar, at)) = self.find(offset, bytes) {
            return match bytes {
                1 => bar.store(at, value as u8),
                2 => bar.store(at, value as u16),
                _ => bar.store(at, value),
            };
        }
        let word = value.to_le_bytes();
        let part = word.get(..bytes).unwrap_or_default();
        if let Some(Err(error)) = self.region.write(offset as u64, part) {
            tracing::debug!(offset, %error, "a register write was lost");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mmio::{RW, Reg};

    fn region(mappable: bool, areas: Option<Vec<Area>>) -> Region {
        let file = tempfile::tempfile().unwrap();
        file.set_len(0x6000).unwrap();
        let place = Place {
            size: 0x4000,
            offset: 0x1000,
            map_flags: 0,
            mappable,
            areas,
        };
        Region::new(&Arc::new(file), place).unwrap()
    }

    const fn reg(offset: u32) -> Reg<RW> {
        Reg::new("test", offset)
    }

    #[test]
    fn the_way_follows_what_the_kernel_tells() {
        let area = Area {
            offset: 0,
            size: 0x1000,
        };
        assert_eq!(way(&region(true, None).place), Way::Whole);
        assert_eq!(way(&region(true, Some(vec![area])).place), Way::Pieces(&[area]));
        assert_eq!(way(&region(false, None).place), Way::Pieces(&[]));
        assert_eq!(way(&region(false, Some(vec![area])).place), Way::Pieces(&[]));
    }

    #[test]
    fn a_region_outside_of_its_file_is_none() {
        let file = Arc::new(tempfile::tempfile().unwrap());
        let place = |offset, size, areas| Place {
            size,
            offset,
            map_flags: 0,
            mappable: true,
            areas,
        };
        assert!(Region::new(&file, place(0, 4096, None)).is_some());
        assert!(Region::new(&file, place(u64::MAX, 1, None)).is_none());
        assert!(Region::new(&file, place(i64::MAX as u64, 1, None)).is_none());
        let area = |offset, size| Some(vec![Area { offset, size }]);
        assert!(Region::new(&file, place(0, 4096, area(0, 4096))).is_some());
        assert!(Region::new(&file, place(0, 4096, area(4095, 2))).is_none());
        assert!(Region::new(&file, place(0, 4096, area(u64::MAX, 2))).is_none());
    }

    /// A mapping with flags must be made elsewhere in the file than a call goes.
    #[test]
    fn flags_are_for_mappings_only() {
        let mut place = region(true, None).place;
        place.map_flags = 0x1000;
        let file = Arc::new(tempfile::tempfile().unwrap());
        file.set_len(0x6000).unwrap();
        file.write_all_at(&[1, 0, 0, 0], 0x1000).unwrap();
        file.write_all_at(&[2, 0, 0, 0], 0x2000).unwrap();
        let region = Region::new(&file, place).unwrap();
        let mut word = [0; 4];
        region.read(0, &mut word).unwrap().unwrap();
        assert_eq!((word[0], region.bar().unwrap().read(reg(0))), (1, 2));
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
        for (mappable, areas) in [(true, None), (true, Some(holes)), (false, None)] {
            let region = region(mappable, areas);
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
            parts_are_what_they_say(&bar);
        }
    }

    fn parts_are_what_they_say(bar: &Bar) {
        for at in [0, 0x1ffc, 0x2000] {
            bar.store(at, 0x4433_2211_u32);
            bar.store(at + 1, 0xaa_u8);
            bar.store(at + 2, 0xccbb_u16);
            assert_eq!(bar.load::<u32>(at), 0xccbb_aa11, "{at:#x} of {bar:?}");
            assert_eq!((bar.load::<u8>(at + 3), bar.load::<u16>(at)), (0xcc, 0xaa11));
            bar.store(at + 1, 0_u16); // no multiple of two: lost
            assert_eq!(
                (bar.load::<u16>(at + 1), bar.load::<u32>(at)),
                (u16::MAX, 0xccbb_aa11)
            );
        }
        assert_eq!(bar.load::<u8>(0x4000), u8::MAX);
        assert!(bar.doorbell16("test", 0x3ffe).is_ok());
        assert!(bar.doorbell16("test", 0x3fff).is_err() && bar.doorbell16("test", 0x4000).is_err());
        bar.doorbell16("test", 0x2002).unwrap().ring(0x1_2345);
        assert_eq!(bar.load::<u32>(0x2000), 0x2345_aa11);
    }

    #[test]
    fn accesses_outside_a_region_are_refused() {
        let region = region(true, None);
        assert!(region.read(0x3fff, &mut [0; 2]).is_none());
        assert!(region.write(u64::MAX, &[0]).is_none());
        assert!(region.read(0x3fff, &mut [0]).unwrap().is_ok());
    }
}
