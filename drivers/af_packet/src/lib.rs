//! `af_packet:IFACE`: a port over any Ethernet interface of the kernel, by packet sockets. The interface stays the kernel's:
//! it keeps its addresses, and its own traffic.
//!
//! See `drivers/af_packet/README.md`.
#![deny(unsafe_code)]
#![warn(missing_debug_implementations)]

mod block;
mod claims;
mod cursor;
mod options;
mod port;
mod rx;
mod socket;
mod sys;
mod tx;

pub use claims::Claims;
pub use options::{AfPacketError, Fanout, Options};
pub use port::AfPacket;
pub use rx::AfPacketRx;
pub use tx::AfPacketTx;

/// What a hostile kernel could write, for fuzzing.
#[cfg(feature = "fuzzing")]
pub mod fuzzing {
    /// Reads all frames of a block and cuts those that are too long; returns packets and bytes.
    pub fn block(bytes: &[u8]) -> (usize, usize) {
        let mut found = (0, 0);
        for frame in super::block::frames(bytes).flatten() {
            let mut cursor = super::cursor::Cursor::new(&frame, 1518);
            let mut out = [0; 2048];
            while let Some(len) = cursor.as_mut().and_then(|cursor| cursor.next(&frame, &mut out)) {
                found = (found.0 + 1, found.1 + len);
            }
        }
        found
    }
}
