//! One socket, bound to one queue of an interface, with its rings.

use crate::sys::ring::{Area, Desc, Ring};
use crate::sys::umem::Umem;
use crate::sys::xsk;
use crate::umem::{Umems, Wanted};
use barline::pool::PoolMap;
use nix::errno::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What a socket is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub interface: u32,
    pub queue: u32,
    /// Entries of the receive ring; none: it does not receive.
    pub rx: Option<u32>,
    /// The same for transmit.
    pub tx: Option<u32>,
    /// Flags of bind.
    pub flags: u16,
    pub busy_poll: Option<u16>,
}

/// The rings of a socket.
#[derive(Debug)]
pub(crate) struct Rings {
    pub fill: Ring<AtomicU64>,
    pub completion: Ring<AtomicU64>,
    pub rx: Option<Ring<Desc>>,
    pub tx: Option<Ring<Desc>>,
}

/// Entries of a ring that has to be there and is not used.
const UNUSED: u32 = 4;

/// A bound socket. Its queues and its port share it; the port can take it away from them.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    areas: Vec<Arc<Area>>,
    pub zero_copy: bool,
    pub interface: u32,
    pub queue: u32,
    /// Held while a queue is in the kernel; `true` when the socket is gone. Receive and transmit may be on two threads.
    gates: [Mutex<bool>; 2],
    cut: AtomicBool,
    /// Frames that the interface did not take.
    pub dropped: AtomicU32,
    // The last: the UMEM stays mapped until the socket is closed.
    _map: PoolMap,
}

/// Which side of a socket.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    Rx,
    Tx,
}

fn rings(fd: BorrowedFd<'_>, setup: &Setup) -> io::Result<Rings> {
    let (rx, tx) = (setup.rx.unwrap_or(UNUSED), setup.tx.unwrap_or(UNUSED));
    xsk::set_ring(fd, libc::XDP_UMEM_FILL_RING, rx)?;
    xsk::set_ring(fd, libc::XDP_UMEM_COMPLETION_RING, tx)?;
    setup
        .rx
        .map_or(Ok(()), |len| xsk::set_ring(fd, libc::XDP_RX_RING, len))?;
    setup
        .tx
        .map_or(Ok(()), |len| xsk::set_ring(fd, libc::XDP_TX_RING, len))?;
    let [at_rx, at_tx, at_fill, at_completion] = xsk::offsets(fd)?;
    let of = |at, len: Option<u32>, page| len.map(|len| Ring::map(fd, at, len, page)).transpose();
    Ok(Rings {
        fill: Ring::map(fd, at_fill, rx, libc::XDP_UMEM_PGOFF_FILL_RING as i64)?,
        completion: Ring::map(fd, at_completion, tx, libc::XDP_UMEM_PGOFF_COMPLETION_RING as i64)?,
        rx: of(at_rx, setup.rx, libc::XDP_PGOFF_RX_RING)?,
        tx: of(at_tx, setup.tx, libc::XDP_PGOFF_TX_RING)?,
    })
}

/// A socket with its rings, bound on a UMEM of its own, or on that of `first`.
fn bound(umem: &Umem, first: Option<&Socket>, setup: &Setup) -> io::Result<(OwnedFd, Rings)> {
    let fd = if first.is_some() {
        xsk::socket()
    } else {
        umem.socket()
    }?;
    let rings = rings(fd.as_fd(), setup)?;
    if let Some(budget) = setup.busy_poll {
        xsk::prefer_busy_poll(fd.as_fd(), budget.into())?;
    }
    let shared = first.map(|first| first.fd.as_fd());
    xsk::bind(fd.as_fd(), (setup.interface, setup.queue), setup.flags, shared)?;
    if let Some(len) = setup.tx {
        // Before Linux 6.17 it is 32, and a burst of 64 takes two calls.
        let _ = xsk::set_tx_budget(fd.as_fd(), len);
    }
    Ok((fd, rings))
}

impl Socket {
    /// # Errors
    /// The kernel's word.
    pub fn open(
        umems: &Umems,
        umem: &Arc<Umem>,
        map: &PoolMap,
        setup: &Setup,
    ) -> io::Result<(Arc<Self>, Rings)> {
        let wanted = Wanted {
            umem: Arc::as_ptr(umem) as usize,
            flags: setup.flags,
        };
        let first = umems.bound(wanted);
        let mut opened = bound(umem, first.as_deref(), setup);
        let denied = opened.as_ref().err().and_then(io::Error::raw_os_error);
        if first.is_some() && matches!(denied, Some(libc::EOPNOTSUPP | libc::EINVAL | libc::EBADF)) {
            // What the first one has is not possible here, or it has just gone: a registration of its own.
            opened = bound(umem, None, setup);
        }
        let (fd, rings) = opened?;
        let words = [rings.fill.area(), rings.completion.area()];
        let descs = [&rings.rx, &rings.tx].into_iter().flatten().map(Ring::area);
        let socket = Arc::new(Self {
            zero_copy: xsk::is_zero_copy(fd.as_fd())?,
            areas: words.into_iter().chain(descs).cloned().collect(),
            fd,
            interface: setup.interface,
            queue: setup.queue,
            gates: Default::default(),
            cut: AtomicBool::new(false),
            dropped: AtomicU32::new(0),
            _map: map.clone(),
        });
        umems.remember(wanted, &socket);
        Ok((socket, rings))
    }

    /// Has the kernel work for one side.
    #[inline]
    pub fn kick(&self, side: Side) {
        let gone = self.gates[side as usize]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *gone {
            return;
        }
        let result = match side {
            Side::Rx => xsk::kick_rx(self.fd.as_fd()),
            Side::Tx => xsk::kick_tx(self.fd.as_fd()),
        };
        // Of one frame: the call ends with it. Others say that it is to be tried again, or that the link is down. With zero
        // copy the driver only wakes.
        if !self.zero_copy && result.is_err_and(|error| error.raw_os_error() == Some(libc::EBUSY)) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether [`Socket::cut`] was called: what is in the rings means nothing.
    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }

    /// Closes the socket under its queues: when this returns, the kernel writes to no buffer any more. They see rings in
    /// which nothing happens.
    pub fn cut(&self) -> io::Result<()> {
        if self.cut.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let nothing = File::open("/dev/null")?;
        let gates = self
            .gates
            .each_ref()
            .map(|gate| gate.lock().unwrap_or_else(PoisonError::into_inner));
        for mut gate in gates {
            *gate = true; // and nobody is in the kernel now
        }
        self.areas.iter().try_for_each(|area| area.blank())?;
        xsk::put_in_place(nothing.as_fd(), self.fd.as_fd())
    }

    /// As [`xsk::statistics`].
    pub fn statistics(&self) -> io::Result<[u64; 6]> {
        if self.is_cut() {
            return Err(Errno::ENOTSOCK.into());
        }
        xsk::statistics(self.fd.as_fd())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // The descriptor is closed in any case; rings that are still there keep the socket for as long as they are.
        let _ = self.cut();
    }
}
