//! Calls of the kernel that no crate has. All `unsafe` of the crate is here.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `struct ifreq` (linux/if.h): a name, and a union of 24 bytes of which each call uses some.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ifreq {
    pub name: [u8; libc::IFNAMSIZ],
    pub value: [u8; 24],
}

/// Requests whose argument is an [`Ifreq`] that the kernel fills in (linux/sockios.h).
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub(crate) enum Ask {
    Name = 0x8910,
    Flags = 0x8913,
    Mtu = 0x8921,
    Hwaddr = 0x8927,
    Index = 0x8933,
}

/// Asks for one thing.
pub(crate) fn ask(socket: BorrowedFd<'_>, what: Ask, request: &mut Ifreq) -> io::Result<()> {
    // SAFETY: each of these requests reads and writes one `struct ifreq`, which `Ifreq` is, and no more.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), what as _, request as *mut Ifreq) };
    if done < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
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
    // two commands below are as long as theirs.
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

/// Binds a packet socket to an interface: to all its frames.
#[cfg(feature = "testing")]
pub(crate) fn bind_packet(socket: BorrowedFd<'_>, index: i32) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let len = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the kernel reads an address of that size.
    let done = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) };
    if done < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Sets an option of a packet socket that is a number.
#[cfg(feature = "testing")]
pub(crate) fn packet_option(socket: BorrowedFd<'_>, option: i32, value: i32) -> io::Result<()> {
    let len = size_of::<i32>() as libc::socklen_t;
    let place = (&raw const value).cast();
    // SAFETY: the kernel reads a number of that size.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, option, place, len) };
    if done < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
