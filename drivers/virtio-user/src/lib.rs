//! virtio-user ports: the driver side of a virtio network card whose device is a virtual switch or another program (DPDK's vhost,
//! `barline-vhost`) at the other end of a vhost-user socket, or the kernel's vhost-net with a tap.
//!
//! The rings are those of `barline-virtio`; what is here is who speaks to the back end, and how a port lives on when it
//! dies. See `drivers/virtio-user/README.md`.
//!
//! Specification: Virtual I/O Device (VIRTIO) Version 1.2, and QEMU's `docs/interop/vhost-user.rst`.
#![deny(unsafe_code)]
#![warn(missing_debug_implementations)]

mod back;
mod control;
mod error;
mod events;
mod features;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod guard;
mod kernel;
mod place;
mod port;
mod queue;
mod rings;
mod session;
mod settings;
mod socket;
mod start;
mod sys;
mod wake;

pub use error::Refusal;
pub use kernel::{KernelError, TapName};
pub use port::VirtioUser;
pub use queue::{UserRx, UserTx};
pub use settings::{MOST_QUEUES, Settings};
