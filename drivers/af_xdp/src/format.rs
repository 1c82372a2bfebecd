//! The rings as the engine's loops use them. Positions are indices of the fill ring, or packets of the transmit ring.

mod rx;
#[cfg(test)]
mod tests;
mod tx;

pub(crate) use rx::Receive;
pub(crate) use tx::{Transmit, pieces};

use crate::socket::Socket;
use barline::ring::completion::Look;
use std::sync::Arc;

/// In a descriptor, the address of the buffer; above it the offset of the frame in it (`XSK_UNALIGNED_BUF_OFFSET_SHIFT`).
const ADDRESS: u64 = (1 << 48) - 1;
const OFFSET: u32 = 48;
/// A packet is known by the cache line where it begins: Linux 6.17 and later keep a mark in the lowest bit of addresses on
/// their way to the completion ring, and give odd ones back as even.
const LINE: u64 = !63;
/// No id.
const NONE: u32 = u32::MAX;

/// What a look at a ring says that cannot be, unless the socket was taken away.
#[cold]
fn odd(socket: Option<&Arc<Socket>>, look: Look) -> Look {
    if socket.is_some_and(|socket| socket.is_cut()) {
        Look::Pending
    } else {
        look
    }
}

/// The options of a descriptor, in words.
fn options(bits: u32) -> &'static str {
    match bits & libc::XDP_PKT_CONTD {
        0 => "end of frame",
        _ => "frame goes on",
    }
}
