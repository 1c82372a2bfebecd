//! Offloads of packets: what a packet says of itself stays true whatever is done to it, and no transmit ring lets one out
//! that says that something is left to do.

use barline::mem::{PageSize, Source};
use barline::offload::{Checksum, Offload, SegmentKind, Segmentation};
use barline::pool::{Batch, Packet, Pool};
use barline::ring::Spsc;
use proptest::prelude::*;

fn pool(packets: usize, room: usize) -> Pool {
    let pool = Pool::builder().packets(packets).data_room(room);
    pool.source(Source::MemFd(PageSize::Base4K)).build().unwrap()
}

fn partial(start: u16) -> Offload {
    Offload {
        checksum: Checksum::Partial { start, offset: 16 },
        segmentation: Some(Segmentation {
            kind: SegmentKind::Tcp4,
            ecn: false,
            size: 1000,
            header: start + 20,
        }),
    }
}

/// Where the checksum begins, by the packet.
fn start(packet: &Packet) -> usize {
    match packet.offload().checksum {
        Checksum::Partial { start, offset: 16 } => start.into(),
        other => panic!("{other:?}"),
    }
}

/// What is done to a packet.
#[derive(Clone, Debug)]
enum Step {
    Prepend(usize),
    Trim(usize),
    Append(usize),
    Truncate(usize),
    Move,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0usize..200).prop_map(Step::Prepend),
        prop_oneof![0usize..100, 0usize..60_000].prop_map(Step::Trim),
        (0usize..200).prop_map(Step::Append),
        (0usize..60_000).prop_map(Step::Truncate),
        Just(Step::Move),
    ];
    proptest::collection::vec(step, 0..20)
}

proptest! {
    /// A marked byte is where the checksum begins, whatever happens in front of it, and it is never cut off.
    #[test]
    fn a_checksum_begins_where_it_began(at in 0u16..60_000, len in 1usize..60_000, steps in steps()) {
        let pool = pool(2, 65_000);
        let (mut tx, mut rx) = Spsc::new(4).unwrap().split();
        let mut packet = pool.alloc().unwrap();
        packet.set(&vec![1; len]);
        let at = at % len as u16;
        packet[usize::from(at)] = 9;
        packet.set_offload(partial(at));
        let mut want = usize::from(at);
        for step in steps {
            let before = packet.len();
            match step {
                Step::Prepend(bytes) => {
                    if let Some(front) = packet.prepend(bytes) {
                        front.fill(1);
                        want += bytes;
                    }
                }
                Step::Trim(bytes) => {
                    let cut = packet.trim_front(bytes);
                    prop_assert_eq!(cut.is_some(), bytes <= want && bytes <= before);
                    if cut.is_some() {
                        want -= bytes;
                    }
                }
                Step::Append(bytes) => drop(packet.append(bytes).map(|new| new.fill(1))),
                Step::Truncate(bytes) => packet.truncate(bytes.max(want + 1)),
                Step::Move => {
                    let mut batch = Batch::new();
                    batch.push(packet).unwrap();
                    prop_assert!(batch.has_offloads());
                    tx.send(&mut batch);
                    rx.receive(&mut batch);
                    packet = batch.pop().unwrap();
                }
            }
            prop_assert_eq!(start(&packet), want);
            prop_assert_eq!(packet[want], 9);
            prop_assert_eq!(packet.offload(), partial(want as u16));
        }
    }
}

#[test]
fn a_fresh_packet_has_none() {
    let pool = pool(1, 2048);
    let mut cache = pool.cache();
    assert!(!pool.has_offloads());
    for _ in 0..3 {
        let mut packet = cache.alloc().unwrap();
        assert!(!packet.has_offload() && packet.offload() == Offload::default());
        packet.set(&[0; 100]);
        packet.set_offload(partial(34));
        assert!(packet.has_offload() && pool.has_offloads());
        assert_eq!(packet.headroom(), pool.headroom());
        cache.free_one(packet);
    }
    let mut batch = Batch::new();
    assert_eq!(cache.alloc_batch(&mut batch, 1, 60), 1);
    assert!(!batch.has_offloads());
}

#[test]
fn new_content_has_none_and_a_copy_has_the_same() {
    let pool = pool(2, 2048);
    let (mut packet, mut copy) = (pool.alloc().unwrap(), pool.alloc().unwrap());
    assert!(packet.set(&[1; 100]));
    packet.set_offload(partial(34));
    packet.prepend(4).unwrap().fill(2);
    assert!(copy.copy_of(&packet));
    assert_eq!((copy.offload(), &copy[..]), (partial(38), &packet[..]));
    assert!(copy.set(&[2; 10]));
    assert_eq!(copy.offload(), Offload::default());
    packet.set_offload(Offload::default());
    assert!(!packet.has_offload());
}

#[test]
fn packets_of_a_pool_do_not_share_records() {
    for (packets, room) in [(50, 2048), (50, 100), (10, 9000)] {
        let pool = pool(packets, room);
        let mut all: Vec<_> = (0..packets).map(|_| pool.alloc().unwrap()).collect();
        for (at, packet) in all.iter_mut().enumerate() {
            packet.set_offload(partial(at as u16));
        }
        for (at, packet) in all.iter().enumerate() {
            assert_eq!(packet.offload(), partial(at as u16));
        }
    }
}

#[test]
fn a_headroom_that_no_handle_can_say_is_refused() {
    let pool = |headroom| {
        Pool::builder()
            .packets(1)
            .data_room(100)
            .headroom(headroom)
            .build()
    };
    assert!(pool(32_767).is_ok());
    assert!(pool(32_768).unwrap_err().to_string().contains("32,767"));
}
