//! The control thread: one peer at a time, until the port is stopped.

use crate::device::{Device, Shared};
use crate::extra;
use crate::socket::{Socket, Way};
use barline::port::PortEvent;
use barline::wait::EventFd;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use vhost::vhost_user::{BackendReqHandler, Error};

/// Between two tries to reach a peer that listens.
const RETRY: Duration = Duration::from_millis(100);

/// The running thread. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Control {
    thread: Option<JoinHandle<()>>,
    stop: Arc<EventFd>,
    /// The connection of now, to be cut off in the middle of a message.
    peer: Arc<Mutex<Option<UnixStream>>>,
}

impl Control {
    /// Starts it.
    ///
    /// # Errors
    /// Out of threads or file descriptors.
    pub fn start(socket: &Arc<Socket>, shared: &Arc<Shared>, offered: u64) -> io::Result<Self> {
        let (stop, peer) = (Arc::new(EventFd::new()?), Arc::default());
        let thread = Server {
            socket: socket.clone(),
            device: Arc::new(Mutex::new(Device::new(shared, offered))),
            stop: stop.clone(),
            peer: Arc::clone(&peer),
        };
        let thread = Builder::new()
            .name("vhost-user".into())
            .spawn(move || thread.run())?;
        Ok(Self {
            thread: Some(thread),
            stop,
            peer,
        })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = self.stop.raise(); // it fails for a descriptor that is none
        if let Some(peer) = &*lock(&self.peer) {
            let _ = peer.shutdown(Shutdown::Both); // it has gone by itself
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Server {
    socket: Arc<Socket>,
    device: Arc<Mutex<Device>>,
    stop: Arc<EventFd>,
    peer: Arc<Mutex<Option<UnixStream>>>,
}

impl Server {
    fn run(&self) {
        while !self.is_stopped(Some(Duration::ZERO)) {
            match self.next_peer() {
                Ok(Some(stream)) => self.host(stream),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, path = %self.socket.path().display(), "no peer can connect");
                    self.is_stopped(Some(RETRY));
                }
            }
        }
    }

    /// Whether the port was stopped, now or within the time.
    fn is_stopped(&self, limit: Option<Duration>) -> bool {
        wait(&[self.stop.as_fd()], limit).is_ok_and(|ready| ready == Some(0))
    }

    fn next_peer(&self) -> io::Result<Option<UnixStream>> {
        match self.socket.way() {
            Way::Listens(listener) => {
                if wait(&[self.stop.as_fd(), listener.as_fd()], None)? != Some(1) {
                    return Ok(None);
                }
                let (stream, _) = listener.accept()?;
                Ok(Some(stream))
            }
            Way::Connects => match UnixStream::connect(self.socket.path()) {
                Ok(stream) => Ok(Some(stream)),
                // It is not there yet, or not any more.
                Err(_) => {
                    self.is_stopped(Some(RETRY));
                    Ok(None)
                }
            },
        }
    }

    /// One peer, from its coming to its going.
    fn host(&self, stream: UnixStream) {
        let kept = stream
            .try_clone()
            .and_then(|kept| Ok((kept, stream.try_clone()?)));
        let (kept, own) = match kept {
            Ok(both) => both,
            Err(error) => return tracing::warn!(%error, "a peer is turned away"),
        };
        *lock(&self.peer) = Some(kept);
        let shared = lock(&self.device).shared.clone();
        shared.counts.connected();
        shared.tell(PortEvent::PeerConnected);
        if let Err(error) = converse(stream, own, &self.device, &self.stop) {
            tracing::warn!(%error, path = %self.socket.path().display(), "the peer is cut off");
        }
        lock(&self.device).reset();
        *lock(&self.peer) = None;
        shared.tell(PortEvent::PeerGone);
    }
}

/// Handles messages until one of the two goes. `own` is the same connection.
pub(crate) fn converse(
    stream: UnixStream,
    mut own: UnixStream,
    device: &Arc<Mutex<Device>>,
    stop: &EventFd,
) -> Result<(), Error> {
    let mut handler = BackendReqHandler::from_stream(stream, device.clone());
    loop {
        match wait(&[stop.as_fd(), own.as_fd()], None) {
            Ok(Some(1)) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(Error::SocketError(error)),
        }
        // A statement of its own: the crate's handler locks the device too.
        let handled = extra::handle(&mut own, &mut lock(device));
        let done = match handled {
            Ok(true) => continue,
            Ok(false) => handler.handle_request(),
            Err(error) => Err(Error::SocketBroken(error)),
        };
        match done {
            Ok(()) => {}
            // The message was read to its end, and its sender was told if it asked.
            Err(error @ Error::ReqHandlerError(_)) => {
                tracing::warn!(%error, "a message of the peer's is refused")
            }
            Err(Error::Disconnected | Error::SocketBroken(_)) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// The first of some descriptors that has something to read; none after `limit`.
fn wait(fds: &[BorrowedFd<'_>], limit: Option<Duration>) -> io::Result<Option<usize>> {
    let mut polled: Vec<_> = fds.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    let limit = limit.map_or(PollTimeout::NONE, |limit| {
        PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX)
    });
    loop {
        match poll(&mut polled, limit) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(_) => break,
        }
    }
    Ok(polled.iter().position(|fd| fd.any() == Some(true)))
}
