//! Offloads: what is left to a device to do with a packet, or was done by one. The page `engine/docs/offload.md` tells the
//! whole.
//!
//! A packet that asks for something carries one flag in its handle; what it asks for is in a side table of its pool
//! ([`Packet::offload`](crate::pool::Packet::offload)). A transmit queue does what its device can, and leaves the rest to
//! [`settle`], so that no packet ever leaves with a checksum that was left open.

mod features;
mod record;
mod segment;
mod settle;
mod sum;
mod vnet;

pub use record::{Checksum, Offload, SegmentKind, Segmentation};
pub use segment::Segments;
pub use settle::{Rules, settle};
pub use sum::{Sum, complete};
pub use vnet::{BadVnetHeader, VNET_LEN};

pub(crate) use record::Table;

use bitflags::bitflags;

/// Bytes of data room in a pool whose packets may be long ones ([`Offloads::RX_LONG`]): IP's 64 KiB, as far as a packet's length
/// can say them beside its headroom. Linux sends whole segments only, which are at most 65,226 bytes with an MTU of 1,500.
pub const LONG_ROOM: usize = 65_280;

bitflags! {
    /// What a port can do, or is to do, for its packets.
    ///
    /// Receiving: which of these a received packet may carry. Sending: what the device does itself; software does the rest.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Offloads: u16 {
        /// Received packets say whether their checksum was verified, or is still to be completed.
        const RX_CHECKSUM = 1 << 0;
        /// Long packets of TCP over IPv4 are received as one.
        const RX_TCP4 = 1 << 1;
        /// Long packets of TCP over IPv6 are received as one.
        const RX_TCP6 = 1 << 2;
        /// Long packets of UDP are received as one.
        const RX_UDP = 1 << 3;
        /// Of the long packets of TCP, those with CWR too.
        const RX_ECN = 1 << 4;
        /// The device completes checksums.
        const TX_CHECKSUM = 1 << 8;
        /// The device cuts long packets of TCP over IPv4.
        const TX_TCP4 = 1 << 9;
        /// The device cuts long packets of TCP over IPv6.
        const TX_TCP6 = 1 << 10;
        /// The device cuts long packets of UDP.
        const TX_UDP = 1 << 11;
        /// Of the long packets of TCP, those with CWR too.
        const TX_ECN = 1 << 12;
    }
}

impl Offloads {
    /// All of receiving.
    pub const RX: Self = Self::from_bits_truncate(0x00ff);
    /// All of sending.
    pub const TX: Self = Self::from_bits_truncate(0xff00);
    /// Long packets on receive.
    pub const RX_LONG: Self = Self::RX_TCP4.union(Self::RX_TCP6).union(Self::RX_UDP);
    /// Long packets on transmit.
    pub const TX_LONG: Self = Self::TX_TCP4.union(Self::TX_TCP6).union(Self::TX_UDP);

    /// Whether a device that does these offloads cuts such a packet.
    pub fn cut(self, segmentation: Segmentation) -> bool {
        let kind = match segmentation.kind {
            SegmentKind::Tcp4 => Self::TX_TCP4,
            SegmentKind::Tcp6 => Self::TX_TCP6,
            SegmentKind::Udp => Self::TX_UDP,
        };
        self.contains(kind) && (!segmentation.ecn || self.contains(Self::TX_ECN))
    }

    /// Whether a device that was asked for these may say this of a received packet.
    pub fn admit(self, offload: &Offload) -> bool {
        let kind = offload.segmentation.map(|segmentation| match segmentation.kind {
            SegmentKind::Tcp4 => Self::RX_TCP4,
            SegmentKind::Tcp6 => Self::RX_TCP6,
            SegmentKind::Udp => Self::RX_UDP,
        });
        let checksum = match offload.checksum {
            Checksum::None => Self::empty(),
            _ => Self::RX_CHECKSUM,
        };
        self.contains(kind.unwrap_or_default() | checksum)
    }

    /// Without what needs something that is not in it: whoever cuts or takes long packets also sums them up.
    #[must_use]
    pub fn consistent(mut self) -> Self {
        if !self.contains(Self::TX_CHECKSUM) {
            self.remove(Self::TX);
        }
        if !self.contains(Self::RX_CHECKSUM) {
            self.remove(Self::RX);
        }
        for (tcp, ecn) in [
            (Self::TX_TCP4 | Self::TX_TCP6, Self::TX_ECN),
            (Self::RX_TCP4 | Self::RX_TCP6, Self::RX_ECN),
        ] {
            if !self.intersects(tcp) {
                self.remove(ecn);
            }
        }
        self
    }
}
