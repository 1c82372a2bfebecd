//! The structures of `kmod/include/uapi/barline.h`, ABI version 1, field by field.

use super::super::KmodError;
use crate::mem::Window;
use crate::pci::PciAddress;
use std::mem::offset_of;

/// `BARLINE_ABI`.
pub(in super::super) const ABI: u32 = 1;
/// `BARLINE_IOC`.
pub(super) const IOC: u8 = 0xba;

/// `BARLINE_MAP_READ`.
pub(super) const MAP_READ: u32 = 1 << 0;
/// `BARLINE_MAP_WRITE`.
pub(super) const MAP_WRITE: u32 = 1 << 1;
/// `BARLINE_MMAP_REVOKE_ONES`.
pub(in super::super) const MAP_REVOKE_ONES: u64 = 1 << 43;
/// `BARLINE_REGION_MMAP`.
pub(in super::super) const REGION_MMAP: u32 = 1 << 2;
/// `BARLINE_REGION_IO`.
pub(in super::super) const REGION_IO: u32 = 1 << 4;
/// `BARLINE_REGION_AREAS`.
pub(super) const REGION_AREAS: u32 = 1 << 5;
/// `BARLINE_REGION_CONFIG`.
pub(in super::super) const REGION_CONFIG: u32 = 7;
/// `BARLINE_IRQ_MSIX`.
pub(in super::super) const IRQ_MSIX: u32 = 2;
/// `BARLINE_IRQ_ERR`.
pub(in super::super) const IRQ_ERR: u32 = 3;
/// `BARLINE_IRQ_REQ`.
pub(in super::super) const IRQ_REQ: u32 = 4;
/// `BARLINE_IRQ_PM`.
pub(in super::super) const IRQ_PM: u32 = 5;

/// `struct barline_range`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Range {
    pub first: u64,
    pub last: u64,
}

impl Range {
    pub fn window(&self) -> Window {
        Window {
            first: self.first,
            last: self.last,
        }
    }
}

/// `struct barline_ioas_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct IoasInfo {
    pub argsz: u32,
    pub flags: u32,
    pub abi: u32,
    pub nr_reserved: u32,
    pub page_sizes: u64,
    pub aperture: Range,
    pub reserved_ptr: u64,
    pub max_maps: u64,
    pub reserved: u64,
}

/// `struct barline_ioas_map`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct IoasMap {
    pub argsz: u32,
    pub flags: u32,
    pub vaddr: u64,
    pub iova: u64,
    pub size: u64,
}

/// `struct barline_ioas_unmap`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct IoasUnmap {
    pub argsz: u32,
    pub flags: u32,
    pub iova: u64,
    pub size: u64,
    pub unmapped: u64,
}

/// `struct barline_dev_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct DevInfo {
    pub argsz: u32,
    pub flags: u32,
    pub regions: u32,
    pub irqs: u32,
    pub vendor: u16,
    pub device: u16,
    pub subsystem_vendor: u16,
    pub subsystem_device: u16,
    pub domain: u32,
    pub bus: u8,
    pub devfn: u8,
    pub pad: u16,
    pub group: i32,
    pub numa_node: i32,
    pub reset_methods: u32,
    pub state: u32,
    pub pm_event: u32,
    pub abi: u32,
    pub reserved: u64,
}

impl DevInfo {
    /// Where the device is.
    pub(in super::super) fn address(&self) -> Result<PciAddress, KmodError> {
        let segment = u16::try_from(self.domain);
        Ok(PciAddress {
            segment: segment.map_err(|_| KmodError::BadAnswer("a PCI domain above 65535"))?,
            bus: self.bus,
            device: self.devfn >> 3,
            function: self.devfn & 7,
        })
    }
}

/// `struct barline_area`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pair {
    pub offset: u64,
    pub size: u64,
}

/// `struct barline_region_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RegionInfo {
    pub argsz: u32,
    pub flags: u32,
    pub index: u32,
    pub nr_areas: u32,
    pub size: u64,
    pub offset: u64,
    pub areas_ptr: u64,
    pub reserved: u64,
}

/// `struct barline_irq_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct IrqInfo {
    pub argsz: u32,
    pub flags: u32,
    pub index: u32,
    pub count: u32,
}

/// `struct barline_set_irqs`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SetIrqs {
    pub argsz: u32,
    pub flags: u32,
    pub index: u32,
    pub start: u32,
    pub count: u32,
    pub pad: u32,
    pub data_ptr: u64,
}

/// `struct barline_attach`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attach {
    pub argsz: u32,
    pub flags: u32,
    pub ioas_fd: i32,
    pub pad: u32,
}

/// `struct barline_simple`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Simple {
    pub argsz: u32,
    pub flags: u32,
}

/// `struct barline_bus_master` and `struct barline_pm_ack`: one word.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flagged {
    pub argsz: u32,
    pub flags: u32,
    pub value: u32,
    pub pad: u32,
}

impl Flagged {
    pub fn new(value: u32) -> Self {
        Self {
            argsz: size_of::<Self>() as u32,
            value,
            ..Self::default()
        }
    }
}

// The asserts of the header, repeated: both sides have to be changed to break them.
const _: () = {
    assert!(size_of::<Range>() == 16 && size_of::<Pair>() == 16);
    assert!(size_of::<IoasInfo>() == 64 && offset_of!(IoasInfo, aperture) == 24);
    assert!(size_of::<IoasMap>() == 32 && size_of::<IoasUnmap>() == 32);
    assert!(size_of::<DevInfo>() == 64 && offset_of!(DevInfo, state) == 44);
    assert!(size_of::<RegionInfo>() == 48 && offset_of!(RegionInfo, size) == 16);
    assert!(size_of::<IrqInfo>() == 16 && size_of::<SetIrqs>() == 32);
    assert!(offset_of!(SetIrqs, data_ptr) == 24);
    assert!(size_of::<Attach>() == 16 && size_of::<Simple>() == 8 && size_of::<Flagged>() == 16);
};

#[cfg(test)]
mod tests {
    use super::*;

    /// The C header, as its user would read it.
    const HEADER: &str = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../kmod/include/uapi/barline.h"
    ));

    /// The number behind `#define NAME` or `NAME =`, as written.
    fn value(name: &str) -> &'static str {
        let line = HEADER
            .lines()
            .find(|line| {
                let line = line.trim_start_matches("#define").trim_start();
                line.split_whitespace().next() == Some(name)
            })
            .unwrap_or_else(|| panic!("no {name} in the header"));
        let rest = line.split_once(name).unwrap().1.split("/*").next().unwrap();
        rest.trim_matches([' ', '\t', '=', ',', '(', ')'])
    }

    #[test]
    fn constants_are_those_of_the_header() {
        assert_eq!(value("BARLINE_ABI"), ABI.to_string());
        assert_eq!(value("BARLINE_IOC"), format!("{IOC:#X}").replace("0X", "0x"));
        let bit =
            |name, value_of: u32| assert_eq!(value(name), format!("1U << {}", value_of.trailing_zeros()));
        bit("BARLINE_MAP_READ", MAP_READ);
        bit("BARLINE_MAP_WRITE", MAP_WRITE);
        bit("BARLINE_REGION_MMAP", REGION_MMAP);
        bit("BARLINE_REGION_IO", REGION_IO);
        bit("BARLINE_REGION_AREAS", REGION_AREAS);
        assert_eq!(
            value("BARLINE_MMAP_REVOKE_ONES"),
            format!("1ULL << {}", MAP_REVOKE_ONES.trailing_zeros())
        );
        for (name, index) in [
            ("BARLINE_REGION_CONFIG", REGION_CONFIG),
            ("BARLINE_IRQ_MSIX", IRQ_MSIX),
            ("BARLINE_IRQ_ERR", IRQ_ERR),
            ("BARLINE_IRQ_REQ", IRQ_REQ),
            ("BARLINE_IRQ_PM", IRQ_PM),
        ] {
            assert_eq!(value(name), index.to_string(), "{name}");
        }
    }
}
