//! From a frame of the kernel's to packets as they would be on a wire: tags go back to their place, checksums that were left
//! to the device are completed, and what was left to the device to cut (TSO, GSO) is cut.

use crate::block::Frame;
use barline::offload::{Checksum, Segments, complete};

/// Destination and source address.
const ADDRESSES: usize = 12;
/// Bytes of a VLAN tag.
const TAG: usize = 4;
/// Shortest frame: an Ethernet header.
const LEAST: usize = 14;

/// How far a frame has been made into packets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    segments: Option<Segments>,
    /// The next packet, and how many there are.
    next: usize,
    count: usize,
}

impl Cursor {
    /// For a frame of which no packet may be longer than `most` bytes. `None` for one that cannot be delivered.
    pub fn new(frame: &Frame<'_>, most: usize) -> Option<Self> {
        let (len, offload) = (frame.bytes.len(), frame.offload?);
        if frame.cut || len < LEAST {
            return None;
        }
        let segments = match offload.segmentation {
            Some(_) => Some(Segments::new(frame.bytes, &offload)?),
            None => None,
        };
        let longest = segments.map_or(len, |segments| segments.length(0));
        (longest + tag_of(frame) <= most).then_some(Self {
            segments,
            next: 0,
            count: segments.map_or(1, |segments| segments.count()),
        })
    }

    /// Bytes of the next packet; `None` when there is none.
    pub fn length(&self, frame: &Frame<'_>) -> Option<usize> {
        let len = |segments: Segments| segments.length(self.next);
        let len = self.segments.map_or(frame.bytes.len(), len) + tag_of(frame);
        (self.next < self.count).then_some(len)
    }

    /// Whether this is the first packet of its frame.
    pub fn is_first(&self) -> bool {
        self.next == 0
    }

    /// Writes the next packet to `out`, which has its length, and goes on.
    pub fn write(&mut self, frame: &Frame<'_>, out: &mut [u8]) {
        let untagged = &mut out[tag_of(frame)..];
        match &self.segments {
            // The frame is the one that they were made of, and `out` as long as the next one.
            Some(segments) => {
                segments.write(frame.bytes, self.next, untagged);
            }
            None => {
                untagged.copy_from_slice(frame.bytes);
                if let Some(Checksum::Partial { start, offset }) =
                    frame.offload.map(|offload| offload.checksum)
                {
                    complete(untagged, start.into(), offset.into());
                }
            }
        }
        if let Some((protocol, control)) = frame.tag {
            out.copy_within(TAG..TAG + ADDRESSES, 0);
            out[ADDRESSES..][..2].copy_from_slice(&protocol.to_be_bytes());
            out[ADDRESSES + 2..][..2].copy_from_slice(&control.to_be_bytes());
        }
        self.next += 1;
    }

    /// The same, at the front of `out`; how long it is.
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn next(&mut self, frame: &Frame<'_>, out: &mut [u8]) -> Option<usize> {
        let len = self.length(frame)?;
        self.write(frame, out.get_mut(..len)?);
        Some(len)
    }
}

fn tag_of(frame: &Frame<'_>) -> usize {
    if frame.tag.is_some() { TAG } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use barline::offload::{Offload, SegmentKind, Segmentation, Sum};
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    fn whole(bytes: &[u8], offload: Offload) -> Frame<'_> {
        Frame {
            bytes,
            tag: None,
            cut: false,
            offload: Some(offload),
        }
    }

    fn packets(frame: &Frame<'_>, most: usize) -> Option<Vec<Vec<u8>>> {
        let mut cursor = Cursor::new(frame, most)?;
        let (mut packets, mut out) = (Vec::new(), vec![0xee; 70_000]);
        while let Some(len) = cursor.next(frame, &mut out) {
            packets.push(out[..len].to_vec());
        }
        Some(packets)
    }

    /// A datagram as etherparse makes it, with its checksum.
    fn datagram(payload: &[u8]) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let mut frame = Vec::new();
        let builder = builder.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9).udp(5, 6);
        builder.write(&mut frame, payload).unwrap();
        frame
    }

    const UDP: Checksum = Checksum::Partial { start: 34, offset: 6 };

    fn gso(size: u16) -> Offload {
        let segmentation = Segmentation {
            kind: SegmentKind::Udp,
            ecn: false,
            size,
            header: 42,
        };
        Offload {
            checksum: UDP,
            segmentation: Some(segmentation),
        }
    }

    /// That the segments are right is the engine's to show; here, that all of them come out, and what is around them.
    #[test]
    fn a_long_frame_is_cut_and_its_tag_put_into_each_packet() {
        let payload: Vec<u8> = (0..2500).map(|at| at as u8).collect();
        let bytes = datagram(&payload);
        let bare = packets(&whole(&bytes, gso(1000)), 1042).unwrap();
        let payloads: Vec<u8> = bare.iter().flat_map(|packet| packet[42..].to_vec()).collect();
        assert_eq!((bare.len(), payloads), (3, payload));
        assert!(packets(&whole(&bytes, gso(1000)), 1041).is_none(), "too long");
        let frame = Frame {
            tag: Some((0x8100, 7)),
            ..whole(&bytes, gso(1000))
        };
        assert!(packets(&frame, 1042).is_none(), "too long with the tag");
        for (tagged, bare) in packets(&frame, 1046).unwrap().iter().zip(bare) {
            assert_eq!(tagged[..], [&bare[..12], &[0x81, 0, 0, 7], &bare[12..]].concat());
        }
    }

    #[test]
    fn a_checksum_that_was_left_to_the_device_is_completed() {
        let right = datagram(b"some payload");
        let mut bytes = right.clone();
        let pseudo = Sum::default().with(&bytes[26..34]).with_u16(17).with_u16(20);
        // The kernel leaves the sum of the pseudo header, not inverted.
        bytes[40..42].copy_from_slice(&(!pseudo.finish()).to_be_bytes());
        let open = Offload {
            checksum: UDP,
            segmentation: None,
        };
        assert_eq!(packets(&whole(&bytes, open), 1518).unwrap(), [right]);
    }

    #[test]
    fn a_tag_goes_back_to_its_place() {
        let bytes = [&[1; 6][..], &[2; 6], &[8, 0], &[9; 50]].concat();
        let frame = Frame {
            tag: Some((0x88a8, 0x2007)),
            ..whole(&bytes, Offload::default())
        };
        let right = [&[1; 6][..], &[2; 6], &[0x88, 0xa8, 0x20, 0x07, 8, 0], &[9; 50]].concat();
        assert_eq!(packets(&frame, 68).unwrap(), [right]);
        assert!(packets(&frame, 67).is_none(), "too long with it");
        let nonsense = Frame {
            offload: None,
            ..frame
        };
        assert!(packets(&nonsense, 68).is_none());
    }

    proptest! {
        #[test]
        fn anything_that_a_header_says_is_survived(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..300), vnet: [u8; 10], tagged: bool, ip: bool
        ) {
            if ip && bytes.len() > 15 {
                bytes[12..15].copy_from_slice(&[8, 0, 0x45]);
            }
            let frame = Frame {
                bytes: &bytes,
                tag: tagged.then_some((0x8100, 5)),
                cut: false,
                offload: Offload::from_vnet(&vnet, bytes.len()).ok(),
            };
            if let Some(packets) = packets(&frame, 1518) {
                prop_assert!(packets.iter().all(|packet| packet.len() <= 1518));
            }
        }
    }
}
