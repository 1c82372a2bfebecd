//! Connecting and listening, without ever waiting for the other side.

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, socket};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Connects to who listens at `path`.
///
/// # Errors
/// Nobody does, or it does not accept (its queue is full).
pub(crate) fn reach(path: &Path) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    let stream = UnixStream::from(fd);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// A socket that is listened at; its name goes with it.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Listens at `path`. A socket that is left there from a program that has died is removed.
    ///
    /// # Errors
    /// The system's word; the path is somebody else's.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let is_socket = path
            .symlink_metadata()
            .is_ok_and(|meta| meta.file_type().is_socket());
        let nobody = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        if is_socket && reach(path).is_err_and(nobody) {
            std::fs::remove_file(path)?;
        }
        let socket = UnixListener::bind(path)?;
        let listener = Self {
            socket,
            path: path.to_owned(),
        };
        listener.socket.set_nonblocking(true)?;
        Ok(listener)
    }

    /// Who has connected, if anybody has.
    ///
    /// # Errors
    /// The system's word; [`io::ErrorKind::WouldBlock`] when there is nobody.
    pub fn accept(&self) -> io::Result<UnixStream> {
        let (stream, _) = self.socket.accept()?;
        stream.set_nonblocking(false)?;
        Ok(stream)
    }

    pub fn socket(&self) -> &UnixListener {
        &self.socket
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What lies at the near end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    Nothing,
    Data,
    /// The peer has hung up.
    End,
}

/// Looks without taking anything.
pub(crate) fn look(stream: &UnixStream) -> Waiting {
    match recv(
        stream.as_raw_fd(),
        &mut [0],
        MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT,
    ) {
        Ok(1..) => Waiting::Data,
        Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => Waiting::Nothing,
        Ok(0) | Err(_) => Waiting::End,
    }
}
