//! Packet sockets: options and the mapped rings. All `unsafe` of the crate is in this folder.
#![allow(unsafe_code)]

mod slots;

pub(crate) use barline_netif::{
    bind_packet as bind, packet_membership as membership, packet_option as option,
};
use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
pub(crate) use slots::{Refusal, Slots};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// Types that are plain numbers all through, as the kernel's structures for socket options are.
///
/// # Safety
/// Any bytes are a value, and there is no padding.
unsafe trait Plain: Copy {}
// SAFETY: a number.
unsafe impl Plain for i32 {}
// SAFETY: numbers of 32 bits.
unsafe impl Plain for libc::tpacket_req3 {}
// SAFETY: numbers of 32 bits.
unsafe impl Plain for libc::tpacket_req {}
// SAFETY: three numbers of 32 bits.
unsafe impl Plain for [u32; 3] {}

fn set<T: Plain>(fd: BorrowedFd<'_>, level: i32, option: i32, value: &T) -> nix::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel reads `len` bytes of a value of that size.
    let done = unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, (value as *const T).cast(), len) };
    Errno::result(done).map(drop)
}

fn get<T: Plain>(fd: BorrowedFd<'_>, option: i32, mut value: T) -> nix::Result<T> {
    let mut len = size_of::<T>() as libc::socklen_t;
    let place = (&raw mut value).cast();
    // SAFETY: the kernel writes at most `len` bytes into a value of that size, of which any bytes are one.
    let done = unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_PACKET, option, place, &mut len) };
    Errno::result(done).map(|_| value)
}

/// A packet socket that receives nothing yet.
pub(crate) fn socket() -> nix::Result<OwnedFd> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Packet, SockType::Raw, flags, None)
}

/// Reads an option that is a number.
pub(crate) fn option_of(fd: BorrowedFd<'_>, option: i32) -> nix::Result<i32> {
    get(fd, option, 0)
}

/// Frames that arrived and that found no room, since this was last asked.
pub(crate) fn statistics(fd: BorrowedFd<'_>) -> nix::Result<[u32; 2]> {
    let [packets, drops, _] = get(fd, libc::PACKET_STATISTICS, [0u32; 3])?;
    Ok([packets, drops])
}

/// One instruction of a classic BPF program: code, jump if true, jump if false, constant.
pub(crate) type Instruction = (u16, u8, u8, u32);

/// Puts a filter in the place of the one before.
pub(crate) fn filter(fd: BorrowedFd<'_>, program: &[Instruction]) -> nix::Result<()> {
    let code = |&(code, jt, jf, k): &Instruction| libc::sock_filter { code, jt, jf, k };
    let mut program: Vec<libc::sock_filter> = program.iter().map(code).collect();
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    let len = size_of_val(&program) as libc::socklen_t;
    let place = (&raw const program).cast();
    // SAFETY: the kernel reads the structure and as many instructions as it says, which live until behind the call.
    let done = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            place,
            len,
        )
    };
    Errno::result(done).map(drop)
}

/// Where a block's status is (`struct tpacket_block_desc`).
const STATUS: usize = 8;

/// The receive ring of a socket (TPACKET_V3), mapped. The kernel fills blocks in turn and hands them over; this side holds
/// one at a time, and gives it back.
#[derive(Debug)]
pub(crate) struct Ring {
    base: NonNull<u8>,
    blocks: usize,
    block: usize,
    /// The block that is held, or comes next.
    at: usize,
    held: bool,
    socket: OwnedFd,
}

// SAFETY: it is memory, the same for all threads, with one owner.
unsafe impl Send for Ring {}

impl Ring {
    /// Makes `blocks` blocks of `block` bytes each (a multiple of the page) on a socket, handed over after a millisecond at
    /// the latest.
    pub fn new(socket: OwnedFd, blocks: usize, block: usize) -> nix::Result<Self> {
        let fd = socket.as_fd();
        option(
            fd,
            libc::PACKET_VERSION,
            libc::tpacket_versions::TPACKET_V3 as i32,
        )?;
        let request = libc::tpacket_req3 {
            tp_block_size: block as u32,
            tp_block_nr: blocks as u32,
            // Frames of version 3 are as long as they are; the kernel wants these two to agree.
            tp_frame_size: block as u32,
            tp_frame_nr: blocks as u32,
            tp_retire_blk_tov: 1,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        set(fd, libc::SOL_PACKET, libc::PACKET_RX_RING, &request)?;
        let len = NonZeroUsize::new(blocks * block).ok_or(Errno::EINVAL)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping, wherever the kernel likes: nothing else is there.
        let base = unsafe { mmap(None, len, access, MapFlags::MAP_SHARED, fd, 0) }?.cast();
        Ok(Self {
            base,
            blocks,
            block,
            at: 0,
            held: false,
            socket,
        })
    }

    fn status(&self) -> &AtomicU32 {
        let offset = self.at * self.block + STATUS;
        // SAFETY: within the mapping, which lives as long as `self`; aligned, as blocks are pages; and an atomic, since
        // the kernel writes it too.
        unsafe { self.base.add(offset).cast::<AtomicU32>().as_ref() }
    }

    /// Whether the next block is there, or one is held.
    pub fn is_ready(&self) -> bool {
        // Acquire: what the kernel wrote to the block before it handed it over is seen after this.
        self.held || self.status().load(Ordering::Acquire) & libc::TP_STATUS_USER != 0
    }

    /// Takes the next block, if it is there or one is held already.
    pub fn hold(&mut self) -> bool {
        self.held = self.is_ready();
        self.held
    }

    /// The block that is held; empty if none is.
    pub fn bytes(&self) -> &[u8] {
        if !self.held {
            return &[];
        }
        // SAFETY: within the mapping; the kernel does not write to a block that it has handed over, until `release`,
        // which wants `&mut self` and so ends this borrow.
        unsafe { std::slice::from_raw_parts(self.base.add(self.at * self.block).as_ptr(), self.block) }
    }

    /// Gives the block back.
    pub fn release(&mut self) {
        if self.held {
            // Release: the block has been read before the kernel sees that it may write to it.
            self.status().store(libc::TP_STATUS_KERNEL, Ordering::Release);
            self.held = false;
            self.at = (self.at + 1) % self.blocks;
        }
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: made in `new` with this length; nothing borrowed from it can outlive `self`.
        if let Err(errno) = unsafe { munmap(self.base.cast(), self.blocks * self.block) } {
            tracing::warn!(%errno, "a receive ring stays mapped");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_kernels_layout() {
        assert_eq!(size_of::<libc::tpacket_req3>(), 28);
        assert_eq!(std::mem::offset_of!(libc::tpacket_block_desc, hdr), STATUS);
        assert_eq!(size_of::<libc::sockaddr_ll>(), 20);
    }
}
