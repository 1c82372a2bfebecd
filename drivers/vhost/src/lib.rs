//! vhost-user ports: the device side of a virtio network card, for a virtual machine (QEMU) or another process (DPDK's
//! virtio-user).
//!
//! A port listens on a UNIX socket, or connects to one. The peer shares its memory and its rings over it; a control
//! thread of the port's does what the peer's messages say (the `vhost` crate reads them), and the queues are polled by
//! their workers. See `drivers/vhost/README.md`.
#![deny(unsafe_code)]
#![warn(missing_debug_implementations)]

mod announce;
mod chain;
mod device;
mod extra;
mod fault;
mod features;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod gate;
mod handler;
mod mark;
mod packed;
mod port;
#[cfg(test)]
mod reads;
mod ring;
mod rx;
mod serve;
mod socket;
mod split;
mod sys;
mod turn;
mod tx;

pub use fault::Fault;
pub use features::Features;
pub use port::{MOST_QUEUES, Options, Vhost};
pub use rx::VhostRx;
pub use socket::VhostError;
pub use tx::VhostTx;
