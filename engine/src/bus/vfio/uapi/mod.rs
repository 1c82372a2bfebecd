//! The kernel's interface: every ioctl of `linux/vfio.h` that the engine uses, with lengths it cannot get wrong.

mod domain;
pub(super) mod socket;

use crate::bus::trigger::Trigger;
use crate::mem::{Access, Iova};
use nix::errno::Errno;
use std::ffi::CStr;
use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use vfio_bindings::bindings::vfio::*;

/// The ioctls themselves; their numbers are `_IO(VFIO_TYPE, VFIO_BASE + n)`.
mod raw {
    use nix::{
        ioctl_none_bad, ioctl_read_bad, ioctl_readwrite_bad, ioctl_write_int_bad, ioctl_write_ptr_bad,
    };
    use vfio_bindings::bindings::vfio::*;

    const fn io(n: u32) -> nix::libc::Ioctl {
        nix::request_code_none!(VFIO_TYPE, VFIO_BASE + n)
    }

    ioctl_none_bad!(get_api_version, io(0));
    ioctl_write_int_bad!(check_extension, io(1));
    ioctl_write_int_bad!(set_iommu, io(2));
    ioctl_read_bad!(group_get_status, io(3), vfio_group_status);
    ioctl_write_ptr_bad!(group_set_container, io(4), i32);
    ioctl_write_ptr_bad!(group_get_device_fd, io(6), std::ffi::c_char);
    ioctl_readwrite_bad!(device_get_info, io(7), u8);
    ioctl_readwrite_bad!(device_get_region_info, io(8), u8);
    ioctl_readwrite_bad!(device_get_irq_info, io(9), u8);
    ioctl_write_ptr_bad!(device_set_irqs, io(10), u8);
    ioctl_none_bad!(device_reset, io(11));
    ioctl_readwrite_bad!(iommu_get_info, io(12), u8);
    ioctl_write_ptr_bad!(iommu_map_dma, io(13), vfio_iommu_type1_dma_map);
    ioctl_readwrite_bad!(iommu_unmap_dma, io(14), vfio_iommu_type1_dma_unmap);
    ioctl_write_ptr_bad!(device_feature, io(17), u8);
}

/// `VFIO_GET_API_VERSION`.
pub(super) fn api_version(container: BorrowedFd<'_>) -> io::Result<i32> {
    // SAFETY: takes no argument.
    Ok(unsafe { raw::get_api_version(container.as_raw_fd()) }?)
}

/// `VFIO_CHECK_EXTENSION`.
pub(super) fn check_extension(container: BorrowedFd<'_>, extension: u32) -> io::Result<bool> {
    // SAFETY: takes a number.
    Ok(unsafe { raw::check_extension(container.as_raw_fd(), extension as i32) }? > 0)
}

/// `VFIO_SET_IOMMU`.
pub(super) fn set_iommu(container: BorrowedFd<'_>, kind: u32) -> io::Result<()> {
    // SAFETY: takes a number.
    unsafe { raw::set_iommu(container.as_raw_fd(), kind as i32) }?;
    Ok(())
}

/// `VFIO_GROUP_GET_STATUS`: the flags.
pub(super) fn group_status(group: BorrowedFd<'_>) -> io::Result<u32> {
    let mut status = vfio_group_status {
        argsz: size_of::<vfio_group_status>() as u32,
        flags: 0,
    };
    // SAFETY: the kernel reads and writes at most the `argsz` bytes of `status`.
    unsafe { raw::group_get_status(group.as_raw_fd(), &mut status) }?;
    Ok(status.flags)
}

/// `VFIO_GROUP_SET_CONTAINER`.
pub(super) fn group_set_container(group: BorrowedFd<'_>, container: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the kernel reads one `int`; it takes its own reference of the container.
    unsafe { raw::group_set_container(group.as_raw_fd(), &container.as_raw_fd()) }?;
    Ok(())
}

/// `VFIO_GROUP_GET_DEVICE_FD`.
pub(super) fn group_device(group: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads up to the NUL byte, which a `CStr` has.
    let fd = unsafe { raw::group_get_device_fd(group.as_raw_fd(), name.as_ptr()) }?;
    // SAFETY: a fresh descriptor that nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `VFIO_DEVICE_RESET`.
pub(super) fn device_reset(device: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes no argument.
    unsafe { raw::device_reset(device.as_raw_fd()) }?;
    Ok(())
}

/// `VFIO_DEVICE_FEATURE`, setting `feature` to `data`.
pub(super) fn set_feature(device: BorrowedFd<'_>, feature: u32, data: &[u8; 16]) -> io::Result<()> {
    const HEADER: usize = size_of::<vfio_device_feature>();
    let mut bytes = [0; HEADER + 16];
    let fields = [bytes.len() as u32, feature | VFIO_DEVICE_FEATURE_SET];
    for (field, value) in bytes.chunks_exact_mut(4).zip(fields) {
        field.copy_from_slice(&value.to_ne_bytes());
    }
    bytes[HEADER..].copy_from_slice(data);
    // SAFETY: the kernel reads at most `argsz` bytes, the first field, which is the buffer's length; it copies
    // bytewise.
    unsafe { raw::device_feature(device.as_raw_fd(), bytes.as_ptr()) }?;
    Ok(())
}

/// The info ioctls: structures that begin with `argsz` and can be followed by capabilities.
#[derive(Clone, Copy, Debug)]
pub(super) enum Query {
    Iommu,
    Device,
    Region(u32),
    Irq(u32),
}

/// No answer is longer: the longest chain that kernels make has a few hundred bytes.
const LONGEST_ANSWER: usize = 64 << 10;

/// Asks, and asks again with a longer buffer when the kernel has more to say.
pub(super) fn query(fd: BorrowedFd<'_>, query: Query) -> io::Result<Vec<u8>> {
    let mut answer = vec![0; query.size()];
    for _ in 0..4 {
        let wanted = ask(fd, query, &mut answer)?;
        if wanted <= answer.len() {
            return Ok(answer);
        }
        if wanted > LONGEST_ANSWER {
            break;
        }
        answer = vec![0; wanted];
    }
    Err(io::Error::other("the kernel's answer does not stop growing"))
}

impl Query {
    fn size(self) -> usize {
        match self {
            Self::Iommu => size_of::<vfio_iommu_type1_info>(),
            Self::Device => size_of::<vfio_device_info>(),
            Self::Region(_) => size_of::<vfio_region_info>(),
            Self::Irq(_) => size_of::<vfio_irq_info>(),
        }
    }
}

/// One info ioctl into `answer`; returns the length that the kernel would have filled.
fn ask(fd: BorrowedFd<'_>, query: Query, answer: &mut [u8]) -> io::Result<usize> {
    let mut put = |at: usize, value: u32| {
        let field = answer.get_mut(at..at + 4).ok_or(Errno::EINVAL)?;
        field.copy_from_slice(&value.to_ne_bytes());
        Ok::<_, Errno>(answer.len())
    };
    // `argsz` is the buffer's own length, and the first field of all four.
    put(0, 0)?;
    match query {
        Query::Region(index) => put(offset_of!(vfio_region_info, index), index)?,
        Query::Irq(index) => put(offset_of!(vfio_irq_info, index), index)?,
        Query::Iommu | Query::Device => 0,
    };
    let len = u32::try_from(answer.len()).map_err(io::Error::other)?;
    answer[..4].copy_from_slice(&len.to_ne_bytes());
    let (fd, at) = (fd.as_raw_fd(), answer.as_mut_ptr());
    // SAFETY: the kernel reads and writes at most `argsz` bytes from `at`, and that is the buffer's length; it
    // copies bytewise, so the buffer needs no alignment.
    unsafe {
        match query {
            Query::Iommu => raw::iommu_get_info(fd, at),
            Query::Device => raw::device_get_info(fd, at),
            Query::Region(_) => raw::device_get_region_info(fd, at),
            Query::Irq(_) => raw::device_get_irq_info(fd, at),
        }
    }?;
    let wanted = answer.first_chunk().map_or(0, |argsz| u32::from_ne_bytes(*argsz));
    Ok(wanted as usize)
}

/// `VFIO_DEVICE_SET_IRQS` for the interrupts of `index`.
///
/// Returns the kernel's number: 0 when done; above, there are only so many vectors and nothing was done.
pub(super) fn set_irqs(device: BorrowedFd<'_>, index: u32, trigger: Trigger<'_>) -> io::Result<u32> {
    let request = trigger.request();
    let argsz = (size_of::<vfio_irq_set>() + 4 * request.fds.len()) as u32;
    let header = [argsz, request.flags, index, request.start, request.count];
    let mut bytes: Vec<u8> = header.iter().flat_map(|field| field.to_ne_bytes()).collect();
    bytes.extend(request.fds.iter().flat_map(|fd| fd.to_ne_bytes())); // any `int` can be a descriptor
    // SAFETY: the kernel reads at most `argsz` bytes, which is the buffer's length (a header of five words and
    // the descriptors); it takes its own references of the eventfds.
    let done = unsafe { raw::device_set_irqs(device.as_raw_fd(), bytes.as_ptr()) }?;
    Ok(done as u32) // not negative: that is an errno
}

/// `VFIO_IOMMU_MAP_DMA`.
///
/// # Safety
/// As [`crate::mem::DmaDomain::map`]: from here on devices reach the memory.
unsafe fn map_dma(
    container: BorrowedFd<'_>,
    va: NonNull<u8>,
    len: usize,
    iova: Iova,
    access: Access,
) -> io::Result<()> {
    let write = if access == Access::ReadWrite {
        VFIO_DMA_MAP_FLAG_WRITE
    } else {
        0
    };
    let map = vfio_iommu_type1_dma_map {
        argsz: size_of::<vfio_iommu_type1_dma_map>() as u32,
        flags: VFIO_DMA_MAP_FLAG_READ | write,
        vaddr: va.as_ptr() as u64,
        iova: iova.raw(),
        size: len as u64,
    };
    // SAFETY: the kernel reads the structure; the caller answers for the memory it names.
    unsafe { raw::iommu_map_dma(container.as_raw_fd(), &map) }?;
    Ok(())
}

/// `VFIO_IOMMU_UNMAP_DMA`: the number of bytes that are unmapped now.
fn unmap_dma(container: BorrowedFd<'_>, iova: Iova, len: usize) -> io::Result<u64> {
    let mut unmap = vfio_iommu_type1_dma_unmap {
        argsz: size_of::<vfio_iommu_type1_dma_unmap>() as u32,
        iova: iova.raw(),
        size: len as u64,
        ..Default::default()
    };
    // SAFETY: the kernel reads and writes at most `argsz` bytes of the structure. Taking memory away from devices
    // harms no memory.
    unsafe { raw::iommu_unmap_dma(container.as_raw_fd(), &mut unmap) }?;
    Ok(unmap.size)
}
