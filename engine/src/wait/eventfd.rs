use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd as Raw};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A counter in the kernel that a device's interrupt, or a thread, raises and that epoll can wait for.
///
/// Never blocks, and is closed on exec.
#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    /// A counter at 0.
    ///
    /// # Errors
    /// The kernel's word: out of file descriptors, or of memory.
    pub fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self(Raw::from_flags(flags)?.into()))
    }

    /// Takes the count and sets it to 0; 0 when nothing has happened.
    ///
    /// # Errors
    /// The kernel's word.
    pub fn drain(&self) -> io::Result<u64> {
        let mut count = [0; 8];
        loop {
            return match nix::unistd::read(&self.0, &mut count) {
                Ok(_) => Ok(u64::from_ne_bytes(count)),
                Err(Errno::EAGAIN) => Ok(0),
                Err(Errno::EINTR) => continue,
                Err(errno) => Err(errno.into()),
            };
        }
    }

    /// Raises the count by one and so wakes who waits. A full counter is left as it is: it wakes too.
    ///
    /// # Errors
    /// The kernel's word.
    pub fn raise(&self) -> io::Result<()> {
        loop {
            return match nix::unistd::write(&self.0, &1u64.to_ne_bytes()) {
                Ok(_) | Err(Errno::EAGAIN) => Ok(()),
                Err(Errno::EINTR) => continue,
                Err(errno) => Err(errno.into()),
            };
        }
    }

    /// A second descriptor of the same counter.
    ///
    /// # Errors
    /// Out of file descriptors.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }
}

impl From<OwnedFd> for EventFd {
    /// Takes over an eventfd that does not block, such as a duplicate of one of these.
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_never_blocks() {
        let event = EventFd::new().unwrap();
        assert_eq!(event.drain().unwrap(), 0);
        event.raise().unwrap();
        event.raise().unwrap();
        assert_eq!(event.drain().unwrap(), 2);
        assert_eq!(event.drain().unwrap(), 0);
    }

    #[test]
    fn a_duplicate_is_the_same_counter() {
        let event = EventFd::new().unwrap();
        EventFd::from(event.duplicate().unwrap()).raise().unwrap();
        assert_eq!(event.drain().unwrap(), 1);
    }
}
