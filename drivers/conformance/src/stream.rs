//! Packets of a TCP stream that leave work to a port, for tests of a driver's own.

use barline::offload::{Checksum, Offload, SegmentKind, Segmentation, Sum};

/// Bytes of Ethernet's, IPv4's and TCP's headers in [`open`].
pub const HEADERS: usize = 54;

/// Ethernet, IPv4 and TCP headers, and so many bytes of payload. The sum of the pseudo header stands in the checksum's place.
pub fn open(payload: usize) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([8, 0, 0x45, 0]);
    frame.extend((40 + payload as u16).to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 1, 0]);
    frame.extend((!pseudo(20 + payload).finish()).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend((0..payload).map(|at| at as u8));
    frame
}

/// The pseudo header of an [`open`] packet with so many bytes of TCP.
pub fn pseudo(len: usize) -> Sum {
    let sum = Sum::default().with(&[10, 0, 0, 1, 10, 0, 0, 2, 0, 6]);
    sum.with_u16(len as u16)
}

/// Whether TCP's checksum of such a frame stands in it, and is right.
pub fn is_summed_up(frame: &[u8]) -> bool {
    pseudo(frame.len() - 34).with(&frame[34..]).finish() == 0
}

/// What an [`open`] packet asks for: its checksum, and to be cut into segments of so many bytes.
pub fn asks(size: Option<u16>) -> Offload {
    let segmentation = size.map(|size| Segmentation {
        kind: SegmentKind::Tcp4,
        ecn: false,
        size,
        header: HEADERS as u16,
    });
    let checksum = Checksum::Partial {
        start: 34,
        offset: 16,
    };
    Offload {
        checksum,
        segmentation,
    }
}
