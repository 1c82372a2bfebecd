//! The request to the kernel's TUN/TAP driver (linux/if_tun.h) that has an argument of its own kind. All `unsafe` of the crate
//! is here.
#![allow(unsafe_code)]

use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};

/// TUNSETOFFLOAD: what the kernel may leave to us to do. The argument is a number, not a pointer.
const SET_OFFLOAD: u64 = 0x4004_54d0;

pub(crate) fn set_offload(fd: BorrowedFd<'_>, offloads: u32) -> nix::Result<()> {
    // SAFETY: it takes a number and touches no memory of ours.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), SET_OFFLOAD as _, libc::c_ulong::from(offloads)) };
    Errno::result(done).map(drop)
}
