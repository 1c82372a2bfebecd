//! What a packet says of itself, and the table where it stands.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is left to a device to do with a packet, or was done by one. Offsets count bytes from the packet's first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// The checksum of its transport layer.
    pub checksum: Checksum,
    /// It is longer than a frame may be, and to be cut.
    pub segmentation: Option<Segmentation>,
}

/// State of a transport checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// Nothing is known of it: it stands in the packet, and is right or not.
    #[default]
    None,
    /// Verified by the device, or known to be right.
    Valid,
    /// To be completed: the ones' complement sum of everything from `start` on goes to `start + offset`, where the sum of
    /// the pseudo header stands now.
    Partial {
        /// Where the sum begins: the header of TCP or UDP.
        start: u16,
        /// Where it goes to, behind `start`: 16 for TCP, 6 for UDP.
        offset: u16,
    },
}

/// How a long packet is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmentation {
    /// What is in it.
    pub kind: SegmentKind,
    /// TCP's CWR flag may be set in it, and belongs into the first segment only.
    pub ecn: bool,
    /// Bytes of payload a segment, the last excepted: TCP's MSS.
    pub size: u16,
    /// Bytes of all headers, Ethernet's included. A hint: whoever cuts reads the headers themselves.
    pub header: u16,
}

/// What a long packet is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP over either, every segment a datagram of its own.
    Udp,
}

impl Offload {
    /// Whether a device or software has something to do before the packet is one for the wire.
    pub fn is_open(&self) -> bool {
        self.segmentation.is_some() || matches!(self.checksum, Checksum::Partial { .. })
    }
}

/// Bits of a record's second word.
const VALID: u64 = 1;
const PARTIAL: u64 = 2;
const ECN: u64 = 1 << 2;
const KIND: u32 = 4;
const OFFSET: u32 = 16;
const SIZE: u32 = 32;

/// A record's words. Places count from the buffer's start, so that they stay where they are when the packet grows or shrinks
/// at its front.
fn pack(offload: Offload, headroom: usize) -> [u64; 2] {
    let (mut places, mut rest) = (0, 0);
    match offload.checksum {
        Checksum::None => {}
        Checksum::Valid => rest |= VALID,
        Checksum::Partial { start, offset } => {
            rest |= PARTIAL | u64::from(offset) << OFFSET;
            places |= (headroom + usize::from(start)) as u64;
        }
    }
    if let Some(segmentation) = offload.segmentation {
        let kind = match segmentation.kind {
            SegmentKind::Tcp4 => 1,
            SegmentKind::Tcp6 => 2,
            SegmentKind::Udp => 3,
        };
        rest |= kind << KIND | u64::from(segmentation.size) << SIZE;
        rest |= if segmentation.ecn { ECN } else { 0 };
        places |= ((headroom + usize::from(segmentation.header)) as u64) << 32;
    }
    [places, rest]
}

/// The record again; a place that has come to stand in front of the packet is its first byte.
fn unpack([places, rest]: [u64; 2], headroom: usize) -> Offload {
    let place = |at: u64| {
        let behind = (at as u32 as usize).saturating_sub(headroom);
        u16::try_from(behind).unwrap_or(u16::MAX)
    };
    let checksum = match rest & (VALID | PARTIAL) {
        VALID => Checksum::Valid,
        PARTIAL => Checksum::Partial {
            start: place(places),
            offset: (rest >> OFFSET) as u16,
        },
        _ => Checksum::None,
    };
    let kind = match rest >> KIND & 0xf {
        1 => Some(SegmentKind::Tcp4),
        2 => Some(SegmentKind::Tcp6),
        3 => Some(SegmentKind::Udp),
        _ => None,
    };
    let segmentation = kind.map(|kind| Segmentation {
        kind,
        ecn: rest & ECN != 0,
        size: (rest >> SIZE) as u16,
        header: place(places >> 32),
    });
    Offload {
        checksum,
        segmentation,
    }
}

/// Records of a pool's buffers. There are none until the first is written.
#[derive(Default)]
pub(crate) struct Table(OnceLock<Box<[[AtomicU64; 2]]>>);

impl Table {
    /// Whether a record was ever written: then packets of the pool may be flagged.
    #[inline(always)]
    pub fn is_used(&self) -> bool {
        self.0.get().is_some()
    }

    /// Of the buffer with this number, of so many. Whoever calls owns the buffer, so that nobody else touches its record;
    /// handing the buffer over orders what is written before what is read.
    pub fn write(&self, index: usize, of: usize, headroom: usize, offload: Offload) {
        let table = self
            .0
            .get_or_init(|| (0..of).map(|_| Default::default()).collect());
        if let Some(record) = table.get(index) {
            let [places, rest] = pack(offload, headroom);
            record[0].store(places, Ordering::Relaxed);
            record[1].store(rest, Ordering::Relaxed);
        }
    }

    /// See [`Table::write`].
    pub fn read(&self, index: usize, headroom: usize) -> Offload {
        let record = self.0.get().and_then(|table| table.get(index));
        let words = record.map(|[places, rest]| [places, rest].map(|word| word.load(Ordering::Relaxed)));
        unpack(words.unwrap_or_default(), headroom)
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table(used: {})", self.is_used())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Any record at all.
    pub fn offloads() -> impl Strategy<Value = Offload> {
        let checksum = prop_oneof![
            Just(Checksum::None),
            Just(Checksum::Valid),
            any::<(u16, u16)>().prop_map(|(start, offset)| Checksum::Partial { start, offset }),
        ];
        let kind = prop_oneof![
            Just(SegmentKind::Tcp4),
            Just(SegmentKind::Tcp6),
            Just(SegmentKind::Udp)
        ];
        let segmentation =
            (kind, any::<(bool, u16, u16)>()).prop_map(|(kind, (ecn, size, header))| Segmentation {
                kind,
                ecn,
                size,
                header,
            });
        (checksum, proptest::option::of(segmentation)).prop_map(|(checksum, segmentation)| Offload {
            checksum,
            segmentation,
        })
    }

    proptest! {
        #[test]
        fn a_record_comes_back_as_it_was(offload in offloads(), headroom in 0usize..32_768, index in 0usize..9) {
            let table = Table::default();
            prop_assert!(!table.is_used());
            table.write(index, 9, headroom, offload);
            prop_assert!(table.is_used());
            for at in 0..9 {
                let want = if at == index { offload } else { Offload::default() };
                prop_assert_eq!(table.read(at, headroom), want);
            }
        }

        #[test]
        fn places_stay_where_they_are_in_the_buffer(offload in offloads(), headroom in 0usize..32_768, further in 0usize..32_768) {
            let table = Table::default();
            table.write(0, 1, headroom, offload);
            let moved = |place: u16| u16::try_from((headroom + usize::from(place)).saturating_sub(further)).unwrap_or(u16::MAX);
            let read = table.read(0, further);
            if let Checksum::Partial { start, offset } = offload.checksum {
                prop_assert_eq!(read.checksum, Checksum::Partial { start: moved(start), offset });
            }
            if let Some(segmentation) = offload.segmentation {
                let header = moved(segmentation.header);
                prop_assert_eq!(read.segmentation, Some(Segmentation { header, ..segmentation }));
            }
        }
    }
}
