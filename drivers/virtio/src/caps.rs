//! Where the device's structures are: its vendor-specific capabilities (4.1.4).

use crate::regs::{Field, cap, common};
use barline::bus::{BusError, PciFunction};
use barline::mmio::{Bar, Doorbell, Word};
use barline::pci::ConfigImage;
use barline::port::PortError;

/// A structure of the device in one of its BARs.
#[derive(Clone, Debug)]
pub struct Window {
    bar: Bar,
    base: usize,
    len: usize,
}

impl Window {
    fn new(function: &dyn PciFunction, place: &Place, bars: &mut Vec<(u8, Bar)>) -> Result<Self, PortError> {
        let known = bars.iter().find(|(index, _)| *index == place.bar);
        let bar = match known {
            Some((_, bar)) => bar.clone(),
            None => {
                let bar = function.bar(place.bar)?;
                bars.push((place.bar, bar.clone()));
                bar
            }
        };
        let (base, len) = (place.offset as usize, place.len as usize);
        if base.checked_add(len).is_none_or(|end| end > bar.len()) {
            return Err(PortError::Config(format!(
                "{}: a structure of the virtio device at {base:#x} (+{len:#x}) lies outside of its BAR {}",
                function.address(),
                place.bar
            )));
        }
        Ok(Self { bar, base, len })
    }

    /// Reads a field; all ones where the structure is too short for it.
    pub fn read<W: Word>(&self, field: Field<W>) -> W {
        self.read_at(field.offset)
    }

    /// Reads at an offset, likewise.
    pub fn read_at<W: Word>(&self, offset: usize) -> W {
        if offset + size_of::<W>() > self.len {
            return W::ONES;
        }
        self.bar.load(self.base + offset)
    }

    /// Writes a field; lost where the structure is too short for it.
    pub fn write<W: Word>(&self, field: Field<W>, value: W) {
        if field.offset + size_of::<W>() <= self.len {
            self.bar.store(self.base + field.offset, value);
        }
    }

    /// Writes an address as two halves (4.1.3.1).
    pub fn write64(&self, field: Field<u32>, value: u64) {
        self.write(field, value as u32);
        if field.offset + 8 <= self.len {
            self.bar.store(self.base + field.offset + 4, (value >> 32) as u32);
        }
    }

    /// The BAR it stands in.
    pub fn bar(&self) -> &Bar {
        &self.bar
    }
}

/// The structures of a network device.
#[derive(Clone, Debug)]
pub struct Structures {
    /// Common configuration.
    pub common: Window,
    /// Device configuration.
    pub device: Window,
    notify: Window,
    multiplier: u32,
    /// The BARs that they stand in, each once.
    bars: Vec<Bar>,
}

impl Structures {
    /// The BARs that they stand in.
    pub fn bars(&self) -> Vec<&Bar> {
        self.bars.iter().collect()
    }

    /// Finds them.
    ///
    /// # Errors
    /// A device without the interface of virtio 1.x, or with structures outside of its BARs.
    pub fn find(function: &dyn PciFunction) -> Result<Self, PortError> {
        let mut config = [0; 256];
        function.config_read(0, &mut config)?;
        let places = places(&config).map_err(|why| wrong(function, &why))?;
        let one = |kind: u8, what: &str| {
            let place = places.iter().find(|place| place.kind == kind);
            place.ok_or_else(|| {
                wrong(
                    function,
                    &format!("it has no {what}; a legacy device needs disable-legacy=on or a newer host"),
                )
            })
        };
        let mut bars = Vec::new();
        let mut window = |place| Window::new(function, place, &mut bars);
        let notify = one(cap::NOTIFY, "notification structure")?;
        let common = window(one(cap::COMMON, "common configuration structure")?)?;
        if common.len < common::LEN {
            return Err(wrong(function, "its common configuration structure is too short"));
        }
        Ok(Self {
            common,
            device: window(one(cap::DEVICE, "device configuration structure")?)?,
            notify: window(notify)?,
            multiplier: notify.multiplier,
            bars: bars.into_iter().map(|(_, bar)| bar).collect(),
        })
    }

    /// The notification register of a queue with this `queue_notify_off` (4.1.4.4).
    ///
    /// # Errors
    /// One that lies outside of the structure.
    pub fn doorbell(&self, notify_off: u16) -> Result<Doorbell, PortError> {
        let offset = u64::from(notify_off) * u64::from(self.multiplier);
        let inside = offset + 2 <= self.notify.len as u64;
        let at = if inside {
            self.notify.base + offset as usize
        } else {
            usize::MAX - 1
        };
        Ok(self.notify.bar.doorbell16("queue notification", at)?)
    }
}

fn wrong(function: &dyn PciFunction, why: &str) -> PortError {
    PortError::Config(format!("{} is no virtio 1.x device: {why}", function.address()))
}

/// What a capability says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    kind: u8,
    bar: u8,
    offset: u32,
    len: u32,
    /// Of a notify capability.
    multiplier: u32,
}

/// All of them, in the device's order of preference; those in reserved BARs are left out (4.1.4.1).
fn places(config: &[u8]) -> Result<Vec<Place>, String> {
    let image = ConfigImage::new(config).map_err(|error| error.to_string())?;
    let mut places = Vec::new();
    for found in image.capabilities() {
        let found = found.map_err(|error| error.to_string())?;
        if found.id != cap::VENDOR {
            continue;
        }
        let at = usize::from(found.offset);
        let byte = |offset: usize| config.get(at + offset).copied().unwrap_or(0);
        let word = |offset: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| byte(offset + i)));
        let place = Place {
            kind: byte(3),
            bar: byte(4),
            offset: word(8),
            len: word(12),
            multiplier: if byte(3) == cap::NOTIFY { word(16) } else { 0 },
        };
        if byte(2) >= 16 && place.bar < 6 {
            places.push(place);
        }
    }
    Ok(places)
}

/// What the bus says to a device that is gone counts as silence.
pub fn is_removed(error: &BusError) -> bool {
    matches!(error, BusError::Removed { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn config() -> Vec<u8> {
        let mut config = vec![0; 256];
        config[..4].copy_from_slice(&[0xf4, 0x1a, 0x41, 0x10]);
        config[6] = 0x10;
        config[0x34] = 0x40;
        config[0x40..0x50].copy_from_slice(&[9, 0x50, 16, 1, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0]);
        config[0x50..0x64].copy_from_slice(&[
            9, 0x70, 20, 2, 4, 0, 0, 0, 0, 0x30, 0, 0, 0, 0x10, 0, 0, 4, 0, 0, 0,
        ]);
        config[0x70..0x80].copy_from_slice(&[9, 0, 16, 4, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]); // reserved BAR
        config
    }

    #[test]
    fn capabilities_say_where_structures_are() {
        let place = |kind, offset, multiplier| Place {
            kind,
            bar: 4,
            offset,
            len: 0x1000,
            multiplier,
        };
        assert_eq!(places(&config()).unwrap(), [place(1, 0, 0), place(2, 0x3000, 4)]);
    }

    proptest! {
        #[test]
        fn any_configuration_space_is_read_without_surprise(mut bytes in proptest::collection::vec(any::<u8>(), 256)) {
            let _ = places(&bytes);
            bytes[..0x50].copy_from_slice(&config()[..0x50]);
            let _ = places(&bytes);
        }
    }
}
