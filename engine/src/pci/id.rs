use std::fmt;
use std::str::FromStr;

/// Where a PCI function is: segment, bus, device, function; written `0000:01:00.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PciAddress {
    /// Segment (domain).
    pub segment: u16,
    /// Bus.
    pub bus: u8,
    /// Device, 0 to 31.
    pub device: u8,
    /// Function, 0 to 7.
    pub function: u8,
}

/// Text that is not a PCI address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a PCI address; write it as lspci -D does: 0000:01:00.0")]
pub struct AddressError(pub String);

impl FromStr for PciAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        parse(text).ok_or_else(|| AddressError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<PciAddress> {
    let (rest, function) = text.rsplit_once('.')?;
    let (rest, device) = rest.rsplit_once(':')?;
    let (segment, bus) = rest.rsplit_once(':').unwrap_or(("0", rest));
    let hex = |digits: &str, most: u32| {
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let value = if plain {
            u32::from_str_radix(digits, 16).ok()?
        } else {
            return None;
        };
        (value <= most).then_some(value)
    };
    Some(PciAddress {
        segment: hex(segment, 0xffff)? as u16,
        bus: hex(bus, 0xff)? as u8,
        device: hex(device, 0x1f)? as u8,
        function: hex(function, 7)? as u8,
    })
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:04x}:{:02x}:{:02x}.{}",
            self.segment, self.bus, self.device, self.function
        )
    }
}

/// What a PCI function is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PciId {
    /// Vendor.
    pub vendor: u16,
    /// Device.
    pub device: u16,
    /// Subsystem vendor.
    pub subsystem_vendor: u16,
    /// Subsystem device.
    pub subsystem_device: u16,
    /// Revision.
    pub revision: u8,
    /// Class code: base, sub, interface.
    pub class: u32,
}

impl PciId {
    /// From the first 64 bytes of configuration space (PCI 3.0, 6.1).
    pub fn from_header(header: &[u8; 0x40]) -> Self {
        let word = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        Self {
            vendor: word(0x00),
            device: word(0x02),
            subsystem_vendor: word(0x2c),
            subsystem_device: word(0x2e),
            revision: header[0x08],
            class: u32::from_le_bytes([header[0x09], header[0x0a], header[0x0b], 0]),
        }
    }
}

impl fmt::Display for PciId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:04x}", self.vendor, self.device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn addresses_round_trip(segment: u16, bus: u8, device in 0u8..32, function in 0u8..8) {
            let address = PciAddress { segment, bus, device, function };
            prop_assert_eq!(address.to_string().parse(), Ok(address));
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in ".*") {
            let _ = text.parse::<PciAddress>();
        }
    }

    #[test]
    fn wrong_addresses_are_refused() {
        for text in [
            "",
            "1",
            "01:00",
            "01:00.8",
            "01:20.0",
            "+1:00.0",
            "0000:01:00.0 ",
            "0000:001:100.0",
            ".",
            ":.:",
        ] {
            assert!(text.parse::<PciAddress>().is_err(), "{text:?}");
        }
        assert_eq!(
            "01:00.0".parse::<PciAddress>().unwrap().to_string(),
            "0000:01:00.0"
        );
    }
}
