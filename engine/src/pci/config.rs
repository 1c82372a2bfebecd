use super::PciId;
use super::caps::{CapError, Capability, Msix, PciExpress, PowerManagement, Walk, id};

// Offsets and bits as in linux/pci_regs.h, without the `PCI_` (PCI 3.0, chapter 6).
const COMMAND: usize = 0x04;
const STATUS: usize = 0x06;
const HEADER_TYPE: usize = 0x0e;
const HEADER_TYPE_MASK: u8 = 0x7f;
const HEADER_TYPE_MFD: u8 = 0x80;
const HEADER_TYPE_NORMAL: u8 = 0;
const HEADER_TYPE_BRIDGE: u8 = 1;
const BASE_ADDRESS_0: usize = 0x10;
const BASE_ADDRESS_SPACE_IO: u32 = 0x01;
const BASE_ADDRESS_MEM_TYPE_MASK: u32 = 0x06;
const BASE_ADDRESS_MEM_TYPE_64: u32 = 0x04;
const BASE_ADDRESS_MEM_PREFETCH: u32 = 0x08;
/// `PCI_STD_HEADER_SIZEOF`: the shortest image.
const STD_HEADER_SIZEOF: usize = 64;
/// `PCI_CFG_SPACE_EXP_SIZE`: the longest.
const CFG_SPACE_EXP_SIZE: usize = 4096;

bitflags::bitflags! {
    /// The COMMAND register (`PCI_COMMAND`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Command: u16 {
        /// Answers port accesses (`PCI_COMMAND_IO`).
        const IO = 1 << 0;
        /// Answers memory accesses (`PCI_COMMAND_MEMORY`).
        const MEMORY = 1 << 1;
        /// May start DMA (`PCI_COMMAND_MASTER`).
        const MASTER = 1 << 2;
        /// May not raise INTx (`PCI_COMMAND_INTX_DISABLE`).
        const INTX_DISABLE = 1 << 10;
        const _ = !0;
    }

    /// The STATUS register (`PCI_STATUS`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Status: u16 {
        /// INTx is raised (`PCI_STATUS_INTERRUPT`).
        const INTERRUPT = 1 << 3;
        /// There is a capability list (`PCI_STATUS_CAP_LIST`).
        const CAP_LIST = 1 << 4;
        const _ = !0;
    }
}

/// What a BAR register decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarKind {
    /// I/O ports.
    Io,
    /// Memory below 4 GiB.
    Memory32 {
        /// Reading has no effects.
        prefetchable: bool,
    },
    /// Memory anywhere; takes the next register too.
    Memory64 {
        /// Reading has no effects.
        prefetchable: bool,
    },
}

/// A BAR register that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarRegister {
    /// 0 to 5; of a 64-bit BAR, the lower register.
    pub index: u8,
    /// What it decodes.
    pub kind: BarKind,
    /// Bus address; 0 where none was given.
    pub address: u64,
}

/// A configuration space that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Not a length that a configuration space has.
    #[error("a configuration space has 64 to 4096 bytes, not {0}")]
    Length(usize),
    /// The vendor id is all ones.
    #[error("configuration space reads as all ones: the device was removed or is in reset")]
    Gone,
}

/// An image of a function's configuration space: 64 to 4,096 bytes, which nobody vouches for.
#[derive(Clone, Copy, Debug)]
pub struct ConfigImage<'a> {
    bytes: &'a [u8],
}

impl<'a> ConfigImage<'a> {
    /// Looks at `bytes`.
    ///
    /// # Errors
    /// [`ConfigError`]: a length outside 64 to 4,096 bytes, or a vendor id of all ones (no device).
    pub fn new(bytes: &'a [u8]) -> Result<Self, ConfigError> {
        if !(STD_HEADER_SIZEOF..=CFG_SPACE_EXP_SIZE).contains(&bytes.len()) {
            return Err(ConfigError::Length(bytes.len()));
        }
        let image = Self { bytes };
        if image.u16(0) == Some(u16::MAX) {
            Err(ConfigError::Gone)
        } else {
            Ok(image)
        }
    }

    /// What the function is.
    pub fn id(&self) -> PciId {
        let mut header = [0; STD_HEADER_SIZEOF];
        header.copy_from_slice(&self.bytes[..STD_HEADER_SIZEOF]); // `new` checked the length
        PciId::from_header(&header)
    }

    /// The COMMAND register.
    pub fn command(&self) -> Command {
        Command::from_bits_retain(self.u16(COMMAND).unwrap_or(0))
    }

    /// The STATUS register.
    pub fn status(&self) -> Status {
        Status::from_bits_retain(self.u16(STATUS).unwrap_or(0))
    }

    /// The layout of the header: 0 device, 1 bridge, 2 CardBus (`PCI_HEADER_TYPE`).
    pub fn header_type(&self) -> u8 {
        self.u8(HEADER_TYPE).unwrap_or(0) & HEADER_TYPE_MASK
    }

    /// Whether the device says that it has more functions.
    pub fn is_multifunction(&self) -> bool {
        self.u8(HEADER_TYPE).unwrap_or(0) & HEADER_TYPE_MFD != 0
    }

    /// The BAR registers that are in use (an all-zero register counts as unused), in rising order.
    pub fn bars(&self) -> Vec<BarRegister> {
        let count = match self.header_type() {
            HEADER_TYPE_NORMAL => 6,
            HEADER_TYPE_BRIDGE => 2,
            _ => 0,
        };
        let (mut bars, mut index) = (Vec::new(), 0u8);
        while index < count {
            let bar = self.bar(index, index + 1 < count);
            let wide = matches!(
                bar,
                Some(BarRegister {
                    kind: BarKind::Memory64 { .. },
                    ..
                })
            );
            bars.extend(bar);
            index += if wide { 2 } else { 1 };
        }
        bars
    }

    /// A 64-bit type in the last register has no upper half: it is taken for a 32-bit one.
    fn bar(&self, index: u8, has_next: bool) -> Option<BarRegister> {
        let at = BASE_ADDRESS_0 + 4 * usize::from(index);
        let low = self.u32(at)?;
        if low & BASE_ADDRESS_SPACE_IO != 0 {
            return Some(BarRegister {
                index,
                kind: BarKind::Io,
                address: u64::from(low & !0x3),
            });
        }
        let prefetchable = low & BASE_ADDRESS_MEM_PREFETCH != 0;
        if has_next && low & BASE_ADDRESS_MEM_TYPE_MASK == BASE_ADDRESS_MEM_TYPE_64 {
            let address = u64::from(self.u32(at + 4)?) << 32 | u64::from(low & !0xf);
            return Some(BarRegister {
                index,
                kind: BarKind::Memory64 { prefetchable },
                address,
            });
        }
        let kind = BarKind::Memory32 { prefetchable };
        (low != 0).then_some(BarRegister {
            index,
            kind,
            address: u64::from(low & !0xf),
        })
    }

    /// Walks the standard capabilities; an error is the walk's last item.
    pub fn capabilities(&self) -> Walk<'a> {
        Walk::standard(*self)
    }

    /// Walks the extended capabilities (offset 0x100 on); empty where the image ends before.
    pub fn extended_capabilities(&self) -> Walk<'a> {
        Walk::extended(*self)
    }

    /// The first capability with this id (`PCI_CAP_ID_*`).
    ///
    /// # Errors
    /// [`CapError`] when the list is broken before it.
    pub fn find(&self, wanted: u8) -> Result<Option<Capability>, CapError> {
        self.capabilities()
            .find(|cap| !matches!(cap, Ok(cap) if cap.id != u16::from(wanted)))
            .transpose()
    }

    /// The MSI-X capability, decoded.
    ///
    /// # Errors
    /// [`CapError`]: a broken list, or a capability that does not fit the image.
    pub fn msix(&self) -> Result<Option<Msix>, CapError> {
        self.find(id::MSIX)?
            .map(|cap| Msix::parse(self, cap.offset))
            .transpose()
    }

    /// The PCI Express capability, decoded.
    ///
    /// # Errors
    /// As [`ConfigImage::msix`].
    pub fn pci_express(&self) -> Result<Option<PciExpress>, CapError> {
        self.find(id::EXP)?
            .map(|cap| PciExpress::parse(self, cap.offset))
            .transpose()
    }

    /// The power-management capability, decoded.
    ///
    /// # Errors
    /// As [`ConfigImage::msix`].
    pub fn power_management(&self) -> Result<Option<PowerManagement>, CapError> {
        self.find(id::PM)?
            .map(|cap| PowerManagement::parse(self, cap.offset))
            .transpose()
    }

    /// The bytes of the vendor-specific capabilities, each with its id and next pointer (virtio has several).
    ///
    /// # Errors
    /// As [`ConfigImage::msix`].
    pub fn vendor_specific(&self) -> Result<Vec<&'a [u8]>, CapError> {
        let mut found = Vec::new();
        for cap in self.capabilities() {
            let cap = cap?;
            if cap.id == u16::from(id::VNDR) {
                let (at, outside) = (usize::from(cap.offset), CapError::OutOfRange { at: cap.offset });
                let len = usize::from(self.u8(at + 2).ok_or(outside)?);
                found.push(self.bytes.get(at..at + len.max(3)).ok_or(outside)?);
            }
        }
        Ok(found)
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn u8(&self, at: usize) -> Option<u8> {
        self.bytes.get(at).copied()
    }

    pub(super) fn u16(&self, at: usize) -> Option<u16> {
        Some(u16::from_le_bytes(*self.bytes.get(at..)?.first_chunk()?))
    }

    pub(super) fn u32(&self, at: usize) -> Option<u32> {
        Some(u32::from_le_bytes(*self.bytes.get(at..)?.first_chunk()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(set: &[(usize, u32)]) -> [u8; 64] {
        let mut bytes = [0; 64];
        for (at, value) in set {
            bytes[*at..*at + 4].copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    proptest! {
        #[test]
        fn any_image_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..4200)) {
            let Ok(image) = ConfigImage::new(&bytes) else { return Ok(()) };
            let _ = (image.id(), image.command(), image.status(), image.is_multifunction());
            prop_assert!(image.bars().len() <= 6);
            prop_assert!(image.bars().is_sorted_by_key(|bar| bar.index));
            let _ = (image.msix(), image.pci_express(), image.power_management(), image.vendor_specific());
        }
    }

    #[test]
    fn bars_are_decoded() {
        let bytes = header(&[
            (0x10, 0xe000_000c),
            (0x14, 0x12),
            (0x18, 0xc001),
            (0x1c, 0xfebc_0000),
            (0x24, 0x4),
        ]);
        let bars = ConfigImage::new(&bytes).unwrap().bars();
        let expect = [
            (0, BarKind::Memory64 { prefetchable: true }, 0x12_e000_0000),
            (2, BarKind::Io, 0xc000),
            (3, BarKind::Memory32 { prefetchable: false }, 0xfebc_0000),
            (5, BarKind::Memory32 { prefetchable: false }, 0),
        ];
        assert_eq!(
            bars,
            expect.map(|(index, kind, address)| BarRegister { index, kind, address })
        );
    }

    #[test]
    fn bridges_have_two_bars_and_cardbus_none() {
        let bars = |kind: u8| {
            let mut bytes = header(&[(0x10, 0x1000), (0x14, 0x2000), (0x18, 0x3000)]);
            bytes[HEADER_TYPE] = kind;
            ConfigImage::new(&bytes).unwrap().bars().len()
        };
        assert_eq!([bars(0x80), bars(1), bars(2)], [3, 2, 0]);
    }

    #[test]
    fn absent_devices_and_wrong_lengths_are_refused() {
        assert_eq!(ConfigImage::new(&[0xff; 256]).unwrap_err(), ConfigError::Gone);
        assert_eq!(ConfigImage::new(&[0; 63]).unwrap_err(), ConfigError::Length(63));
        assert_eq!(
            ConfigImage::new(&[0; 4097]).unwrap_err(),
            ConfigError::Length(4097)
        );
    }

    #[test]
    fn command_bits_are_named() {
        let image = header(&[(0x04, 0x0010_0406)]);
        let image = ConfigImage::new(&image).unwrap();
        assert_eq!(
            image.command(),
            Command::MEMORY | Command::MASTER | Command::INTX_DISABLE
        );
        assert_eq!(image.status(), Status::CAP_LIST);
    }
}
