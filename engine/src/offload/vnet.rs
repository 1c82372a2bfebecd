//! `struct virtio_net_hdr` (virtio 1.2, 5.1.6; linux/virtio_net.h): how virtio devices, tap and packet sockets say what is left
//! to do with a packet. Little-endian; the count of buffers behind it is the ring's matter.

use super::{Checksum, Offload, SegmentKind, Segmentation};

/// Bytes of the header, without the count of buffers.
pub const VNET_LEN: usize = 10;

/// The checksum is to be completed, or was verified.
const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
/// Kinds of long packets.
const TCP4: u8 = 1;
const TCP6: u8 = 4;
const UDP: u8 = 5;
const ECN: u8 = 0x80;

/// A header that asks for what cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a virtio-net header that does not fit its packet")]
pub struct BadVnetHeader;

impl Offload {
    /// What a header says of a packet of `len` bytes, looked at as whatever a stranger wrote.
    ///
    /// # Errors
    /// A checksum outside of the packet, a kind that there is not, segments of no length.
    pub fn from_vnet(header: &[u8; VNET_LEN], len: usize) -> Result<Self, BadVnetHeader> {
        let [flags, kind, words @ ..] = *header;
        if flags & (NEEDS_CSUM | DATA_VALID) == 0 && kind == 0 {
            return Ok(Self::default());
        }
        let word = |at: usize| u16::from_le_bytes([words[2 * at], words[2 * at + 1]]);
        let (start, offset) = (word(2), word(3));
        let checksum = if flags & NEEDS_CSUM != 0 {
            if usize::from(start) + usize::from(offset) + 2 > len {
                return Err(BadVnetHeader);
            }
            Checksum::Partial { start, offset }
        } else if flags & DATA_VALID != 0 {
            Checksum::Valid
        } else {
            Checksum::None
        };
        let kind = match kind & !ECN {
            0 => None,
            TCP4 => Some(SegmentKind::Tcp4),
            TCP6 => Some(SegmentKind::Tcp6),
            UDP => Some(SegmentKind::Udp),
            _ => return Err(BadVnetHeader),
        };
        let segmentation = kind.map(|kind| Segmentation {
            kind,
            ecn: header[1] & ECN != 0,
            size: word(1),
            header: word(0),
        });
        if segmentation.is_some_and(|segmentation| segmentation.size == 0) {
            return Err(BadVnetHeader);
        }
        Ok(Self {
            checksum,
            segmentation,
        })
    }

    /// The header that says so, to a device: that a checksum is right is not said.
    pub fn to_vnet(&self) -> [u8; VNET_LEN] {
        let mut header = [0; VNET_LEN];
        let mut put = |at: usize, word: u16| header[2 * at..][..2].copy_from_slice(&word.to_le_bytes());
        if let Some(segmentation) = &self.segmentation {
            put(1, segmentation.header);
            put(2, segmentation.size);
        }
        if let Checksum::Partial { start, offset } = self.checksum {
            put(3, start);
            put(4, offset);
            header[0] = NEEDS_CSUM;
        }
        if let Some(Segmentation { kind, ecn, .. }) = self.segmentation {
            let kind = match kind {
                SegmentKind::Tcp4 => TCP4,
                SegmentKind::Tcp6 => TCP6,
                SegmentKind::Udp => UDP,
            };
            header[1] = kind | if ecn { ECN } else { 0 };
        }
        header
    }

    /// The same, to a driver: with the word that a checksum is right.
    pub fn to_vnet_receiver(&self) -> [u8; VNET_LEN] {
        let mut header = self.to_vnet();
        if self.checksum == Checksum::Valid {
            header[0] |= DATA_VALID;
        }
        header
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::offloads;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(offload in offloads()) {
            let read = Offload::from_vnet(&offload.to_vnet_receiver(), usize::MAX);
            match offload.segmentation {
                Some(Segmentation { size: 0, .. }) => prop_assert!(read.is_err()),
                _ => prop_assert_eq!(read, Ok(offload)),
            }
        }

        #[test]
        fn nothing_that_is_read_is_outside_of_the_packet(header: [u8; VNET_LEN], len in 0usize..3000) {
            if let Ok(offload) = Offload::from_vnet(&header, len) {
                if let Checksum::Partial { start, offset } = offload.checksum {
                    prop_assert!(usize::from(start) + usize::from(offset) + 2 <= len);
                }
                prop_assert!(offload.segmentation.is_none_or(|segmentation| segmentation.size > 0));
            }
        }
    }

    #[test]
    fn words_stand_where_the_specification_has_them() {
        let offload = Offload {
            checksum: Checksum::Partial {
                start: 34,
                offset: 16,
            },
            segmentation: Some(Segmentation {
                kind: SegmentKind::Tcp6,
                ecn: true,
                size: 1448,
                header: 66,
            }),
        };
        assert_eq!(offload.to_vnet(), [1, 0x84, 66, 0, 0xa8, 0x05, 34, 0, 16, 0]);
    }
}
