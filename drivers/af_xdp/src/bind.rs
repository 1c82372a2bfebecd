//! Sockets of a port: how they are asked for, and when the kernel is done with them.

use crate::AfXdp;
use crate::options::Mode;
use crate::socket::{Rings, Setup, Socket};
use crate::start::{Plan, Running};
use crate::umem::{HEADROOM, Umems};
use crate::zero_copy::Shape;
use barline::port::PortError;
use std::io;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a queue may be in use before that is taken for another program's use.
const QUEUE: Duration = Duration::from_secs(1);
/// How long a driver may take to give buffers back: it stops the queue, on a loaded machine.
const QUIET: Duration = Duration::from_secs(10);

fn is_busy(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EBUSY)
}

impl AfXdp {
    /// What keeps an interface from zero copy that has it, with a pool of this shape for frames of up to `frame` bytes.
    pub(crate) fn hindrance(&self, shape: Shape, frame: usize) -> Option<String> {
        let has = self.device.zero_copy != Some(false);
        has.then(|| self.device.hinders(shape, frame)).flatten()
    }

    /// Flags of bind, with a pool of this shape for frames of up to `frame` bytes.
    pub(crate) fn flags(&self, shape: Shape, frame: usize) -> Result<u16, PortError> {
        let hindrance = self.hindrance(shape, frame);
        let copying = match (self.options.mode, hindrance) {
            (Mode::ZeroCopy, Some(why)) => {
                return Err(PortError::Config(format!("no zero copy on {}: {why}", self.name)));
            }
            (Mode::ZeroCopy, None) => libc::XDP_ZEROCOPY,
            (Mode::Copy | Mode::Skb, _) | (Mode::Auto, Some(_)) => libc::XDP_COPY,
            (Mode::Auto, None) if !self.redirect.is_native() => libc::XDP_COPY,
            // Said, so that its sockets are not taken for those of an interface that has it.
            (Mode::Auto, None) if self.device.zero_copy == Some(false) => libc::XDP_COPY,
            (Mode::Auto, None) => 0, // the kernel tries both
        };
        let several = match shape.chunk() - HEADROOM < frame {
            true => libc::XDP_USE_SG,
            false => 0,
        };
        Ok(copying | several | libc::XDP_USE_NEED_WAKEUP)
    }

    /// The socket of queue `q` of the port.
    pub(crate) fn socket(&self, q: u16, plan: &Plan<'_>) -> Result<(Arc<Socket>, Rings), PortError> {
        let config = plan.config;
        let setup = Setup {
            interface: self.index,
            queue: self.options.queue + u32::from(q),
            rx: (q < config.rx_queues).then_some(config.rx_ring),
            tx: (q < config.tx_queues).then_some(config.tx_ring * plan.pieces),
            flags: plan.flags,
            busy_poll: self.options.busy_poll,
        };
        let end = Instant::now() + QUEUE;
        loop {
            match Socket::open(&self.umems, &plan.umem, &plan.map, &setup) {
                // The kernel lets go of the queue of a closed socket a little later.
                Err(error)
                    if is_busy(&error)
                        && !self.umems.has(setup.interface, setup.queue)
                        && Instant::now() < end =>
                {
                    sleep(Duration::from_millis(1));
                }
                opened => return opened.map_err(|error| self.explain(&error, &setup)),
            }
        }
    }

    /// Whether a driver has given back the buffers of a closed socket with zero copy. It does when the kernel lets go of the
    /// queue: then another socket can have it.
    pub(crate) fn is_quiet(&self, running: &Running, socket: &Socket) -> bool {
        let setup = Setup {
            interface: self.index,
            queue: socket.queue,
            rx: None,
            tx: Some(4),
            flags: libc::XDP_COPY,
            busy_poll: None,
        };
        let end = Instant::now() + QUIET;
        while let Err(error) = Socket::open(&Umems::default(), &running.umem, &running.map, &setup) {
            // The memory of the closed one counts as locked until then.
            if !is_busy(&error) && error.raw_os_error() != Some(libc::ENOBUFS) {
                break; // there is no such interface any more
            }
            if Instant::now() > end {
                return false;
            }
            sleep(Duration::from_millis(1));
        }
        true
    }
}
