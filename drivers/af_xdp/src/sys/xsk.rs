//! AF_XDP sockets (`linux/if_xdp.h`).

use super::ring::Offsets;
use super::{done, option, set_option};
use libc::{SOL_SOCKET, SOL_XDP, xdp_ring_offset};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::{NonNull, null, null_mut};

/// Most packets that one sendto takes in copy mode (`XDP_MAX_TX_SKB_BUDGET`, Linux 6.17).
const MAX_TX_SKB_BUDGET: i32 = 9;
const PREFER_BUSY_POLL: i32 = 69;
const BUSY_POLL_BUDGET: i32 = 70;

/// A fresh socket.
pub(crate) fn socket() -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = done(unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) }.into())?;
    // SAFETY: fresh from the kernel, ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Registers memory as the socket's UMEM, in chunks at any place.
///
/// # Safety
/// The memory stays mapped, and is used as memory that a device writes, until the socket and all that share its UMEM are
/// closed.
pub(crate) unsafe fn register(fd: BorrowedFd<'_>, at: NonNull<u8>, len: usize, chunk: u32) -> io::Result<()> {
    let umem = libc::xdp_umem_reg {
        addr: at.as_ptr() as u64,
        len: len as u64,
        chunk_size: chunk,
        headroom: 0,
        flags: libc::XDP_UMEM_UNALIGNED_CHUNK_FLAG,
        tx_metadata_len: 0,
    };
    set_option(fd, SOL_XDP, libc::XDP_UMEM_REG, &umem)
}

/// Gives the socket a ring: `XDP_RX_RING` and its like.
pub(crate) fn set_ring(fd: BorrowedFd<'_>, which: i32, len: u32) -> io::Result<()> {
    set_option(fd, SOL_XDP, which, &len)
}

/// Where the four rings have their parts: receive, transmit, fill, completion.
pub(crate) fn offsets(fd: BorrowedFd<'_>) -> io::Result<[Offsets; 4]> {
    type Words = [[u64; 4]; 4];
    const _: () = assert!(size_of::<Words>() == size_of::<libc::xdp_mmap_offsets>());
    const _: () = assert!(std::mem::offset_of!(xdp_ring_offset, desc) == 16);
    // SAFETY: an array of integers, laid out as the structure (above).
    let (words, len) = unsafe { option::<Words>(fd, SOL_XDP, libc::XDP_MMAP_OFFSETS) }?;
    if len < size_of::<Words>() {
        return Err(io::Error::from(io::ErrorKind::Unsupported)); // before Linux 5.4
    }
    Ok(words.map(|[producer, consumer, desc, flags]| Offsets {
        producer,
        consumer,
        flags,
        desc,
    }))
}

/// Binds to a queue of an interface; `shared` is a socket whose UMEM is used.
pub(crate) fn bind(
    fd: BorrowedFd<'_>,
    (interface, queue): (u32, u32),
    flags: u16,
    shared: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: if shared.is_some() {
            libc::XDP_SHARED_UMEM
        } else {
            flags
        },
        sxdp_ifindex: interface,
        sxdp_queue_id: queue,
        sxdp_shared_umem_fd: shared.map_or(0, |fd| fd.as_raw_fd() as u32),
    };
    // SAFETY: the address outlives the call, its length is its own.
    let result = unsafe {
        libc::bind(
            fd.as_raw_fd(),
            std::ptr::from_ref(&address).cast(),
            size_of_val(&address) as u32,
        )
    };
    done(result.into()).map(drop)
}

/// Whether the socket got zero copy.
pub(crate) fn is_zero_copy(fd: BorrowedFd<'_>) -> io::Result<bool> {
    // SAFETY: an integer.
    let (flags, _) = unsafe { option::<u32>(fd, SOL_XDP, libc::XDP_OPTIONS) }?;
    Ok(flags & libc::XDP_OPTIONS_ZEROCOPY != 0)
}

/// `struct xdp_statistics`: rx_dropped, rx_invalid_descs, tx_invalid_descs, rx_ring_full, rx_fill_ring_empty_descs.
pub(crate) fn statistics(fd: BorrowedFd<'_>) -> io::Result<[u64; 6]> {
    const _: () = assert!(size_of::<libc::xdp_statistics>() == 48);
    // SAFETY: an array of integers.
    unsafe { option::<[u64; 6]>(fd, SOL_XDP, libc::XDP_STATISTICS) }.map(|(words, _)| words)
}

/// Takes up to `packets` off the transmit ring at a time, where the kernel can be told.
pub(crate) fn set_tx_budget(fd: BorrowedFd<'_>, packets: u32) -> io::Result<()> {
    set_option(fd, SOL_XDP, MAX_TX_SKB_BUDGET, &packets)
}

/// The driver's work is done in this socket's system calls, `budget` packets each.
pub(crate) fn prefer_busy_poll(fd: BorrowedFd<'_>, budget: u32) -> io::Result<()> {
    set_option(fd, SOL_SOCKET, PREFER_BUSY_POLL, &1i32)?;
    set_option(fd, SOL_SOCKET, libc::SO_BUSY_POLL, &20i32)?;
    set_option(fd, SOL_SOCKET, BUSY_POLL_BUDGET, &budget)
}

/// Has the kernel send what is in the transmit ring.
#[inline]
pub(crate) fn kick_tx(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: nothing is sent but what is in the ring: no buffer, no address.
    let sent = unsafe { libc::sendto(fd.as_raw_fd(), null(), 0, libc::MSG_DONTWAIT, null(), 0) };
    done(sent as i64).map(drop)
}

/// Has the kernel look at the fill ring, and poll where busy polling is on.
#[inline]
pub(crate) fn kick_rx(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: nothing is received but to the ring: no buffer, no address.
    let got = unsafe {
        libc::recvfrom(
            fd.as_raw_fd(),
            null_mut(),
            0,
            libc::MSG_DONTWAIT,
            null_mut(),
            null_mut(),
        )
    };
    done(got as i64).map(drop)
}

/// Puts `other` in the place of `fd`: the number stays valid for who still uses it, what it stood for is closed.
pub(crate) fn put_in_place(other: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both are open descriptors; whoever owns `fd` goes on owning the number.
    let result = unsafe { libc::dup3(other.as_raw_fd(), fd.as_raw_fd(), libc::O_CLOEXEC) };
    done(result.into()).map(drop)
}
