//! Interfaces of the Linux kernel: what is asked of one by ports that work over it (`af_packet:`, `af_xdp:`, `tap:`) and by tools
//! that list them.
//!
//! An [`Interface`] is known by its index, so that it is still found when somebody renames it, and is asked in the network
//! namespace in which it was found. Nothing here changes an interface.
#![deny(unsafe_code)]
#![warn(missing_debug_implementations)]

mod interface;
mod netdev;
mod netlink;
mod sys;
#[cfg(feature = "testing")]
pub mod testing;
mod tun;
mod watch;

pub use barline::offload::{Sum, complete};
pub use interface::{Facts, Interface, NetifError, all};
pub use netdev::zero_copy;
pub use netlink::{program_of, program_on};
pub use sys::{Ifreq, Request, bind_packet, errno, packet_membership, packet_option, request};
pub use tun::{probe_tun_offloads, tun_offloads};
pub use watch::LinkWatch;
