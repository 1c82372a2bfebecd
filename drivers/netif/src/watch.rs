use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// A socket that can be read when something has happened to an interface of the namespace: to whichever, so that the
/// one that matters is looked at then.
#[derive(Debug)]
pub struct LinkWatch(OwnedFd);

/// Messages of one look: what is longer is cut off, which nobody minds.
const MESSAGE: usize = 256;

impl LinkWatch {
    /// Watches from now on.
    ///
    /// # Errors
    /// Out of file descriptors.
    pub fn new() -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::NetlinkRoute,
        )?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, libc::RTMGRP_LINK as u32))?;
        Ok(Self(socket))
    }

    /// Whether something has happened since the last look.
    pub fn look(&self) -> bool {
        let (mut message, mut happened) = ([0; MESSAGE], false);
        loop {
            match recv(self.0.as_raw_fd(), &mut message, MsgFlags::MSG_DONTWAIT) {
                // Some were lost: something has happened all the same.
                Ok(_) | Err(Errno::ENOBUFS) => happened = true,
                Err(_) => return happened,
            }
        }
    }
}

impl AsFd for LinkWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
