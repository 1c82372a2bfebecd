//! Files of either byte order and any unit of time, byte by byte as their formats have them (draft-ietf-opsawg-pcap,
//! draft-ietf-opsawg-pcapng).

use barline_pcap::{Capture, Record};
use std::time::Duration;

/// How a machine writes its words.
#[derive(Clone, Copy, Debug)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn half(self, word: u16) -> Vec<u8> {
        match self {
            Self::Little => word.to_le_bytes().to_vec(),
            Self::Big => word.to_be_bytes().to_vec(),
        }
    }

    fn word(self, word: u32) -> Vec<u8> {
        match self {
            Self::Little => word.to_le_bytes().to_vec(),
            Self::Big => word.to_be_bytes().to_vec(),
        }
    }

    fn words(self, words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| self.word(*word)).collect()
    }

    /// A block of a pcapng file.
    fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let len = self.word(12 + body.len() as u32);
        [&self.word(kind)[..], &len, body, &len].concat()
    }
}

const SECONDS: u32 = 1_700_000_000;
const FRACTION: u32 = 123_456;
const FRAME: [u8; 60] = [0x5a; 60];
const ORDERS: [Order; 2] = [Order::Little, Order::Big];

/// A classic file with one frame, in this unit.
fn classic(order: Order, nanoseconds: bool) -> Vec<u8> {
    let magic = if nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
    let len = FRAME.len() as u32;
    [
        order.word(magic),
        order.half(2),
        order.half(4),
        order.words(&[0, 0, 65_535, 1]),
        order.words(&[SECONDS, FRACTION, len, len]),
        FRAME.to_vec(),
    ]
    .concat()
}

/// A pcapng file with one frame, of an interface that counts in nanoseconds or does not say.
fn section(order: Order, nanoseconds: bool) -> Vec<u8> {
    let unit = if nanoseconds { 1_000_000_000 } else { 1_000_000 };
    let stamp = u64::from(SECONDS) * unit + u64::from(FRACTION);
    let head = [
        order.word(0x1a2b_3c4d),
        order.half(1),
        order.half(0),
        vec![0xff; 8],
    ];
    let resolution = [order.half(9), order.half(1), vec![9, 0, 0, 0], vec![0; 4]];
    let mut interface = [order.half(1), order.half(0), order.word(65_535)].concat();
    if nanoseconds {
        interface.extend(resolution.concat());
    }
    let len = FRAME.len() as u32;
    let packet = order.words(&[0, (stamp >> 32) as u32, stamp as u32, len, len]);
    [
        order.block(0x0a0d_0d0a, &head.concat()),
        order.block(1, &interface),
        order.block(6, &[&packet[..], &FRAME].concat()),
    ]
    .concat()
}

#[track_caller]
fn has_one_frame(file: &[u8], nanoseconds: bool, what: &str) {
    let mut capture = Capture::new(file).expect(what);
    let mut frame = Vec::new();
    let fraction = if nanoseconds { FRACTION } else { FRACTION * 1000 };
    let wanted = Record {
        time: Some(Duration::new(SECONDS.into(), fraction)),
        original: FRAME.len(),
        ethernet: true,
    };
    assert_eq!(capture.next(&mut frame).expect(what), Some(wanted), "{what}");
    assert_eq!(frame, FRAME, "{what}");
    assert_eq!(capture.next(&mut frame).expect(what), None, "{what}");
}

#[test]
fn classic_files_are_read_in_both_orders_and_units() {
    for order in ORDERS {
        for nanoseconds in [false, true] {
            let what = format!("{order:?}, nanoseconds {nanoseconds}");
            has_one_frame(&classic(order, nanoseconds), nanoseconds, &what);
        }
    }
}

#[test]
fn pcapng_files_are_read_in_both_orders_and_units() {
    for order in ORDERS {
        for nanoseconds in [false, true] {
            let what = format!("{order:?}, nanoseconds {nanoseconds}");
            has_one_frame(&section(order, nanoseconds), nanoseconds, &what);
        }
    }
}
