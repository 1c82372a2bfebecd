//! System calls and memory shared with the kernel: all `unsafe` of the crate.
//!
//! Memory that the kernel writes is reached by atomics only, through rings whose lengths were checked against their
//! mappings. Structures are those of `linux/if_xdp.h` and `linux/bpf.h`.
#![allow(unsafe_code)]

pub(crate) mod bpf;
pub(crate) mod ring;
pub(crate) mod umem;
pub(crate) mod xsk;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The kernel's word where a call returned -1.
fn done(result: i64) -> io::Result<i64> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value),
    }
}

fn set_option<T>(fd: BorrowedFd<'_>, level: i32, name: i32, value: &T) -> io::Result<()> {
    // SAFETY: the value outlives the call, its length is its own.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as u32,
        )
    };
    done(result.into()).map(drop)
}

/// Reads an option into a structure of integers.
///
/// # Safety
/// Any bytes are a `T`.
unsafe fn option<T: Default>(fd: BorrowedFd<'_>, level: i32, name: i32) -> io::Result<(T, usize)> {
    let (mut value, mut len) = (T::default(), size_of::<T>() as u32);
    // SAFETY: the kernel writes `len` bytes at most, which are a `T` (caller).
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            level,
            name,
            std::ptr::from_mut(&mut value).cast(),
            &mut len,
        )
    };
    done(result.into()).map(|_| (value, len as usize))
}
