use super::super::segment::tests::{long, read};
use super::super::{Offload, Segmentation, Sum};
use super::*;
use crate::pool::Pool;
use proptest::prelude::*;

fn pool(packets: usize, room: usize) -> Pool {
    let pool = Pool::builder().packets(packets).data_room(room);
    pool.source(crate::mem::Source::MemFd(crate::mem::PageSize::Base4K))
        .build()
        .unwrap()
}

fn packet(pool: &Pool, bytes: &[u8], offload: Offload) -> Packet {
    let mut packet = pool.alloc().unwrap();
    assert!(packet.set(bytes));
    packet.set_offload(offload);
    packet
}

/// A frame whose checksum is left open, and what it is to become.
fn open(v6: bool, tcp: bool, payload: &[u8]) -> (Vec<u8>, Checksum) {
    let (mut bytes, Offload { checksum, .. }) = long(v6, tcp, false, payload, 1);
    let Checksum::Partial { start, offset } = checksum else {
        panic!()
    };
    let (start, offset) = (usize::from(start), usize::from(offset));
    let addresses = if v6 { 22..54 } else { 26..34 };
    let pseudo = Sum::default()
        .with(&bytes[addresses])
        .with_u16(if tcp { 6 } else { 17 })
        .with_u16((bytes.len() - start) as u16);
    bytes[start + offset..][..2].copy_from_slice(&(!pseudo.finish()).to_be_bytes());
    (bytes, checksum)
}

/// Sends everything through a queue that takes so many packets a call, with these rules; what came out.
fn send(
    rules: Rules,
    pool: &Pool,
    batch: &mut Batch,
    lots: &[usize],
    counters: &TxCounters,
) -> Vec<(Vec<u8>, Offload)> {
    let (mut out, mut cache) = (Vec::new(), pool.cache());
    let mut lots = lots.iter().copied().chain(std::iter::repeat(3));
    let mut calls = 0;
    while !batch.is_empty() {
        calls += 1;
        assert!(calls < 100_000, "stuck at {batch:?}");
        settle(rules, counters, &mut cache, batch, |cache, ready| {
            let mut sent = 0;
            for _ in 0..lots.next().unwrap() {
                let Some(packet) = ready.pop() else { break };
                out.push((packet.to_vec(), packet.offload()));
                counters.tx_packets.add(1);
                sent += 1;
                cache.free_one(packet);
            }
            sent
        });
    }
    out
}

const ALL: Offloads = Offloads::all();

proptest! {
    #[test]
    fn whatever_room_there_is_everything_goes_once_and_in_order(
        longs in proptest::collection::vec((any::<(bool, bool, bool)>(), 1usize..3000, 50u16..1000), 1..8),
        lots in proptest::collection::vec(0usize..20, 0..30), packets in 10usize..80
    ) {
        let (source, pool) = (pool(64, 4000), pool(packets, 2048));
        let (mut batch, mut want) = (Batch::new(), Vec::new());
        for (at, ((v6, tcp, plain), len, size)) in longs.iter().enumerate() {
            let payload: Vec<u8> = (0..*len).map(|i| (i / 7 + at * 31) as u8).collect();
            let (bytes, mut offload) = long(*v6, *tcp, false, &payload, *size);
            if *plain {
                offload = Offload::default();
            }
            batch.extend([packet(&source, &bytes, offload)]);
            want.push((payload, if *plain { 1 } else { len.div_ceil((*size).into()) }));
        }
        let counters = TxCounters::default();
        let rules = Rules { can: Offloads::empty(), longest: 3200 };
        let all = batch.len() as u64;
        let mut got = send(rules, &pool, &mut batch, &lots, &counters).into_iter();
        for (payload, parts) in want {
            let mut joined = Vec::new();
            for _ in 0..parts {
                let (bytes, offload) = got.next().unwrap();
                prop_assert_eq!(offload, Offload::default());
                joined.extend(read(&bytes).0);
            }
            prop_assert_eq!(joined, payload);
        }
        prop_assert!(got.next().is_none());
        prop_assert_eq!(counters.taken(), all);
        prop_assert_eq!((counters.tx_offload.get(), counters.tx_lengths.get()), (0, 0));
        drop(got);
        prop_assert_eq!((source.available(), pool.available()), (64, packets));
    }

    #[test]
    fn an_open_checksum_is_closed(v6: bool, tcp: bool, payload in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (bytes, checksum) = open(v6, tcp, &payload);
        let (pool, counters) = (pool(8, 2048), TxCounters::default());
        let mut batch = Batch::new();
        batch.extend([packet(&pool, &bytes, Offload { checksum, segmentation: None })]);
        let got = send(Rules { can: Offloads::empty(), longest: 1518 }, &pool, &mut batch, &[], &counters);
        prop_assert_eq!(read(&got[0].0).0, payload);
        prop_assert_eq!(got[0].1, Offload::default());
    }

    #[test]
    fn anything_asked_for_is_survived_and_counted(
        bytes in proptest::collection::vec(any::<u8>(), 1..300), offload in super::super::record::tests::offloads(), can: u16
    ) {
        let (pool, counters) = (pool(8, 2048), TxCounters::default());
        let mut batch = Batch::new();
        batch.extend([packet(&pool, &bytes, offload)]);
        let rules = Rules { can: Offloads::from_bits_truncate(can), longest: 1518 };
        let got = send(rules, &pool, &mut batch, &[], &counters);
        prop_assert_eq!(counters.taken(), 1);
        for (bytes, offload) in got {
            match offload.checksum {
                Checksum::Partial { start, offset } => {
                    prop_assert!(rules.can.contains(Offloads::TX_CHECKSUM) || offload.segmentation.is_some());
                    prop_assert!(usize::from(start) + usize::from(offset) + 2 <= bytes.len());
                }
                other => prop_assert_eq!(other, Checksum::None),
            }
            prop_assert!(offload.segmentation.is_none_or(|segmentation| rules.can.cut(segmentation)));
        }
        prop_assert_eq!(pool.available(), 8);
    }
}

#[test]
fn a_device_gets_what_it_does_itself() {
    let (pool, counters) = (pool(8, 9000), TxCounters::default());
    let (bytes, offload) = long(false, true, false, &[3; 5000], 1000);
    let (opened, checksum) = open(true, false, b"datagram");
    let partial = Offload {
        checksum,
        segmentation: None,
    };
    let mut batch = Batch::new();
    batch.extend([packet(&pool, &bytes, offload), packet(&pool, &opened, partial)]);
    let rules = Rules {
        can: ALL,
        longest: 1518,
    };
    let got = send(rules, &pool, &mut batch, &[], &counters);
    assert_eq!((got.len(), got[0].1, got[1].1), (2, offload, partial));
    assert_eq!((&got[0].0, &got[1].0), (&bytes, &opened));
    // CWR is more than it can.
    batch.extend([packet(&pool, &bytes, offload)]);
    let rules = Rules {
        can: ALL - Offloads::TX_ECN,
        longest: 1518,
    };
    assert_eq!(send(rules, &pool, &mut batch, &[], &counters).len(), 5);
    assert_eq!(counters.tx_segments.get(), 4);
}

#[test]
fn segments_that_are_too_long_or_find_no_buffer_ever_are_dropped() {
    let (pool, small, counters) = (pool(8, 9000), pool(8, 500), TxCounters::default());
    let (bytes, offload) = long(false, true, false, &[3; 5000], 1000);
    let mut batch = Batch::new();
    batch.extend([packet(&pool, &bytes, offload)]);
    let rules = Rules {
        can: Offloads::empty(),
        longest: 1053,
    };
    assert!(send(rules, &pool, &mut batch, &[], &counters).is_empty());
    assert_eq!((counters.tx_lengths.get(), counters.tx_offload.get()), (1, 0));
    batch.extend([packet(&pool, &bytes, offload)]);
    assert!(
        send(
            Rules {
                longest: 1054,
                ..rules
            },
            &small,
            &mut batch,
            &[],
            &counters
        )
        .is_empty()
    );
    assert_eq!((counters.tx_lengths.get(), counters.tx_offload.get()), (1, 1));
}

#[test]
fn a_checksum_outside_of_its_packet_is_dropped() {
    let (pool, counters) = (pool(8, 2048), TxCounters::default());
    let mut batch = Batch::new();
    for (start, offset) in [(59, 0), (58, 0), (u16::MAX, u16::MAX)] {
        let checksum = Checksum::Partial { start, offset };
        batch.extend([packet(
            &pool,
            &[1; 60],
            Offload {
                checksum,
                segmentation: None,
            },
        )]);
    }
    let rules = Rules {
        can: ALL,
        longest: 1518,
    };
    assert_eq!(send(rules, &pool, &mut batch, &[], &counters).len(), 1);
    assert_eq!(counters.tx_offload.get(), 2);
}

#[test]
fn one_segment_is_a_packet_with_an_open_checksum() {
    let (pool, counters) = (pool(8, 2048), TxCounters::default());
    let (bytes, offload) = long(false, true, false, &[3; 700], 1000);
    let checksum = offload.checksum;
    assert!(matches!(
        offload.segmentation,
        Some(Segmentation { size: 1000, .. })
    ));
    let mut batch = Batch::new();
    batch.extend([packet(&pool, &bytes, offload)]);
    let rules = Rules {
        can: Offloads::TX_CHECKSUM,
        longest: 1518,
    };
    let got = send(rules, &pool, &mut batch, &[], &counters);
    assert_eq!(
        got[0].1,
        Offload {
            checksum,
            segmentation: None
        }
    );
}
