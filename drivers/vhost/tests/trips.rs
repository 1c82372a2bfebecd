//! Frames both ways, through every kind of ring.

mod common;

use common::*;

/// Sends and receives frames of many lengths, a few at a time.
fn trips(near: &mut Near, peer: &mut Peer, lens: &[usize], queue: usize) {
    let (mut seed, mut rounds) = (0, 0);
    for some in lens.chunks(5) {
        let frames: Vec<_> = some
            .iter()
            .map(|len| {
                seed += 1;
                frame(*len, seed)
            })
            .collect();
        for frame in &frames {
            assert!(peer.send(queue, frame));
        }
        assert_eq!(near.receive(queue), frames);
        assert_eq!(near.send(queue, &frames), 0);
        let back: Vec<_> = std::iter::from_fn(|| peer.receive(queue)).collect();
        assert_eq!(back, frames);
        assert_eq!(peer.unsent(queue), 0, "{:?}", peer.wish);
        rounds += 1;
    }
    assert!(rounds > 0 && peer.rings.iter().all(|ring| ring.in_order));
    // What the peer sends in a packed ring is told of by the last of it, where that was agreed upon; what it receives is not.
    let batches = peer.wish.features & (PACKED | IN_ORDER) == PACKED | IN_ORDER;
    for (index, ring) in peer.rings.iter().enumerate() {
        let sends = index == 2 * queue + 1;
        assert_eq!(
            ring.batched > 0,
            batches && sends,
            "ring {index}: {:?}",
            peer.wish
        );
    }
}

fn lens(most: usize) -> Vec<usize> {
    let edges = [
        14, 15, 16, 17, 59, 60, 61, 63, 64, 65, 127, 128, 129, 1513, 1514, 1518,
    ];
    let steps = (20..most).step_by(67);
    let mut lens: Vec<_> = edges
        .into_iter()
        .chain(steps)
        .filter(|len| *len <= most)
        .collect();
    lens.push(most);
    lens
}

/// Every set of the features that change the ring, with every way to lay out buffers.
#[test]
fn every_feature_combination_carries_every_length() {
    let bits = [MRG, INDIRECT, EVENT_IDX, IN_ORDER, PACKED];
    for set in 0..1u32 << bits.len() {
        let features = (0..bits.len())
            .filter(|n| set >> n & 1 != 0)
            .map(|n| bits[n])
            .sum();
        let mut near = Near::new(1, 1500);
        for (apart, pieces) in [(false, 1), (true, 1), (false, 3), (true, 4)] {
            // A ring that wraps in the middle of everything; a packed one need not be a power of two.
            let size = if features & PACKED != 0 { 45 } else { 64 };
            let mergeable = features & MRG != 0;
            let wish = Wish {
                features,
                size,
                apart,
                pieces,
                buffer: if mergeable { 400 } else { 1530 },
                slots: apart,
                ..Wish::default()
            };
            let mut peer = Peer::connect(&near.path, wish);
            until("the link", || near.port.link().up);
            trips(&mut near, &mut peer, &lens(1518), 0);
            drop(peer);
            until("the end of the link", || !near.port.link().up);
        }
        let counters = near.device();
        assert!(
            counters
                .iter()
                .all(|(name, n)| *n == 0 || *name == "peer_connects"),
            "{counters:?}"
        );
        assert_eq!(counters["peer_connects"], 4);
        near.end();
    }
}

use barline::port::Port;

#[test]
fn jumbo_frames_are_spread_over_buffers() {
    for features in [MRG, MRG | PACKED, 0, PACKED] {
        let mut near = Near::new(1, 9000);
        let wish = Wish {
            features,
            buffer: if features & MRG != 0 { 1500 } else { 9030 },
            ..Wish::default()
        };
        let mut peer = Peer::connect(&near.path, wish);
        until("the link", || near.port.link().up);
        trips(
            &mut near,
            &mut peer,
            &[9000, 9018, 60, 5000, 1476, 1477, 1488, 1489, 9018, 9018, 14],
            0,
        );
        near.end();
    }
}

#[test]
fn queues_are_apart() {
    for features in [MRG, PACKED] {
        let mut near = Near::new(3, 1500);
        let wish = Wish {
            features,
            pairs: 3,
            ..Wish::default()
        };
        let mut peer = Peer::connect(&near.path, wish);
        until("the link", || near.port.link().up);
        for queue in 0..3 {
            assert!(peer.send(queue, &frame(100 + queue, 5)));
        }
        for queue in (0..3).rev() {
            assert_eq!(near.receive(queue), [frame(100 + queue, 5)]);
        }
        for queue in 0..3 {
            trips(&mut near, &mut peer, &lens(1518), queue);
        }
        near.end();
    }
}

#[test]
fn what_does_not_fit_is_dropped_or_left_and_counted() {
    for features in [0, MRG, PACKED, PACKED | MRG] {
        let mut near = Near::new(1, 1500);
        let wish = Wish {
            features,
            size: 16,
            buffer: 700,
            ..Wish::default()
        };
        let mut peer = Peer::connect(&near.path, wish);
        until("the link", || near.port.link().up);
        // From the peer: too long for the MTU, too short for a header.
        for (len, seed) in [(1519, 1), (60, 2), (13, 3), (1518, 4), (9000, 5)] {
            assert!(peer.send(0, &frame(len, seed)));
        }
        assert_eq!(near.receive(0), [frame(60, 2), frame(1518, 4)]);
        assert_eq!(near.queues.rx[0].counters().rx_lengths.get(), 3);
        assert_eq!(peer.unsent(0), 0, "dropped frames' buffers come back");
        // To the peer: a buffer of 700 bytes holds 688 of a frame.
        let frames = [frame(688, 1), frame(1000, 2), frame(13, 3), frame(689, 4)];
        assert_eq!(near.send(0, &frames), 0);
        let back: Vec<_> = std::iter::from_fn(|| peer.receive(0)).collect();
        if features & MRG != 0 {
            assert_eq!(back, [&frames[..2], &frames[3..]].concat());
            assert_eq!(near.queues.tx[0].counters().tx_lengths.get(), 1);
        } else {
            assert_eq!(back, [frames[0].clone()]);
            assert_eq!(near.queues.tx[0].counters().tx_lengths.get(), 3);
        }
        // Sixteen buffers: eight frames of two, or sixteen of one.
        let len = if features & MRG != 0 { 1300 } else { 600 };
        let room = if features & MRG != 0 { 8 } else { 16 };
        let frames: Vec<_> = (0..20).map(|n| frame(len, n)).collect();
        assert_eq!(near.send(0, &frames), 20 - room);
        assert_eq!(near.queues.tx[0].counters().tx_full.get(), 1);
        let back: Vec<_> = std::iter::from_fn(|| peer.receive(0)).collect();
        assert_eq!(back, frames[..room]);
        near.end();
    }
}

#[test]
fn an_empty_pool_leaves_frames_in_the_ring() {
    let mut near = Near::new(1, 1500);
    let mut peer = Peer::connect(&near.path, Wish::default());
    until("the link", || near.port.link().up);
    let mut all = Vec::new();
    while let Some(packet) = near.cache.alloc() {
        all.push(packet);
    }
    assert!(peer.send(0, &frame(60, 1)) && peer.send(0, &frame(61, 2)));
    assert!(near.receive(0).is_empty());
    assert_eq!(near.queues.rx[0].counters().rx_no_buffer.get(), 1);
    near.cache.free_one(all.pop().unwrap());
    assert_eq!(near.receive(0), [frame(60, 1)]);
    assert_eq!(near.receive(0), [frame(61, 2)]);
    drop(all);
    near.end();
}

#[test]
fn only_wanted_calls_and_kicks_are_made() {
    for features in [0, EVENT_IDX, PACKED, PACKED | EVENT_IDX] {
        let mut near = Near::new(1, 1500);
        let wish = Wish {
            features,
            ..Wish::default()
        };
        let mut peer = Peer::connect(&near.path, wish);
        until("the link", || near.port.link().up);
        // A worker that polls wants no kicks; its first look says so. It calls once, in case it was called for before.
        near.receive(0);
        near.send(0, &[frame(60, 0)]);
        assert!(peer.receive(0).is_some());
        peer.rings.iter().for_each(|ring| {
            ring.want_calls(false);
            ring.calls();
        });
        let kicks = peer.rings[1].kicks;
        let doorbells = near.queues.tx[0].counters().tx_doorbells.get();
        for seed in 0..100 {
            assert!(peer.send(0, &frame(60, seed)));
            assert_eq!(near.receive(0).len(), 1);
            assert_eq!(near.send(0, &[frame(60, seed)]), 0);
            assert!(peer.receive(0).is_some());
        }
        peer.reap(0);
        // With event indices the first buffer of all passes the index that memory starts with.
        let spare = u64::from(features == EVENT_IDX);
        assert!(
            peer.rings[1].kicks - kicks <= spare,
            "{features:#x}: {}",
            peer.rings[1].kicks
        );
        assert_eq!(
            (peer.rings[0].calls(), peer.rings[1].calls()),
            (0, 0),
            "{features:#x}"
        );
        for ring in [0, 1] {
            peer.rings[ring].want_calls(true);
        }
        assert!(peer.send(0, &frame(60, 1)));
        near.receive(0);
        near.send(0, &[frame(60, 1)]);
        assert_eq!(
            (peer.rings[0].calls(), peer.rings[1].calls()),
            (1, 1),
            "{features:#x}"
        );
        assert_eq!(near.queues.tx[0].counters().tx_doorbells.get() - doorbells, 1);
        near.end();
    }
}
