//! How the kernel is told, and how it wakes.

use crate::socket::{Side, Socket};
use barline::port::Interrupt;
use barline::ring::completion::Notify;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// A system call for one side of a socket.
#[derive(Debug)]
pub(crate) struct Kick(pub Arc<Socket>, pub Side);

impl Notify for Kick {
    #[inline]
    fn notify(&mut self, _tail: u32) {
        self.0.kick(self.1);
    }
}

/// A socket becomes readable when a frame comes; there is nothing to mask.
#[derive(Debug)]
pub(crate) struct Wake(pub Arc<Socket>);

impl Interrupt for Wake {
    fn event(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn unmask(&self) {}

    fn mask(&self) {}
}
