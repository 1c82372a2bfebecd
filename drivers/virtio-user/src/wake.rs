//! What a sleeping core waits for: the call of whichever back end is there, and the port's own nudge.

use barline::port::Interrupt;
use barline::wait::EventFd;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// One receive queue's, for as long as the port runs. Nothing is read from it: each raise is a new edge for who watches.
#[derive(Debug)]
pub(crate) struct Wake {
    epoll: Epoll,
    nudge: EventFd,
}

const EDGE: EpollFlags = EpollFlags::EPOLLIN.union(EpollFlags::EPOLLET);

impl Wake {
    /// # Errors
    /// Out of file descriptors: two are needed.
    pub fn new() -> io::Result<Arc<Self>> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let nudge = EventFd::new()?;
        epoll.add(&nudge, EpollEvent::new(EDGE, 0))?;
        Ok(Arc::new(Self { epoll, nudge }))
    }

    /// Wakes the core, if it sleeps.
    pub fn nudge(&self) {
        // It fails for a descriptor that is none.
        let _ = self.nudge.raise();
    }

    /// A back end's call wakes it from now on.
    ///
    /// # Errors
    /// Out of memory, or of watches.
    pub fn heed(&self, call: &EventFd) -> io::Result<()> {
        Ok(self.epoll.add(call, EpollEvent::new(EDGE, 1))?)
    }

    /// And no more: the back end has it too, so that closing it does not suffice.
    pub fn ignore(&self, call: &EventFd) {
        let _ = self.epoll.delete(call);
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

/// A queue's interrupt: whether it is raised is said in its ring.
#[derive(Debug)]
pub(crate) struct Call(pub Arc<Wake>);

impl Interrupt for Call {
    fn event(&self) -> BorrowedFd<'_> {
        self.0.fd()
    }

    fn unmask(&self) {}

    fn mask(&self) {}
}
