//! AF_XDP ports: any interface of the Linux kernel, through XDP sockets.
//!
//! A port's pool is the UMEM: frames come into its buffers and leave from them, with zero copy where the driver has it. A
//! program of a few instructions sends the frames of the port's queues to its sockets; it goes with the process,
//! whatever ends that. See `drivers/af_xdp/README.md`.
#![deny(unsafe_code)]
#![warn(missing_debug_implementations)]

mod bind;
mod checksum;
mod error;
mod format;
mod ids;
mod news;
mod notify;
mod options;
mod port;
mod program;
mod queues;
mod redirect;
mod refusal;
mod socket;
mod start;
mod sys;
mod umem;
mod zero_copy;

pub use error::XdpError;
pub use options::{Mode, Options};
pub use port::AfXdp;
pub use umem::{HEADROOM, Umems};
