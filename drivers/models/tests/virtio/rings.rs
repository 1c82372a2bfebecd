//! Frames both ways over every kind of ring.

use crate::driver::{MAC, Rig, bit, frame, udp};
use crate::vq::Piece;
use barline::bus::local::LocalDevice;
use barline_conformance::Patience;
use barline_models::virtio::Offer;
use barline_sim::{Fate, Frames, Mode, Sink, Traffic, WireEnd};

const VERSION_1: u64 = bit(32);

/// Every mixture of ring features, as bits to accept, with a name.
fn mixtures() -> Vec<(u64, bool, String)> {
    let mut all = Vec::new();
    for mix in 0..32u32 {
        let on = |n: u32, feature: u32| if mix >> n & 1 != 0 { bit(feature) } else { 0 };
        let set = VERSION_1 | bit(5) | on(0, 34) | on(1, 15) | on(2, 35) | on(3, 29) | on(4, 28);
        let name = format!("packed, mergeable, in order, event index, indirect: {mix:05b}");
        all.push((set, mix >> 4 & 1 != 0, name));
    }
    all
}

pub fn taken(far: &WireEnd) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| far.next_frame()).collect()
}

/// Sizes that wrap soon; a packed ring need not be a power of two.
fn size(set: u64) -> u16 {
    if set & bit(34) != 0 { 13 } else { 16 }
}

#[test]
fn every_mixture_carries_frames_both_ways() {
    for (set, indirect, name) in mixtures() {
        for batch in [1, 5] {
            let (mut rig, far) = Rig::new(Offer {
                batch,
                ..Offer::default()
            });
            rig.indirect = indirect;
            rig.rx_shape = if indirect { (2048, 4) } else { (2048, 2) };
            rig.start(set, 1, size(set));
            for round in 0..60usize {
                let frames: Vec<_> = (0..1 + round % 4)
                    .map(|n| frame(MAC, 60 + (round * 37 + n * 411) % 1455, round as u8))
                    .collect();
                for frame in &frames {
                    assert!(far.send(frame));
                }
                assert_eq!(rig.receive_all(0), frames, "{name}, round {round}");
                for (n, frame) in frames.iter().enumerate() {
                    let cuts: &[usize] = [&[][..], &[12], &[5, 12, 40]][(round + n) % 3];
                    let cuts = if indirect {
                        cuts
                    } else {
                        &cuts[..cuts.len().min(1)]
                    };
                    rig.put(0, [0; 12], frame, cuts);
                }
                rig.kick(1);
                assert_eq!(taken(&far), frames, "{name}, round {round}");
                assert_eq!(rig.reclaim(0), frames.len(), "{name}, round {round}");
            }
            let batched = rig.queues[&1].batched;
            assert_eq!(batched > 0, batch > 1 && set & bit(35) != 0, "{name}: {batched}");
            assert_eq!(rig.queues[&1].outstanding(), 0);
            assert_eq!(rig.device.ledger().inside(), 0);
            rig.assert_clean();
        }
    }
}

#[test]
fn long_frames_are_spread_over_buffers_and_seen_whole() {
    for (set, indirect, name) in mixtures().into_iter().filter(|(set, ..)| set & bit(15) != 0) {
        for batch in [1, 8] {
            let (mut rig, far) = Rig::new(Offer {
                batch,
                ..Offer::default()
            });
            rig.indirect = indirect;
            rig.rx_shape = (100, 2);
            rig.start(set, 1, 64);
            for round in 0..40usize {
                // Also such that header and frame fill their buffers to the last byte.
                let len = [60, 88, 89, 188, 288, 700, 1514][round % 7];
                let frame = frame(MAC, len, round as u8);
                assert!(far.send(&frame));
                let vq = &rig.queues[&0];
                let (id, used) = vq.peek().expect("used");
                assert!(used as usize <= 100 && id < 64, "{name}");
                assert_eq!(rig.receive_all(0), [frame], "{name}, {len} bytes");
            }
            let batched = rig.queues[&0].batched;
            assert_eq!(batched > 0, batch > 1 && set & bit(35) != 0, "{name}: {batched}");
            rig.assert_clean();
        }
    }
}

#[test]
fn a_frame_waits_for_no_buffers_and_takes_none_in_part() {
    for packed in [0, bit(34)] {
        let (mut rig, far) = Rig::new(Offer::default());
        rig.rx_shape = (100, 1);
        rig.start(VERSION_1 | bit(15) | bit(29) | packed, 1, 4);
        let (short, long) = (frame(MAC, 60, 1), frame(MAC, 500, 2));
        assert!(far.send(&long));
        assert!(rig.queues[&0].peek().is_none());
        assert_eq!(rig.device.ledger().count(Fate::NoDescriptor), 1);
        // What is there is enough for shorter ones.
        for _ in 0..5 {
            assert!(far.send(&short));
        }
        assert_eq!(rig.receive_all(0), [&short[..]; 4]);
        assert_eq!(rig.device.ledger().count(Fate::NoDescriptor), 2);
        assert!(far.send(&short));
        assert_eq!(
            rig.receive_all(0),
            [&short[..]],
            "packed {packed}: notified after it ran dry"
        );
        let stats = rig.device.model(|model| model.queue_stats(0).unwrap());
        assert_eq!((stats.packets, stats.drops, stats.overruns), (5, 2, 2));
        rig.assert_clean();
    }
}

#[test]
fn without_mergeable_buffers_a_frame_that_does_not_fit_is_dropped() {
    let (mut rig, far) = Rig::new(Offer::default());
    rig.rx_shape = (1000, 1);
    rig.start(VERSION_1, 1, 4);
    assert!(far.send(&frame(MAC, 989, 1)) && far.send(&frame(MAC, 988, 2)));
    assert_eq!(rig.receive_all(0), [frame(MAC, 988, 2)]);
    assert_eq!(rig.device.ledger().count(Fate::Long), 1);
    rig.assert_clean();
}

#[test]
fn a_patient_end_waits_for_buffers() {
    let sink = Sink::new();
    let frames: Vec<_> = (0..20).map(|n| frame(MAC, 60, n)).collect();
    let peer = Traffic::new(Box::new(Frames::once(frames.clone())), &sink);
    let mut rig = Rig::with(Offer::default(), peer, Mode::Sync);
    rig.start(VERSION_1 | bit(29), 1, 4);
    let mut all = Vec::new();
    while all.len() < 20 {
        let some = rig.receive_all(0);
        assert!(!some.is_empty(), "{} so far", all.len());
        all.extend(some);
    }
    assert_eq!(all, frames);
    assert_eq!(rig.device.ledger().count(Fate::Delivered), 20);
}

#[test]
fn a_device_without_order_may_give_back_last_first() {
    for packed in [0, bit(34)] {
        let (mut rig, far) = Rig::new(Offer {
            backwards: true,
            ..Offer::default()
        });
        rig.start(VERSION_1 | packed, 1, 16);
        for round in 0..30 {
            let ids: Vec<_> = (0..3)
                .map(|n| rig.put(0, [0; 12], &frame(MAC, 60, n), &[12]))
                .collect();
            rig.kick(1);
            assert_eq!(taken(&far).len(), 3);
            let vq = rig.queues.get_mut(&1).unwrap();
            let back: Vec<_> = (0..3).map(|_| vq.poll()[0].0.id).collect();
            assert_eq!(
                back,
                ids.iter().rev().copied().collect::<Vec<_>>(),
                "round {round}"
            );
        }
        rig.assert_clean();
    }
}

#[test]
fn a_queue_is_reset_alone_and_comes_back_with_another_size() {
    for packed in [0, bit(34)] {
        let (mut rig, far) = Rig::new(Offer::default());
        rig.start(VERSION_1 | bit(40) | packed, 1, 16);
        assert!(far.send(&frame(MAC, 60, 1)));
        assert_eq!(rig.receive_all(0).len(), 1);
        rig.select(0);
        rig.write(1, 0x3a, 2, 1);
        assert_eq!((rig.read(1, 0x3a, 2), rig.read(1, 0x1c, 2)), (0, 0));
        let before = rig.device.counts();
        assert!(far.send(&frame(MAC, 60, 2)));
        let after = rig.device.counts();
        assert_eq!(
            (before.dma_reads, before.dma_writes),
            (after.dma_reads, after.dma_writes)
        );
        rig.send(0, &frame(MAC, 60, 3));
        assert_eq!(taken(&far).len(), 1, "the other queue goes on");
        rig.setup(0, 8);
        rig.fill(0);
        rig.kick(0);
        assert!(far.send(&frame(MAC, 60, 4)));
        assert_eq!(rig.receive_all(0), [frame(MAC, 60, 4)]);
        rig.assert_clean();
    }
}

#[test]
fn a_thread_of_its_own_carries_frames_too() {
    for set in [0, bit(29) | bit(34), bit(29), bit(34) | bit(35)] {
        let (near, far) = barline_sim::Wire::pair();
        let mut rig = Rig::with(Offer::default(), near, Mode::Thread);
        rig.start(VERSION_1 | bit(15) | set, 1, 16);
        let patience = Patience::new();
        let (mut sent, mut got, mut received, mut lost) = (0u32, 0u32, 0, 0);
        while got < 400 || received + lost < 400 {
            while sent < 400 && rig.queues[&1].room() > 0 {
                rig.put(0, [0; 12], &frame(MAC, 60 + sent as usize, sent as u8), &[]);
                sent += 1;
            }
            rig.kick(1);
            rig.reclaim(0);
            while let Some(seen) = far.next_frame() {
                assert_eq!(seen, frame(MAC, 60 + got as usize, got as u8));
                got += 1;
                assert!(far.send(&seen));
            }
            received += rig.receive_all(0).len() as u64;
            // A wire has no patience.
            lost = rig.device.ledger().count(Fate::NoDescriptor);
            patience.wait("400 frames both ways");
        }
        assert!(received > 0);
        rig.assert_clean();
    }
}

#[test]
fn a_pair_of_models_carries_frames_over_a_wire() {
    let (mut east, west) = Rig::new(Offer::default());
    let mut west = Rig::with(Offer::default(), west, Mode::Sync);
    east.start(VERSION_1 | bit(34), 1, 16);
    west.start(VERSION_1 | bit(29), 1, 16);
    for n in 0..50 {
        let frame = udp(MAC, n, false);
        east.send(0, &frame);
        east.reclaim(0);
        assert_eq!(west.receive_all(0), [&frame[..]]);
        west.send(0, &frame);
        west.reclaim(0);
        assert_eq!(east.receive_all(0), [frame]);
    }
    east.assert_clean();
    west.assert_clean();
}

#[test]
fn a_device_that_is_no_master_or_removed_moves_nothing() {
    let (mut rig, far) = Rig::new(Offer::default());
    rig.start(VERSION_1, 1, 16);
    rig.device.config_write(4, &[2, 0]);
    assert!(far.send(&frame(MAC, 60, 1)));
    assert!(rig.queues[&0].peek().is_none());
    assert!(rig.device.counts().dma_without_master > 0);
    assert_eq!(rig.status(), 0x4f, "it cannot go on");
    let (mut rig, far) = Rig::new(Offer::default());
    rig.start(VERSION_1, 1, 16);
    rig.device.surprise_remove();
    assert_eq!((rig.read(1, 0x14, 1), rig.read(1, 0x18, 2)), (0xff, 0xffff));
    assert!(far.send(&frame(MAC, 60, 1)));
    assert!(rig.queues[&0].peek().is_none());
}

#[test]
fn short_frames_are_padded_on_the_wire_and_partial_checksums_completed() {
    let (mut rig, far) = Rig::new(Offer::default());
    rig.start(VERSION_1 | bit(0), 1, 16);
    rig.send(0, &frame(MAC, 20, 1));
    let sent = far.next_frame().unwrap();
    assert_eq!((sent.len(), &sent[..20]), (60, &frame(MAC, 20, 1)[..]));
    // A UDP frame with the pseudo header's sum: 10.0.0.1 + 10.9.9.9 + 17 + 26 bytes.
    let mut partial = udp(MAC, 1, false);
    partial[38..40].copy_from_slice(&26u16.to_be_bytes());
    let pseudo: u16 = 0x0a00 + 1 + 0x0a09 + 0x0909 + 17 + 26;
    partial[40..42].copy_from_slice(&pseudo.to_be_bytes());
    let mut header = [0; 12];
    header[0] = 1;
    (header[6], header[8]) = (34, 6);
    rig.put(0, header, &partial, &[]);
    rig.kick(1);
    let sent = far.next_frame().unwrap();
    // Summed with its pseudo header, a right checksum gives all ones.
    let words = sent[34..]
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum: u32 = words.sum::<u32>() + u32::from(pseudo);
    assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    assert_eq!(sent[..40], partial[..40]);
    rig.assert_clean();
}

/// One receive buffer of these pieces, and what is in them after a frame.
#[test]
fn buffers_of_any_shape_are_written_in_order() {
    let (mut rig, far) = Rig::new(Offer::default());
    rig.start(VERSION_1 | bit(40), 1, 16);
    rig.select(0);
    rig.write(1, 0x3a, 2, 1);
    rig.setup(0, 16);
    let at = rig.alloc(4096);
    // Pieces of one byte, of none, across the header's end.
    let shape: [Piece; 6] = [(0, 1), (10, 10), (30, 0), (40, 3), (50, 1), (60, 1000)]
        .map(|(offset, len)| (at.offset(offset), len, true));
    rig.add(0, &shape);
    rig.kick(0);
    let sent = frame(MAC, 100, 7);
    assert!(far.send(&sent));
    assert_eq!(rig.receive_all(0), [sent]);
    rig.assert_clean();
}
