//! What the header of a received packet says of it (5.1.6.4).

use super::feature;
use super::layers::{Layers, TCP, fold};
use super::segment::{TCPV4, TCPV6};

/// VIRTIO_NET_HDR_F_*.
const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;

/// Bytes of the header before `num_buffers`.
pub const FIELDS: usize = 10;

/// What the device says of frames from the wire, as far as the driver has accepted that it may. What the driver has not
/// accepted, and checksums that are wrong on the wire, are never said anything of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Inbound {
    /// Nothing.
    #[default]
    Silent,
    /// That the checksum is right: DATA_VALID.
    Valid,
    /// NEEDS_CSUM: only the pseudo header's sum stands in the checksum field, as in a frame that never was on a wire.
    Partial,
    /// The same, and a TCP frame with more data than this `gso_size` is one that was never cut (GUEST_TSO4, GUEST_TSO6).
    Uncut(u16),
    /// These bytes, whatever was accepted and whatever is in the frame: a device that lies.
    Lies([u8; FIELDS]),
}

impl Inbound {
    /// Whether a frame longer than the MTU is one that was never cut and may be handed over.
    pub fn may_be_long(self, accepted: u64, frame: &[u8]) -> bool {
        self.header(accepted, frame)[1] != 0
    }

    /// The header's fields before `num_buffers`.
    fn header(self, accepted: u64, frame: &[u8]) -> [u8; FIELDS] {
        let mut header = [0; FIELDS];
        if let Self::Lies(fields) = self {
            return fields;
        }
        if self == Self::Silent || accepted & feature::GUEST_CSUM == 0 {
            return header;
        }
        let Some(layers) = Layers::of(frame).filter(|layers| layers.is_valid(frame)) else {
            return header;
        };
        // What follows the packet would be summed too.
        if self == Self::Valid || frame[layers.end..].iter().any(|byte| *byte != 0) {
            header[0] = DATA_VALID;
            return header;
        }
        header[0] = NEEDS_CSUM;
        header[6..8].copy_from_slice(&(layers.transport as u16).to_le_bytes());
        header[8..10].copy_from_slice(&(layers.offset() as u16).to_le_bytes());
        if let Self::Uncut(size) = self {
            uncut(&mut header, size, accepted, frame, &layers);
        }
        header
    }

    /// The header's fields, and the frame as they say it is.
    pub fn describe(self, accepted: u64, frame: &mut [u8]) -> [u8; FIELDS] {
        let header = self.header(accepted, frame);
        let lies = matches!(self, Self::Lies(_));
        if let Some(layers) = Layers::of(frame).filter(|_| !lies && header[0] == NEEDS_CSUM) {
            let at = layers.transport + layers.offset();
            let pseudo = fold(layers.pseudo(frame, layers.end - layers.transport));
            frame[at..at + 2].copy_from_slice(&pseudo.to_be_bytes());
        }
        header
    }
}

/// The fields of a frame that was never cut into segments of this size, if it is one.
fn uncut(header: &mut [u8; FIELDS], size: u16, accepted: u64, frame: &[u8], layers: &Layers) {
    let (gso, needs) = match layers.v6 {
        false => (TCPV4, feature::GUEST_TSO4),
        true => (TCPV6, feature::GUEST_TSO6),
    };
    if layers.protocol != TCP || accepted & needs == 0 || size == 0 {
        return;
    }
    let headers = layers.transport + usize::from(frame[layers.transport + 12] >> 4) * 4;
    if headers < layers.transport + 20 || headers + usize::from(size) >= layers.end {
        return;
    }
    header[1] = gso;
    header[2..4].copy_from_slice(&(headers as u16).to_le_bytes());
    header[4..6].copy_from_slice(&size.to_le_bytes());
}
