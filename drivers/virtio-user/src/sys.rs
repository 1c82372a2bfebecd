//! The one thing that the `vhost` crate's types cannot do safely.
#![allow(unsafe_code)]

use barline::wait::EventFd;
use std::io;
use std::os::fd::{FromRawFd, IntoRawFd};

/// The same counter as the `vhost` crate wants it.
///
/// # Errors
/// Out of file descriptors.
pub(crate) fn lend(event: &EventFd) -> io::Result<vmm_sys_util::eventfd::EventFd> {
    let fd = event.duplicate()?.into_raw_fd();
    // SAFETY: a descriptor of our own that was just given up, and an eventfd.
    Ok(unsafe { vmm_sys_util::eventfd::EventFd::from_raw_fd(fd) })
}
