//! What an interface is asked by ioctl(2), and memberships that end with a socket.

use super::{done, set_option};
use std::ffi::c_char;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `SIOCETHTOOL` (linux/sockios.h).
const ETHTOOL: u64 = 0x8946;
const GCHANNELS: u32 = 0x3c;
const MR_PROMISC: u16 = 1;
const MR_ALLMULTI: u16 = 2;
const ADD_MEMBERSHIP: i32 = 1;
const DROP_MEMBERSHIP: i32 = 2;

/// A socket that receives nothing: for ioctls and memberships.
pub(crate) fn packet_socket() -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = done(unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) }.into())?;
    // SAFETY: fresh from the kernel, ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// # Safety
/// `data` is the structure of an ethtool command, as long as the kernel thinks.
unsafe fn ethtool<T>(fd: BorrowedFd<'_>, name: &str, data: &mut T) -> io::Result<()> {
    // SAFETY: all zeros are an `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let most = request.ifr_name.len() - 1;
    for (to, byte) in request.ifr_name[..most].iter_mut().zip(name.bytes()) {
        *to = byte as c_char;
    }
    request.ifr_ifru.ifru_data = std::ptr::from_mut(data).cast();
    // SAFETY: the request and what it points to outlive the call.
    done(unsafe { libc::ioctl(fd.as_raw_fd(), ETHTOOL as _, &raw mut request) }.into()).map(drop)
}

/// Receive queues and transmit queues that are in use (`ETHTOOL_GCHANNELS`).
pub(crate) fn channels(fd: BorrowedFd<'_>, name: &str) -> io::Result<(u32, u32)> {
    // Command; the most of rx, tx, other, combined; the same in use.
    let mut words = [0u32; 9];
    words[0] = GCHANNELS;
    // SAFETY: `struct ethtool_channels` is nine words.
    unsafe { ethtool(fd, name, &mut words) }?;
    let [.., rx, tx, _, both] = words;
    Ok((rx.saturating_add(both), tx.saturating_add(both)))
}

#[repr(C)]
struct Membership {
    interface: i32,
    kind: u16,
    address_len: u16,
    address: [u8; 8],
}

/// As long as the socket is open, or until it is switched off: the interface receives frames for any station, or all
/// multicast frames.
pub(crate) fn widen(fd: BorrowedFd<'_>, interface: u32, multicast_only: bool, on: bool) -> io::Result<()> {
    let membership = Membership {
        interface: interface as i32,
        kind: if multicast_only { MR_ALLMULTI } else { MR_PROMISC },
        address_len: 0,
        address: [0; 8],
    };
    let name = if on { ADD_MEMBERSHIP } else { DROP_MEMBERSHIP };
    set_option(fd, libc::SOL_PACKET, name, &membership)
}
