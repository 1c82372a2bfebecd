//! What the packet path does with packets that leave something to a device: they pass as they are where the sending port
//! takes them so, and in right frames where it does not.

use barline::offload::{Checksum, LONG_ROOM, Offload, Offloads, SegmentKind, Segmentation, Sum};
use barline::pool::{Batch, Packet, Pool, PoolCache};
use barline::port::{MacAddress, Port, PortConfig, Queues};
use barline_drivers::{Feed, Opener, PortSpec};
use barline_modes::{Addresses, Lane, Tally, mac};

const PAYLOAD: usize = 60_000;
const MSS: usize = 1448;

/// IPv4 and TCP with 60,000 bytes, as a guest sends it.
fn long(cache: &mut PoolCache) -> Packet {
    let mut frame = vec![1; 12];
    frame.extend([8, 0, 0x45, 0]);
    frame.extend((40 + PAYLOAD as u16).to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x18, 1, 0, 0, 0, 0, 0]);
    frame.extend((0..PAYLOAD).map(|at| (at / 3) as u8));
    let mut packet = cache.alloc().unwrap();
    assert!(packet.set(&frame));
    packet.set_offload(asks());
    packet
}

fn asks() -> Offload {
    Offload {
        checksum: Checksum::Partial {
            start: 34,
            offset: 16,
        },
        segmentation: Some(Segmentation {
            kind: SegmentKind::Tcp4,
            ecn: false,
            size: MSS as u16,
            header: 54,
        }),
    }
}

/// A port that receives what it sends.
fn ring(pool: &Pool, offloads: Offloads) -> (Box<dyn Port>, Queues) {
    let spec = PortSpec::parse_list("ring:").unwrap().remove(0);
    let mut port = Opener::new(Feed::Generated).open(&spec).unwrap().port;
    let queues = port.start(&PortConfig {
        offloads,
        rx_ring: 64,
        tx_ring: 64,
        ..PortConfig::new(pool)
    });
    (port, queues.unwrap())
}

/// Sends a long packet to one ring, and forwards it to another with these offloads; what arrives there.
fn forwarded(pool: &Pool, offloads: Offloads) -> Vec<Packet> {
    let (mut one, mut other) = (ring(pool, Offloads::all()).1, ring(pool, offloads).1);
    let (mut cache, mut batch) = (pool.cache(), Batch::with_burst(32));
    batch.push(long(&mut cache)).unwrap();
    assert_eq!(one.tx[0].transmit(&mut cache, &mut batch), 1);
    let (addresses, mut tally) = (
        Addresses::l2fwd(1, MacAddress([2, 0, 0, 0, 0, 9])),
        Tally::default(),
    );
    let way = Lane {
        rx: one.rx[0].as_mut(),
        tx: other.tx[0].as_mut(),
        cache: &mut cache,
        batch: &mut batch,
    };
    assert_eq!(mac(way, &addresses, &mut tally), 1);
    assert_eq!((tally.sent, tally.is_balanced()), (1, true));
    assert_eq!(other.tx[0].counters().taken(), 1);
    let mut got = Vec::new();
    while other.rx[0].receive(&mut cache, &mut batch) > 0 {
        got.extend(std::iter::from_fn(|| batch.pop()));
    }
    got
}

#[test]
fn a_long_packet_passes_whole_or_in_right_frames() {
    let pool = Pool::builder()
        .packets(128)
        .data_room(LONG_ROOM)
        .source(barline::mem::Source::MemFd(barline::mem::PageSize::Base4K));
    let pool = pool.build().unwrap();
    let whole = forwarded(&pool, Offloads::all());
    assert_eq!(
        (whole.len(), whole[0].len(), whole[0].offload()),
        (1, 54 + PAYLOAD, asks())
    );
    assert_eq!(whole[0][..6], [2, 0, 0, 0, 0, 1]);
    let frames = forwarded(&pool, Offloads::empty());
    assert_eq!(frames.len(), PAYLOAD.div_ceil(MSS));
    let mut joined = Vec::new();
    for frame in &frames {
        assert_eq!(
            (frame.offload(), &frame[..6]),
            (Offload::default(), &whole[0][..6])
        );
        let pseudo = Sum::default()
            .with(&frame[26..34])
            .with_u16(6)
            .with_u16((frame.len() - 34) as u16);
        assert_eq!(pseudo.with(&frame[34..]).finish() % 0xffff, 0);
        joined.extend_from_slice(&frame[54..]);
    }
    assert_eq!(joined, whole[0][54..]);
    drop((whole, frames));
    assert_eq!(pool.available(), 128);
}
