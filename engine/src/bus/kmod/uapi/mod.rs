//! The module's interface: every ioctl of `barline.h` that the engine uses.

mod domain;
mod layout;

pub(super) use layout::{ABI, DevInfo, IRQ_ERR, IRQ_MSIX, IRQ_PM, IRQ_REQ, MAP_REVOKE_ONES, REGION_CONFIG};
pub(super) use layout::{REGION_IO, REGION_MMAP};

use crate::bus::region::{Area, Place};
use crate::bus::trigger::Trigger;
use crate::mem::{Access, Iova, Window};
use layout::*;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

/// The ioctls themselves: `_IO(0xBA, n)`, each with a structure that begins with its size.
mod raw {
    use super::layout::*;
    use nix::{ioctl_readwrite_bad, request_code_none};

    ioctl_readwrite_bad!(ioas_info, request_code_none!(IOC, 0x00), IoasInfo);
    ioctl_readwrite_bad!(ioas_map, request_code_none!(IOC, 0x01), IoasMap);
    ioctl_readwrite_bad!(ioas_unmap, request_code_none!(IOC, 0x02), IoasUnmap);
    ioctl_readwrite_bad!(dev_info, request_code_none!(IOC, 0x20), DevInfo);
    ioctl_readwrite_bad!(dev_region_info, request_code_none!(IOC, 0x21), RegionInfo);
    ioctl_readwrite_bad!(dev_irq_info, request_code_none!(IOC, 0x22), IrqInfo);
    ioctl_readwrite_bad!(dev_set_irqs, request_code_none!(IOC, 0x23), SetIrqs);
    ioctl_readwrite_bad!(dev_attach, request_code_none!(IOC, 0x24), Attach);
    ioctl_readwrite_bad!(dev_reset, request_code_none!(IOC, 0x26), Simple);
    ioctl_readwrite_bad!(dev_bus_master, request_code_none!(IOC, 0x27), Flagged);
    ioctl_readwrite_bad!(dev_pm_ack, request_code_none!(IOC, 0x28), Flagged);
}

/// Where a device can do DMA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reach {
    pub aperture: Window,
    pub reserved: Vec<Window>,
    pub page_sizes: u64,
    pub max_maps: u64,
    pub abi: u32,
}

/// Lists are asked for with this room at first, and with what there is afterwards.
const ROOM: u32 = 64;

/// `BARLINE_IOAS_INFO`.
pub(super) fn ioas_info(ioas: BorrowedFd<'_>) -> io::Result<Reach> {
    let mut room = ROOM;
    loop {
        let mut ranges = vec![Range::default(); room as usize];
        let mut info = IoasInfo {
            argsz: size_of::<IoasInfo>() as u32,
            nr_reserved: room,
            reserved_ptr: ranges.as_mut_ptr() as u64,
            ..Default::default()
        };
        // SAFETY: the kernel reads and writes the `argsz` bytes of `info` and at most `nr_reserved` elements of
        // `ranges`, which has that many.
        unsafe { raw::ioas_info(ioas.as_raw_fd(), &mut info) }?;
        if info.nr_reserved <= room {
            ranges.truncate(info.nr_reserved as usize);
            return Ok(Reach {
                aperture: info.aperture.window(),
                reserved: ranges.iter().map(Range::window).collect(),
                page_sizes: info.page_sizes,
                max_maps: info.max_maps,
                abi: info.abi,
            });
        }
        room = info.nr_reserved;
    }
}

/// `BARLINE_IOAS_MAP`.
///
/// # Safety
/// As [`crate::mem::DmaDomain::map`]: from here on devices reach the memory.
unsafe fn ioas_map(
    ioas: BorrowedFd<'_>,
    va: NonNull<u8>,
    len: usize,
    iova: Iova,
    access: Access,
) -> io::Result<()> {
    let mut map = IoasMap {
        argsz: size_of::<IoasMap>() as u32,
        flags: MAP_READ | if access == Access::ReadWrite { MAP_WRITE } else { 0 },
        vaddr: va.as_ptr() as u64,
        iova: iova.raw(),
        size: len as u64,
    };
    // SAFETY: the kernel reads the structure; the caller answers for the memory it names.
    unsafe { raw::ioas_map(ioas.as_raw_fd(), &mut map) }?;
    Ok(())
}

/// `BARLINE_IOAS_UNMAP`: the number of bytes that are unmapped now.
fn ioas_unmap(ioas: BorrowedFd<'_>, iova: Iova, len: usize) -> io::Result<u64> {
    let mut unmap = IoasUnmap {
        argsz: size_of::<IoasUnmap>() as u32,
        iova: iova.raw(),
        size: len as u64,
        ..Default::default()
    };
    // SAFETY: the kernel reads and writes the `argsz` bytes of `unmap`. Taking memory away from devices harms none.
    unsafe { raw::ioas_unmap(ioas.as_raw_fd(), &mut unmap) }?;
    Ok(unmap.unmapped)
}

/// `BARLINE_DEV_INFO`.
pub(super) fn dev_info(device: BorrowedFd<'_>) -> io::Result<DevInfo> {
    let mut info = DevInfo {
        argsz: size_of::<DevInfo>() as u32,
        ..Default::default()
    };
    // SAFETY: the kernel reads and writes the `argsz` bytes of `info`.
    unsafe { raw::dev_info(device.as_raw_fd(), &mut info) }?;
    Ok(info)
}

/// `BARLINE_DEV_REGION_INFO`: the flags, and where it is. BARs read as all ones once the device is revoked.
pub(super) fn region_info(device: BorrowedFd<'_>, index: u32) -> io::Result<(u32, Place)> {
    let mut areas = vec![Pair::default(); ROOM as usize];
    let mut info = RegionInfo {
        argsz: size_of::<RegionInfo>() as u32,
        index,
        nr_areas: ROOM,
        areas_ptr: areas.as_mut_ptr() as u64,
        ..Default::default()
    };
    // SAFETY: the kernel reads and writes the `argsz` bytes of `info` and at most `nr_areas` elements of `areas`,
    // which has that many.
    unsafe { raw::dev_region_info(device.as_raw_fd(), &mut info) }?;
    areas.truncate(info.nr_areas as usize); // a BAR has three at most, so they fitted
    let area = |pair: &Pair| Area {
        offset: pair.offset,
        size: pair.size,
    };
    let place = Place {
        size: info.size,
        offset: info.offset,
        map_flags: MAP_REVOKE_ONES,
        mappable: info.flags & REGION_MMAP != 0,
        areas: (info.flags & REGION_AREAS != 0).then(|| areas.iter().map(area).collect()),
    };
    Ok((info.flags, place))
}

/// `BARLINE_DEV_IRQ_INFO`: the number of vectors.
pub(super) fn irq_count(device: BorrowedFd<'_>, index: u32) -> io::Result<u32> {
    let mut info = IrqInfo {
        argsz: size_of::<IrqInfo>() as u32,
        index,
        ..Default::default()
    };
    // SAFETY: the kernel reads and writes the `argsz` bytes of `info`.
    unsafe { raw::dev_irq_info(device.as_raw_fd(), &mut info) }?;
    Ok(info.count)
}

/// `BARLINE_DEV_SET_IRQS` for the interrupts of `index`.
pub(super) fn set_irqs(device: BorrowedFd<'_>, index: u32, trigger: Trigger<'_>) -> io::Result<()> {
    let request = trigger.request();
    let mut set = SetIrqs {
        argsz: size_of::<SetIrqs>() as u32,
        flags: request.flags,
        index,
        start: request.start,
        count: request.count,
        pad: 0,
        data_ptr: request.fds.as_ptr() as u64,
    };
    // SAFETY: the kernel reads the structure and `count` descriptors, which is what `fds` has where the flags say
    // that there are some; it takes its own references of the eventfds.
    unsafe { raw::dev_set_irqs(device.as_raw_fd(), &mut set) }?;
    Ok(())
}

/// `BARLINE_DEV_ATTACH`.
pub(super) fn attach(device: BorrowedFd<'_>, ioas: BorrowedFd<'_>) -> io::Result<()> {
    let mut attach = Attach {
        argsz: size_of::<Attach>() as u32,
        flags: 0,
        ioas_fd: ioas.as_raw_fd(),
        pad: 0,
    };
    // SAFETY: the kernel reads the structure, and takes its own reference of the address space.
    unsafe { raw::dev_attach(device.as_raw_fd(), &mut attach) }?;
    Ok(())
}

/// `BARLINE_DEV_RESET`.
pub(super) fn reset(device: BorrowedFd<'_>) -> io::Result<()> {
    let mut simple = Simple {
        argsz: size_of::<Simple>() as u32,
        flags: 0,
    };
    // SAFETY: the kernel reads the structure.
    unsafe { raw::dev_reset(device.as_raw_fd(), &mut simple) }?;
    Ok(())
}

/// `BARLINE_DEV_BUS_MASTER`.
pub(super) fn bus_master(device: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    let mut arg = Flagged::new(on.into());
    // SAFETY: the kernel reads the structure.
    unsafe { raw::dev_bus_master(device.as_raw_fd(), &mut arg) }?;
    Ok(())
}

/// `BARLINE_DEV_PM_ACK`.
pub(super) fn pm_ack(device: BorrowedFd<'_>, event: u32) -> io::Result<()> {
    let mut arg = Flagged::new(event);
    // SAFETY: the kernel reads the structure.
    unsafe { raw::dev_pm_ack(device.as_raw_fd(), &mut arg) }?;
    Ok(())
}
