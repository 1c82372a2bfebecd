//! `pcap:rx=FILE,tx=FILE`: a port that receives the frames of a capture file, and writes what it is to send into another.
//!
//! See `drivers/pcap/README.md`.
#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]

mod error;
mod port;
mod read;
mod rx;
mod tx;
mod write;

pub use error::PcapError;
pub use port::{Options, Pace, Pcap};
pub use read::{Capture, Damage, Record};
pub use rx::PcapRx;
pub use tx::PcapTx;
