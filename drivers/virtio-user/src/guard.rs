//! Waiting for a peer that may never answer.
//!
//! The `vhost` crate reads until a message is whole, so a socket's time limit does not help. A second thread, for as long
//! as a conversation lasts, ends it by shutting the socket down: the reader sees its end.

use barline::wait::EventFd;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

/// How much of the peer's time a conversation gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// The peer has no buffers yet: it is cut off when the port is stopped, or it does not answer.
    Greeting,
    /// The peer has buffers: it is told to go when it does not answer, and waited for until it has hung up, or the port is
    /// stopped and its grace is over.
    Parting,
}

/// For all answers of a conversation. A back end on a loaded machine may take its time.
pub(crate) const LIMIT: Duration = Duration::from_secs(5);

/// Waits until one of them is readable or has ended, `limit` at most (for ever without one); which.
pub(crate) fn wait<const N: usize>(fds: [BorrowedFd<'_>; N], limit: Option<Duration>) -> [bool; N] {
    let interest = PollFlags::POLLIN;
    let mut polled = fds.map(|fd| PollFd::new(fd, interest));
    let timeout = limit.map_or(PollTimeout::NONE, |limit| {
        PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX)
    });
    // Interrupted or out of memory: nothing is ready, the caller looks again.
    let _ = poll(&mut polled, timeout);
    polled.map(|fd| fd.any().unwrap_or(false))
}

/// Has `work` talk to the peer over `stream`. Its result, and whether the peer was cut off while it may still be there.
///
/// # Errors
/// No thread or no descriptor: nothing was done.
pub(crate) fn guarded<T>(
    stream: &UnixStream,
    stop: &EventFd,
    patience: Patience,
    work: impl FnOnce() -> T,
) -> io::Result<(T, bool)> {
    let done = EventFd::new()?;
    thread::scope(|scope| {
        let watch = thread::Builder::new()
            .name("virtio-user-guard".to_owned())
            .spawn_scoped(scope, || watch(stream, stop, &done, patience))?;
        let result = work();
        done.raise()?;
        Ok((result, watch.join().unwrap_or(true)))
    })
}

fn watch(stream: &UnixStream, stop: &EventFd, done: &EventFd, patience: Patience) -> bool {
    let ended = |[done, _]: [bool; 2]| done;
    let (quit, work) = (stop.as_fd(), done.as_fd());
    if patience == Patience::Greeting {
        if ended(wait([work, quit], Some(LIMIT))) {
            return false;
        }
        let _ = stream.shutdown(Shutdown::Both);
        return true;
    }
    if ended(wait([work, work], Some(LIMIT))) {
        return false;
    }
    // It reads the end of the stream and hangs up.
    let _ = stream.shutdown(Shutdown::Write);
    loop {
        let [done, stopped] = wait([work, quit], None);
        if done || stopped && ended(wait([work, work], Some(LIMIT))) {
            return false;
        }
        if stopped {
            let _ = stream.shutdown(Shutdown::Both);
            return true;
        }
    }
}
