//! Requests to the kernel's TUN/TAP driver (linux/if_tun.h) and to the interface that it makes. All `unsafe` of the crate is
//! here.
#![allow(unsafe_code)]

use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `struct ifreq` (linux/if.h).
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ifreq {
    pub name: [u8; libc::IFNAMSIZ],
    pub value: [u8; 24],
}

impl Ifreq {
    /// About an interface, with a number as argument. The name is shorter than the field.
    pub fn number(name: &str, number: i32) -> Self {
        let mut request = Self {
            name: [0; libc::IFNAMSIZ],
            value: [0; 24],
        };
        let len = name.len().min(libc::IFNAMSIZ - 1);
        request.name[..len].copy_from_slice(&name.as_bytes()[..len]);
        request.value[..4].copy_from_slice(&number.to_ne_bytes());
        request
    }
}

/// Requests with an [`Ifreq`] as argument.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub(crate) enum Request {
    /// Makes the interface, or attaches a queue to it; flags.
    SetIff = 0x4004_54ca,
    /// What this file is attached to; refused when the interface is gone.
    GetIff = 0x8004_54d2,
    Flags = 0x8913,
    SetFlags = 0x8914,
    SetMtu = 0x8922,
    SetQueueLength = 0x8943,
}

pub(crate) fn request(fd: BorrowedFd<'_>, what: Request, argument: &mut Ifreq) -> nix::Result<()> {
    // SAFETY: each of these requests reads and writes one `struct ifreq`, which `Ifreq` is, and no more.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), what as _, argument as *mut Ifreq) };
    Errno::result(done).map(drop)
}

/// TUNSETOFFLOAD: what the kernel may leave to us to do. The argument is a number, not a pointer.
const SET_OFFLOAD: u64 = 0x4004_54d0;

pub(crate) fn set_offload(fd: BorrowedFd<'_>, offloads: u32) -> nix::Result<()> {
    // SAFETY: it takes a number and touches no memory of ours.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), SET_OFFLOAD as _, libc::c_ulong::from(offloads)) };
    Errno::result(done).map(drop)
}
