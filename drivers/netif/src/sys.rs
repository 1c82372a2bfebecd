//! Calls of the kernel that no crate has. All `unsafe` of the crate is here.
#![allow(unsafe_code)]

use nix::errno::Errno;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `struct ifreq` (linux/if.h): a name, and a union of 24 bytes of which each request uses some.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default)]
pub struct Ifreq {
    /// The interface's name, ended by a zero.
    pub name: [u8; libc::IFNAMSIZ],
    /// What is asked for or set, in the processor's byte order.
    pub value: [u8; 24],
}

impl Ifreq {
    /// About an interface, with a number as argument. What is too long of the name is cut off.
    pub fn number(name: &str, number: i32) -> Self {
        let mut request = Self::default();
        let len = name.len().min(libc::IFNAMSIZ - 1);
        request.name[..len].copy_from_slice(&name.as_bytes()[..len]);
        request.value[..4].copy_from_slice(&number.to_ne_bytes());
        request
    }

    /// The number that the kernel wrote.
    pub fn word(&self) -> i32 {
        let [a, b, c, d, ..] = self.value;
        i32::from_ne_bytes([a, b, c, d])
    }

    /// The flags that the kernel wrote (IFF_UP and others).
    pub fn flags(&self) -> i32 {
        i32::from(u16::from_ne_bytes([self.value[0], self.value[1]]))
    }
}

/// The kernel's number of an error; 0 where it is none of the kernel's.
pub fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

/// Requests of ioctl(2) whose argument is an [`Ifreq`] (linux/sockios.h, linux/if_tun.h).
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub enum Request {
    /// The name of an index.
    Name = 0x8910,
    /// Flags.
    Flags = 0x8913,
    /// Sets flags.
    SetFlags = 0x8914,
    /// MTU in bytes.
    Mtu = 0x8921,
    /// Sets the MTU.
    SetMtu = 0x8922,
    /// Type and address.
    Hwaddr = 0x8927,
    /// The index of a name.
    Index = 0x8933,
    /// Sets the length of the kernel's queue in frames.
    SetQueueLength = 0x8943,
    /// Of /dev/net/tun: makes the interface, or attaches a queue to it; flags.
    TunSet = 0x4004_54ca,
    /// Of /dev/net/tun: what the file is attached to; refused when the interface is gone.
    TunGet = 0x8004_54d2,
}

/// Asks for one thing, or sets it.
///
/// # Errors
/// The kernel's word.
pub fn request(fd: BorrowedFd<'_>, what: Request, argument: &mut Ifreq) -> io::Result<()> {
    // SAFETY: each of these requests reads and writes one `struct ifreq`, which `Ifreq` is, and no more.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), what as _, argument as *mut Ifreq) };
    match done < 0 {
        true => Err(io::Error::last_os_error()),
        false => Ok(()),
    }
}

/// SIOCETHTOOL.
const ETHTOOL: u64 = 0x8946;

/// Asks the driver: `command` begins with the number of the request, and is as long as that request's structure.
pub(crate) fn ethtool<const N: usize>(
    socket: BorrowedFd<'_>,
    name: &[u8; libc::IFNAMSIZ],
    command: &mut Ethtool<N>,
) -> io::Result<()> {
    #[repr(C)]
    struct Request {
        name: [u8; libc::IFNAMSIZ],
        data: *mut u8,
        rest: [u8; 16],
    }
    let mut request = Request {
        name: *name,
        data: command.0.as_mut_ptr(),
        rest: [0; 16],
    };
    // SAFETY: the kernel reads the request, and writes at most the length of the command's structure behind `data`; the
    // commands below are as long as theirs.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), ETHTOOL as _, &mut request as *mut Request) };
    if done < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// A structure of linux/ethtool.h.
#[repr(C, align(8))]
#[derive(Debug)]
pub(crate) struct Ethtool<const N: usize>([u8; N]);

impl<const N: usize> Ethtool<N> {
    pub fn bytes(&self) -> &[u8; N] {
        &self.0
    }
}

/// `struct ethtool_cmd` for ETHTOOL_GSET.
pub(crate) fn settings() -> Ethtool<44> {
    numbered(1)
}

/// `struct ethtool_channels` for ETHTOOL_GCHANNELS.
pub(crate) fn channels() -> Ethtool<36> {
    numbered(0x3c)
}

/// `struct ethtool_drvinfo` for ETHTOOL_GDRVINFO.
pub(crate) fn driver_info() -> Ethtool<196> {
    numbered(3)
}

fn numbered<const N: usize>(number: u32) -> Ethtool<N> {
    let mut command = Ethtool([0; N]);
    command.0[..4].copy_from_slice(&number.to_ne_bytes());
    command
}

/// Index and name of every interface in this thread's network namespace.
pub(crate) fn names() -> io::Result<Vec<(i32, String)>> {
    // SAFETY: it takes nothing; the list is freed below.
    let list = unsafe { libc::if_nameindex() };
    if list.is_null() {
        return Err(io::Error::last_os_error());
    }
    let mut names = Vec::new();
    let mut at = list;
    // SAFETY: the list ends with an entry of index 0 and no name, and every name before it is a C string; both are the
    // library's until they are freed, once, behind the loop.
    unsafe {
        while (*at).if_index != 0 && !(*at).if_name.is_null() {
            let name = CStr::from_ptr((*at).if_name).to_string_lossy();
            names.push(((*at).if_index as i32, name.into_owned()));
            at = at.add(1);
        }
        libc::if_freenameindex(list);
    }
    Ok(names)
}

/// Joins or leaves a membership of the interface (PACKET_MR_PROMISC and others). It ends with the packet socket.
///
/// # Errors
/// The kernel's word.
pub fn packet_membership(socket: BorrowedFd<'_>, index: i32, kind: i32, on: bool) -> nix::Result<()> {
    let request = libc::packet_mreq {
        mr_ifindex: index,
        mr_type: kind as u16,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    let option = match on {
        true => libc::PACKET_ADD_MEMBERSHIP,
        false => libc::PACKET_DROP_MEMBERSHIP,
    };
    let (place, len) = (
        (&raw const request).cast(),
        size_of_val(&request) as libc::socklen_t,
    );
    // SAFETY: the kernel reads a request of that size.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, option, place, len) };
    Errno::result(done).map(drop)
}

/// Binds a packet socket to an interface: to all its frames, or (`receive` false) for sending alone.
///
/// # Errors
/// The kernel's word.
pub fn bind_packet(socket: BorrowedFd<'_>, index: i32, receive: bool) -> nix::Result<()> {
    let protocol = if receive { libc::ETH_P_ALL as u16 } else { 0 };
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let len = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the kernel reads an address of that size.
    let done = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) };
    Errno::result(done).map(drop)
}

/// Sets an option of a packet socket that is a number (packet(7)).
///
/// # Errors
/// The kernel's word.
pub fn packet_option(socket: BorrowedFd<'_>, option: i32, value: i32) -> nix::Result<()> {
    let len = size_of::<i32>() as libc::socklen_t;
    let place = (&raw const value).cast();
    // SAFETY: the kernel reads a number of that size.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, option, place, len) };
    Errno::result(done).map(drop)
}
