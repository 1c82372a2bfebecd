//! What zero copy demands of a pool, which copies do not.

use crate::umem::{HEADROOM, PAGE};
use barline::pool::Pool;
use std::fs;
use std::path::Path;

/// Drivers of NICs that count receive buffers in KiB (82576 data sheet, 8.10.2, BSIZEPACKET). They round down what AF_XDP gives
/// them, and a frame that takes two of the NIC's buffers comes as two frames.
const KIB: &[&str] = &["igb", "igc", "ixgbe"];
const KIB_BYTES: usize = 1024;
/// Bytes of a frame beyond the MTU: the Ethernet header and a VLAN tag.
const HEADERS: usize = 18;

/// The device behind an interface, as zero copy sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Device {
    /// It counts receive buffers in KiB.
    kib: bool,
    /// An IOMMU maps each 4 KiB page of the pool for it where that happens to be free.
    translated: bool,
    /// Whether its driver has zero copy, where the kernel says.
    pub zero_copy: Option<bool>,
}

impl Device {
    /// Of an interface whose driver is of this name, on a bus at this address (ethtool's `bus-info`), and has zero copy or not.
    pub fn new(driver: Option<&(String, String)>, zero_copy: Option<bool>, sysfs: &Path) -> Self {
        let Some((driver, address)) = driver else {
            return Self {
                zero_copy,
                ..Self::default()
            };
        };
        let kind = sysfs
            .join("bus/pci/devices")
            .join(address)
            .join("iommu_group/type");
        // DMA, DMA-FQ; identity is none.
        let kind = fs::read_to_string(kind).unwrap_or_default();
        Self {
            kib: KIB.contains(&driver.as_str()),
            translated: kind.starts_with("DMA"),
            zero_copy,
        }
    }

    /// Bytes of the longest frame that it puts into one chunk of so many.
    pub fn room(&self, chunk: usize) -> usize {
        let room = chunk - HEADROOM;
        if self.kib {
            room / KIB_BYTES * KIB_BYTES
        } else {
            room
        }
    }

    /// What stands against zero copy with a pool of this shape for frames of up to `frame` bytes, and the remedy.
    pub fn hinders(&self, shape: Shape, frame: usize) -> Option<String> {
        let room = self.room(shape.chunk);
        if self.kib && room < frame && shape.chunk - HEADROOM >= frame {
            let (need, most) = (frame.next_multiple_of(KIB_BYTES), self.room(PAGE));
            let remedy = match need <= most {
                true => format!("make the pool with data_room({need}) and headroom({HEADROOM})"),
                false => format!("start with an MTU up to {}", most - HEADERS),
            };
            return Some(format!(
                "its NIC counts buffers in KiB, and has {room} bytes for frames of up to {frame}; {remedy}"
            ));
        }
        if shape.buffer > PAGE && shape.page <= PAGE {
            return Some(format!(
                "the pool's buffers of {} bytes cross pages of 4 KiB, which zero copy cannot; make the pool with data_room({}) and headroom({HEADROOM}), or on huge pages",
                shape.buffer,
                PAGE - 2 * HEADROOM,
            ));
        }
        (self.translated && shape.page > PAGE).then(|| {
            "its IOMMU maps pages of 4 KiB, which the pool's buffers on huge pages cross; use a pool on pages of 4 KiB (--huge none), or boot with iommu.passthrough=1"
                .to_owned()
        })
    }
}

/// What matters of a pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Bytes of a chunk.
    chunk: usize,
    /// Bytes of a buffer.
    buffer: usize,
    /// Bytes of the pages under it; no buffer crosses one that is longer than a buffer.
    page: usize,
}

impl Shape {
    /// Of a pool as a UMEM in chunks of so many bytes.
    pub fn new(pool: &Pool, chunk: u32) -> Self {
        Self {
            chunk: chunk as usize,
            buffer: pool.buffer_len(),
            page: pool.memory().page_size().bytes(),
        }
    }

    /// Bytes of a chunk.
    pub fn chunk(&self) -> usize {
        self.chunk
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::umem::chunk;
    use proptest::prelude::*;

    fn device(kib: bool, translated: bool) -> Device {
        Device {
            kib,
            translated,
            zero_copy: Some(true),
        }
    }

    fn shape(buffer: usize, page: usize) -> Shape {
        let chunk = chunk(buffer).expect("long enough");
        Shape { chunk, buffer, page }
    }

    #[test]
    fn each_hindrance_has_its_remedy() {
        const HUGE: usize = 2 << 20;
        for (device, shape, frame, remedy) in [
            (device(false, false), shape(2240, HUGE), 1518, None),
            (device(false, true), shape(2240, PAGE), 1518, None),
            (device(false, true), shape(2240, HUGE), 1518, Some("--huge none")),
            (
                device(true, false),
                shape(2240, HUGE),
                1518,
                Some("data_room(2048) and headroom(256)"),
            ),
            (device(true, false), shape(2240, HUGE), 1024, None),
            (device(true, false), shape(4096, HUGE), 3072, None),
            (
                device(true, false),
                shape(4096, HUGE),
                3073,
                Some("an MTU up to 3054"),
            ),
            (device(true, false), shape(2304, HUGE), 1518, None),
            (device(false, false), shape(4160, HUGE), 1518, None),
            (
                device(false, false),
                shape(4160, PAGE),
                1518,
                Some("data_room(3584)"),
            ),
        ] {
            let said = device.hinders(shape, frame);
            match remedy {
                None => assert_eq!(said, None),
                Some(remedy) => assert!(
                    said.as_ref().is_some_and(|said| said.contains(remedy)),
                    "{said:?}"
                ),
            }
        }
    }

    #[test]
    fn the_device_is_read_from_sysfs() {
        let sysfs = tempfile::tempdir().expect("a directory");
        let at = |address: &str| ("igb".to_owned(), address.to_owned());
        for (address, kind, translated) in [
            ("0000:01:00.0", "DMA-FQ\n", true),
            ("0000:02:00.0", "DMA\n", true),
            ("0000:03:00.0", "identity\n", false),
        ] {
            let group = sysfs
                .path()
                .join("bus/pci/devices")
                .join(address)
                .join("iommu_group");
            fs::create_dir_all(&group).expect("a directory");
            fs::write(group.join("type"), kind).expect("a file");
            let found = Device::new(Some(&at(address)), Some(true), sysfs.path());
            assert_eq!(found, device(true, translated), "{address}");
        }
        // No IOMMU at all.
        let found = Device::new(Some(&at("0000:04:00.0")), Some(true), sysfs.path());
        assert_eq!(found, device(true, false));
        let cable = ("veth".to_owned(), String::new());
        assert_eq!(Device::new(Some(&cable), None, sysfs.path()), Device::default());
        assert_eq!(Device::new(None, None, sysfs.path()), Device::default());
    }

    proptest! {
        #[test]
        fn frames_that_nothing_hinders_fit_what_the_nic_takes(
            buffer in 2176usize..=PAGE, frame in 64usize..4000, kib: bool
        ) {
            let (device, shape) = (device(kib, false), shape(buffer, PAGE));
            if device.hinders(shape, frame).is_none() && frame <= shape.chunk - HEADROOM {
                prop_assert!(frame <= device.room(shape.chunk));
                prop_assert!(device.room(shape.chunk) + HEADROOM <= buffer);
            }
        }
    }
}
