//! Offloads: whatever a port can, a packet that leaves something to its device never leaves with it undone.

use crate::frames::{is_right, payload, summed, tcp};
use crate::{Lane, Subject, pool};
use barline::mem::{PageSize, Source};
use barline::offload::{Checksum, LONG_ROOM, Offload, Offloads, SegmentKind, Segmentation};
use barline::pool::{Batch, Packet, Pool, PoolCache};

/// A packet whose checksum is left open.
fn open(cache: &mut PoolCache, frame: &[u8]) -> Packet {
    let mut packet = cache.alloc().expect("a packet");
    assert!(packet.set(frame));
    let checksum = Checksum::Partial {
        start: 34,
        offset: 16,
    };
    packet.set_offload(Offload {
        checksum,
        segmentation: None,
    });
    packet
}

/// One that is to be cut too.
fn long(cache: &mut PoolCache, frame: &[u8], size: u16) -> Packet {
    let mut packet = open(cache, frame);
    let segmentation = Some(Segmentation {
        kind: SegmentKind::Tcp4,
        ecn: false,
        size,
        header: 54,
    });
    let Offload { checksum, .. } = packet.offload();
    packet.set_offload(Offload {
        checksum,
        segmentation,
    });
    packet
}

/// What of sending the port can do.
fn of_port(subject: &dyn Subject) -> Offloads {
    let port = subject.bench(1).pop().map(|station| (station.open)());
    let caps = port.expect("a station").expect("opens").caps().offloads;
    caps & Offloads::TX
}

pub fn an_open_checksum_is_completed(subject: &dyn Subject) {
    for offloads in [Offloads::empty(), of_port(subject)] {
        let mut lane = Lane::with(subject, |config| config.offloads = offloads);
        let mac = lane.mac;
        let mut at = 0;
        while at < 200 {
            // Among others, plain and right ones.
            let frames: Vec<_> = (at..at + 20).map(|n| tcp(mac, 60 + n as usize * 7, n)).collect();
            let mut batch = Batch::new();
            for (n, frame) in frames.iter().enumerate() {
                let packet = match n % 3 {
                    0 => lane.packet(&lane.frame(70, at)),
                    _ => open(&mut lane.cache, frame),
                };
                batch.push(packet).expect("room");
            }
            lane.transmit(0, &mut batch);
            for (n, got) in lane.take(frames.len()).iter().enumerate() {
                match n % 3 {
                    0 => assert_eq!(*got, lane.frame(70, at)),
                    _ => {
                        assert!(is_right(got), "{offloads:?}: {got:02x?}");
                        assert_eq!(payload(got), payload(&frames[n]));
                    }
                }
            }
            at += 20;
        }
        assert_eq!(lane.tx_sum("tx_packets"), 200);
        lane.end();
    }
}

pub fn an_open_checksum_of_a_second_pool_is_completed(subject: &dyn Subject) {
    let other = pool(64);
    let mut lane = Lane::with(subject, |config| config.send_pools = vec![other.clone()]);
    let mac = lane.mac;
    let mut cache = other.cache();
    for n in 0..100 {
        let frame = tcp(mac, 60 + n as usize, n);
        let plain = lane.frame(60, n);
        let mut batch = lane.batch(std::slice::from_ref(&plain));
        batch.push(open(&mut cache, &frame)).expect("room");
        batch.push(lane.packet(&plain)).expect("room");
        assert_eq!(lane.transmit(0, &mut batch), 3);
        let got = lane.take(3);
        assert_eq!((&got[0], &got[2]), (&plain, &plain));
        assert!(is_right(&got[1]), "{:02x?}", got[1]);
        assert_eq!(payload(&got[1]), payload(&frame));
    }
    drop(cache);
    lane.end();
    assert_eq!(other.available(), 64);
}

pub fn a_long_packet_is_cut_into_frames(subject: &dyn Subject) {
    cut(Lane::up(subject), Offloads::empty());
}

pub fn a_long_packet_is_cut_by_a_device_that_can(subject: &dyn Subject) {
    let offloads = of_port(subject);
    let lane = Lane::with(subject, |config| config.offloads = offloads);
    cut(lane, offloads);
}

fn cut(mut lane: Lane, offloads: Offloads) {
    let mac = lane.mac;
    for n in 0..50u64 {
        let frame = tcp(mac, 1000 + 20 * n as usize, n);
        let size = 100 + 13 * n as u16;
        let parts = payload(&frame).len().div_ceil(size.into());
        let mut batch = Batch::new();
        batch.push(long(&mut lane.cache, &frame, size)).expect("room");
        assert_eq!(lane.transmit(0, &mut batch), 1);
        let mut joined = Vec::new();
        for got in lane.take(parts) {
            assert!(is_right(&got), "{offloads:?}: {got:02x?}");
            joined.extend_from_slice(payload(&got));
        }
        assert_eq!(joined, payload(&frame));
    }
    assert_eq!(lane.tx_sum("tx_packets") - lane.tx_sum("tx_segments"), 50);
    lane.end();
}

fn long_pool() -> Pool {
    let pool = Pool::builder().packets(256).data_room(LONG_ROOM);
    let pool = pool.source(Source::MemFd(PageSize::Base4K)).build();
    pool.expect("memory for a pool")
}

/// What a device says of a packet is true, and holds for the port that it leaves by.
pub fn what_was_left_open_or_uncut_is_sent_on(subject: &dyn Subject) {
    let station = subject.bench(1).pop().expect("a station");
    let offloads = (station.open)().expect("opens").caps().offloads;
    let pool = match offloads.intersects(Offloads::RX_LONG) {
        true => long_pool(),
        false => pool(256),
    };
    let mut lane = Lane::at(station, &pool, |config| {
        (config.rx_ring, config.tx_ring) = (64, 64);
        config.offloads = offloads;
    });
    for n in 0..100u64 {
        let sent = summed(lane.mac, 60 + 14 * n as usize, n);
        lane.inject(&sent);
        let packet = lane.receive(1).pop().expect("a packet");
        let offload = packet.offload();
        assert!(offloads.admit(&offload), "{offload:?} of {offloads:?}");
        assert_eq!(payload(&packet), payload(&sent));
        match offload.checksum {
            Checksum::Partial { start, offset } => assert_eq!((start, offset), (34, 16)),
            _ => assert!(is_right(&packet)),
        }
        let mut batch = Batch::new();
        batch.push(packet).expect("room");
        assert_eq!(lane.transmit(0, &mut batch), 1);
        let mut joined = Vec::new();
        while joined.len() < payload(&sent).len() {
            let got = lane.take(1).pop().expect("a frame");
            assert!(is_right(&got), "{got:02x?}");
            joined.extend_from_slice(payload(&got));
        }
        assert_eq!(joined, payload(&sent));
    }
    assert_eq!(lane.tx_sum("tx_offload"), 0);
    lane.end();
}

pub fn what_cannot_be_done_is_dropped_and_counted(subject: &dyn Subject) {
    let mut lane = Lane::up(subject);
    let mac = lane.mac;
    let mut batch = Batch::new();
    for (start, offset) in [(u16::MAX, u16::MAX), (100, 0), (98, 1)] {
        let mut packet = lane.packet(&tcp(mac, 100, 1));
        let checksum = Checksum::Partial { start, offset };
        packet.set_offload(Offload {
            checksum,
            segmentation: None,
        });
        batch.push(packet).expect("room");
    }
    let udp = crate::udp(mac, 1, 1);
    batch.push(long(&mut lane.cache, &udp, 4)).expect("room");
    batch.push(lane.packet(&udp)).expect("room");
    assert_eq!(lane.transmit(0, &mut batch), 1);
    assert_eq!((lane.tx_sum("tx_packets"), lane.tx_sum("tx_offload")), (1, 4));
    assert_eq!(lane.take(1)[0], udp);
    lane.end();
}
