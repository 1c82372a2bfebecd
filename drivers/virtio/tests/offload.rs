//! Headers in front of packets: what the device is told, and what it tells.

mod common;

use barline::offload::{Checksum, Offload, Offloads};
use barline::pool::{Batch, Packet};
use barline::port::{RxQueue, TxQueue};
use barline::ring::completion::{RxRing, TxRing};
use barline_conformance::stream::{asks, open as tcp};
use barline_virtio::{Packed, Split, Traits};
use common::{Far, HEADER, Hand, Rig, Shape, pool};
use proptest::prelude::*;

/// `VIRTIO_NET_HDR_*` (5.1.6), the count of buffers with it.
fn header(flags: u8, kind: u8, words: [u16; 5]) -> [u8; HEADER as usize] {
    let mut header = [flags, kind, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for (at, word) in words.into_iter().enumerate() {
        header[2 + 2 * at..][..2].copy_from_slice(&word.to_le_bytes());
    }
    header
}

fn with(offloads: Offloads, merges: bool) -> Traits {
    Traits {
        offloads,
        merges,
        ..Traits::default()
    }
}

/// Sends packets, some of another pool, one with less headroom than a header; what the device read.
fn sent<S: Shape>(offloads: Offloads, packets: &[(Vec<u8>, Offload)]) -> Vec<Vec<u8>> {
    let rig = Rig::new(64);
    let other = pool(64);
    let (format, mut far) = S::make(&rig, 16, with(offloads, false));
    let others = [other.map(&rig.domain).unwrap()];
    rig.limit.set(160);
    let ring = TxRing::new(
        format,
        rig.kicks.clone(),
        &rig.map,
        &others,
        &rig.custody,
        &rig.limit,
        &rig.health,
    );
    let (mut ring, mut cache, mut batch) = (ring.unwrap(), rig.pool.cache(), Batch::new());
    for (at, (bytes, offload)) in packets.iter().enumerate() {
        let from = if at % 2 == 0 { &rig.pool } else { &other };
        let mut packet: Packet = from.alloc().unwrap();
        if at % 4 == 2 {
            packet.prepend(from.headroom() - 3).unwrap();
        }
        assert!(packet.set(bytes));
        packet.set_offload(*offload);
        batch.push(packet).unwrap();
    }
    assert_eq!(ring.transmit(&mut cache, &mut batch), packets.len());
    let mut hand = Hand::default();
    hand.fetch(&mut far);
    let read = hand.0.iter().map(|buffer| far.read(buffer)).collect();
    hand.0.iter().for_each(|buffer| far.give(buffer.id, 0, 0));
    ring.reclaim(&mut cache);
    assert_eq!(
        (ring.in_flight(), ring.counters().taken()),
        (0, packets.len() as u64)
    );
    drop(ring);
    rig.custody.open();
    cache.flush();
    for pool in [&rig.pool, &other] {
        assert_eq!(pool.available(), pool.packets());
    }
    read
}

fn the_device_is_told<S: Shape>() {
    let (short, long) = (tcp(20), tcp(180));
    let packets = [
        (short.clone(), Offload::default()),
        (short.clone(), asks(None)),
        (short.clone(), asks(None)),
        (long.clone(), asks(Some(100))),
        (long.clone(), asks(Some(100))),
        (short.clone(), Offload::default()),
    ];
    let plain = header(0, 0, [0; 5]);
    let open = header(1, 0, [0, 0, 34, 16, 0]);
    let cut = header(1, 1, [54, 100, 34, 16, 0]);
    let read = sent::<S>(Offloads::TX, &packets);
    assert_eq!(read.len(), packets.len());
    for ((read, (bytes, _)), header) in read
        .iter()
        .zip(&packets)
        .zip([plain, open, open, cut, cut, plain])
    {
        assert_eq!(read[..HEADER as usize], header);
        assert_eq!(read[HEADER as usize..], bytes[..]);
    }
    // Without segmentation each long one is two; without anything no header says anything.
    for (offloads, header) in [
        (Offloads::TX_CHECKSUM, &open[..]),
        (Offloads::empty(), &plain[..]),
    ] {
        let read = sent::<S>(offloads, &packets);
        assert_eq!(read.len(), packets.len() + 2);
        assert_eq!(read[1][..HEADER as usize], *header);
        assert_eq!(read[1][HEADER as usize..][..50], short[..50]);
        assert!(read[3..7].iter().all(|read| read[..HEADER as usize] == plain));
        assert_eq!(read[3].len() + read[4].len(), 2 * (HEADER as usize + 54) + 180);
    }
}

#[test]
fn the_device_is_told_what_is_left_to_it() {
    the_device_is_told::<Split<false>>();
    the_device_is_told::<Packed<false>>();
}

/// Receives frames with these headers, in two buffers each where that is agreed upon; what came, and what was counted.
fn received<S: Shape>(
    asked: Traits,
    limit: u32,
    frames: &[([u8; HEADER as usize], Vec<u8>)],
) -> (Vec<(Vec<u8>, Offload)>, [u64; 3]) {
    let rig = Rig::new(64);
    rig.limit.set(limit);
    let (format, mut far) = S::make(&rig, 16, asked);
    let ring = RxRing::new(
        format,
        rig.kicks.clone(),
        &rig.map,
        &rig.custody,
        &rig.limit,
        &rig.health,
    );
    let (mut ring, mut cache, mut batch) = (ring.unwrap(), rig.pool.cache(), Batch::new());
    ring.fill(&mut cache);
    let mut hand = Hand::default();
    let mut got = Vec::new();
    for (header, bytes) in frames {
        hand.fetch(&mut far);
        let mut header = *header;
        let parts = if asked.merges { 2 } else { 1 };
        header[10] = parts;
        let buffer = hand.0.pop_front().unwrap();
        let (front, back) = bytes.split_at(if parts == 2 { bytes.len() / 2 } else { bytes.len() });
        far.write(&buffer, 0, &header);
        far.write(&buffer, HEADER, front);
        far.give(buffer.id, HEADER + front.len() as u32, 0);
        if parts == 2 {
            let buffer = hand.0.pop_front().unwrap();
            far.write(&buffer, 0, back);
            far.give(buffer.id, back.len() as u32, 0);
        }
        if hand.0.len() < 6 {
            ring.receive(&mut cache, &mut batch);
            got.extend(std::iter::from_fn(|| batch.pop()).map(|packet| (packet.to_vec(), packet.offload())));
        }
    }
    ring.receive(&mut cache, &mut batch);
    got.extend(std::iter::from_fn(|| batch.pop()).map(|packet| (packet.to_vec(), packet.offload())));
    let counters = ring.shared_counters();
    assert_eq!(counters.rx_packets.get(), got.len() as u64);
    assert_eq!(
        counters.rx_bytes.get() as usize,
        got.iter().map(|(bytes, _)| bytes.len()).sum::<usize>()
    );
    let counts = [&counters.rx_packets, &counters.rx_errors, &counters.rx_lengths].map(|cell| cell.get());
    drop(ring);
    rig.custody.open();
    cache.flush();
    assert_eq!(rig.pool.available(), rig.pool.packets());
    (got, counts)
}

fn the_device_tells<S: Shape>(merges: bool) {
    let (short, long) = (tcp(20), tcp(180));
    let frames = [
        (header(0, 0, [9; 5]), short.clone()),
        (header(1, 0, [0, 0, 34, 16, 0]), short.clone()),
        (header(2, 0, [0; 5]), short.clone()),
        (header(1, 1, [54, 100, 34, 16, 0]), long.clone()),
        (header(1, 0, [0, 0, 34, 39, 0]), short.clone()), // outside
        (header(1, 3, [54, 100, 34, 16, 0]), long.clone()), // no such kind
        (header(1, 5, [54, 100, 34, 16, 0]), long.clone()), // not agreed upon
        (header(1, 1, [54, 0, 34, 16, 0]), long.clone()), // no length
        (header(0, 0, [0; 5]), long.clone()),             // too long
        (header(2, 0, [0; 5]), short.clone()),
    ];
    let valid = Offload {
        checksum: Checksum::Valid,
        segmentation: None,
    };
    let (got, counts) = received::<S>(with(Offloads::RX - Offloads::RX_UDP, merges), 160, &frames);
    let want = [
        (short.clone(), Offload::default()),
        (short.clone(), asks(None)),
        (short.clone(), valid),
        (long.clone(), asks(Some(100))),
        (short.clone(), valid),
    ];
    assert_eq!(got, want);
    assert_eq!(counts, [5, 4, 1]);
    // Where nothing was asked for, nothing is looked at.
    let (got, counts) = received::<S>(with(Offloads::empty(), merges), 160, &frames);
    assert!(
        got.iter()
            .all(|(bytes, offload)| *bytes == short && *offload == Offload::default())
    );
    assert_eq!(counts, [5, 0, 5]);
}

#[test]
fn the_device_tells_what_is_left_to_us() {
    for merges in [false, true] {
        the_device_tells::<Split<true>>(merges);
        the_device_tells::<Packed<true>>(merges);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_header_is_survived_and_every_frame_counted(
        headers in proptest::collection::vec(any::<[u8; HEADER as usize]>(), 1..20), packed: bool, asked: u16, len in 14usize..200
    ) {
        let asked = Offloads::from_bits_truncate(asked).consistent();
        let frames: Vec<_> = headers.into_iter().map(|header| (header, vec![7; len])).collect();
        let (got, counts) = match packed {
            true => received::<Packed<true>>(with(asked, false), 150, &frames),
            false => received::<Split<true>>(with(asked, false), 150, &frames),
        };
        prop_assert_eq!(counts.iter().sum::<u64>(), frames.len() as u64);
        for (_, offload) in got {
            prop_assert!(asked.admit(&offload));
        }
    }
}
