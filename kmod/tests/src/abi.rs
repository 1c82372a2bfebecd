//! `kmod/include/uapi/barline.h` in Rust: structures, numbers, and their layout.

#![allow(missing_docs, reason = "the header documents them")]

macro_rules! layout {
    ($($name:ident = $size:literal { $($field:ident: $type:ty),* $(,)? })*) => {$(
        #[repr(C)]
        #[derive(Debug, Clone, Copy, Default)]
        pub struct $name { $(pub $field: $type),* }
        const _: () = assert!(size_of::<$name>() == $size);
        impl $name {
            /// All zero but for argsz.
            pub fn new() -> Self {
                Self { argsz: $size, ..Self::default() }
            }
        }
    )*};
}

layout! {
    IoasInfo = 64 { argsz: u32, flags: u32, abi: u32, nr_reserved: u32, page_sizes: u64, first: u64, last: u64,
        reserved_ptr: u64, max_maps: u64, reserved: u64 }
    IoasMap = 32 { argsz: u32, flags: u32, vaddr: u64, iova: u64, size: u64 }
    IoasUnmap = 32 { argsz: u32, flags: u32, iova: u64, size: u64, unmapped: u64 }
    IoasStats = 48 { argsz: u32, flags: u32, maps: u64, pages: u64, iommu_map_calls: u64, largest_run: u64,
        reserved: u64 }
    DevInfo = 64 { argsz: u32, flags: u32, regions: u32, irqs: u32, vendor: u16, device: u16, subsystem_vendor: u16,
        subsystem_device: u16, domain: u32, bus: u8, devfn: u8, pad: u16, group: i32, numa_node: i32,
        reset_methods: u32, state: u32, pm_event: u32, abi: u32, reserved: u64 }
    RegionInfo = 48 { argsz: u32, flags: u32, index: u32, nr_areas: u32, size: u64, offset: u64, areas_ptr: u64,
        reserved: u64 }
    IrqInfo = 16 { argsz: u32, flags: u32, index: u32, count: u32 }
    SetIrqs = 32 { argsz: u32, flags: u32, index: u32, start: u32, count: u32, pad: u32, data_ptr: u64 }
    Attach = 16 { argsz: u32, flags: u32, ioas_fd: i32, pad: u32 }
    Simple = 8 { argsz: u32, flags: u32 }
    BusMaster = 16 { argsz: u32, flags: u32, on: u32, pad: u32 }
    PmAck = 16 { argsz: u32, flags: u32, event: u32, pad: u32 }
    CfgPolicy = 24 { argsz: u32, flags: u32, count: u32, pad: u32, rows_ptr: u64 }
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Range {
    pub first: u64,
    pub last: u64,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Area {
    pub offset: u64,
    pub size: u64,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct CfgRow {
    pub offset: u16,
    pub size: u16,
    pub cap: u16,
    pub why: u8,
    pub action: u8,
    pub bits: u32,
    pub virt: u32,
    pub write: u32,
    pub pad: u32,
}
const _: () = assert!(size_of::<CfgRow>() == 24);

const fn io(nr: u32) -> u32 {
    0xba << 8 | nr
}
pub const IOAS_INFO: u32 = io(0x00);
pub const IOAS_MAP: u32 = io(0x01);
pub const IOAS_UNMAP: u32 = io(0x02);
pub const IOAS_STATS: u32 = io(0x03);
pub const DEV_INFO: u32 = io(0x20);
pub const DEV_REGION_INFO: u32 = io(0x21);
pub const DEV_IRQ_INFO: u32 = io(0x22);
pub const DEV_SET_IRQS: u32 = io(0x23);
pub const DEV_ATTACH: u32 = io(0x24);
pub const DEV_DETACH: u32 = io(0x25);
pub const DEV_RESET: u32 = io(0x26);
pub const DEV_BUS_MASTER: u32 = io(0x27);
pub const DEV_PM_ACK: u32 = io(0x28);
pub const DEV_CFG_POLICY: u32 = io(0x29);

pub const MAP_READ: u32 = 1;
pub const MAP_WRITE: u32 = 2;
pub const UNMAP_ALL: u32 = 1;
pub const REGION_MMAP: u32 = 4;
pub const REGION_MSIX: u32 = 8;
pub const REGION_IO: u32 = 16;
pub const REGION_AREAS: u32 = 32;
pub const REGION_ROM: u32 = 6;
pub const REGION_CONFIG: u32 = 7;
pub const IRQ_INTX: u32 = 0;
pub const IRQ_MSI: u32 = 1;
pub const IRQ_MSIX: u32 = 2;
pub const IRQ_REQ: u32 = 4;
pub const IRQ_PM: u32 = 5;
pub const DATA_NONE: u32 = 1;
pub const DATA_EVENTFD: u32 = 4;
pub const UNMASK: u32 = 16;
pub const TRIGGER: u32 = 32;
pub const STATE_OPEN: u32 = 1;
pub const STATE_ATTACHED: u32 = 2;
pub const STATE_MASTER: u32 = 3;
pub const STATE_WOKEN_ATTACHED: u32 = 7;
pub const PM_SUSPEND: u32 = 1;
pub const PM_RESUME: u32 = 2;
pub const MMAP_REVOKE_ONES: u64 = 1 << 43;

/// File offset of a place in a region.
pub const fn at(region: u32, offset: u64) -> u64 {
    (region as u64) << 40 | offset
}
