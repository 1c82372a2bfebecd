//! `Posted`: sequences of verdicts, and who owns a buffer when a ring goes.

mod common;

use barline::mem::{PageSize, Source};
use barline::pool::{Batch, Custody, Discard, Pool, Posted, Received, Verdict};
use common::{domain, place, pool};
use proptest::prelude::*;
use std::collections::HashSet;

fn verdicts() -> impl Strategy<Value = Vec<Verdict>> {
    let one = prop_oneof![
        6 => (0u32..300).prop_map(Verdict::Frame),
        1 => any::<u32>().prop_map(Verdict::Frame),
        3 => Just(Verdict::Part),
        2 => Just(Verdict::Discard(Discard::Error)),
        2 => Just(Verdict::Discard(Discard::Length)),
        1 => Just(Verdict::Pending),
    ];
    proptest::collection::vec(one, 0..200)
}

/// The rule, said plainly: the parts of a frame and its end are one frame; a frame of one part is delivered when
/// it is whole and fits.
fn expect(verdicts: &[Verdict], room: u32) -> (Vec<u32>, Received) {
    let (mut lens, mut counts, mut split) = (Vec::new(), Received::default(), false);
    for verdict in verdicts {
        match verdict {
            Verdict::Pending => continue,
            Verdict::Part => {
                split = true;
                continue;
            }
            Verdict::Discard(Discard::Error) => counts.errors += 1,
            Verdict::Frame(len) if !split && (1..=room).contains(len) => {
                lens.push(*len);
                counts.packets += 1;
                counts.bytes += u64::from(*len);
            }
            Verdict::Frame(_) | Verdict::Discard(Discard::Length) => counts.lengths += 1,
        }
        split = false;
    }
    (lens, counts)
}

#[test]
fn a_damaged_end_ends_a_split_frame() {
    let (_local, space) = domain();
    let (pool, custody) = (pool(64), Custody::new());
    let mut cache = pool.cache();
    let mut posted = Posted::new(&pool.map(&space).unwrap(), &[], 16, &custody).unwrap();
    assert_eq!(posted.fill(&mut cache, 15, |_, _| {}), 15);
    let script = [
        Verdict::Part,
        Verdict::Discard(Discard::Error),
        Verdict::Frame(60),
    ];
    let mut next = script.into_iter();
    let mut batch = Batch::new();
    let got = posted.receive(&mut cache, &mut batch, |_| {
        next.next().unwrap_or(Verdict::Pending)
    });
    assert_eq!((got.packets, got.errors, got.lengths), (1, 1, 0));
    drop((batch, posted, cache));
    custody.open();
    assert_eq!(pool.available(), 64);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_sequence_of_verdicts_ends_in_the_right_counter(script in verdicts(), burst in 1usize..=64, short in any::<bool>()) {
        let (_local, space) = domain();
        let (pool, custody) = (pool(if short { 20 } else { 128 }), Custody::new());
        let room = pool.data_room() as u32;
        let mut cache = pool.cache();
        let mut posted = Posted::new(&pool.map(&space).unwrap(), &[], 64, &custody).unwrap();
        let (mut lens, mut sum, mut at) = (Vec::new(), Received::default(), 0);
        while at < script.len() {
            let want = 63 - posted.len();
            posted.fill(&mut cache, want, |_, _| {});
            prop_assert!(!posted.is_empty());
            let mut batch = Batch::with_burst(burst);
            let before = at;
            let got = posted.receive(&mut cache, &mut batch, |_| {
                let verdict = script.get(at).copied().unwrap_or(Verdict::Pending);
                at += 1;
                verdict
            });
            prop_assert!(at > before);
            prop_assert_eq!(got.packets as usize, batch.len());
            let places: HashSet<usize> = batch.as_slice().iter().map(place).collect();
            prop_assert_eq!(places.len(), batch.len());
            for packet in batch.as_mut_slice() {
                prop_assert_eq!(packet.headroom(), pool.headroom());
                packet.fill(1);
                lens.push(packet.len() as u32);
            }
            sum.packets += got.packets;
            sum.bytes += got.bytes;
            sum.errors += got.errors;
            sum.lengths += got.lengths;
            cache.free(&mut batch);
            prop_assert_eq!(pool.available() + cache.len() + posted.len() as usize, pool.packets());
        }
        let (expected, counts) = expect(&script, room);
        prop_assert_eq!(lens, expected);
        prop_assert_eq!(sum, counts);
        drop((posted, cache));
        custody.open();
        prop_assert_eq!(pool.available(), pool.packets());
    }

    /// Packets of our own pool, of a second, of a stranger, and of one that is copied, of any length, in any order.
    #[test]
    fn what_is_sent_comes_home_whoever_owns_it(
        packets in proptest::collection::vec((0usize..4, 0usize..=256), 1..150),
        steps in proptest::collection::vec((1u32..64, 0u32..64), 1..40),
        all_reclaimed in any::<bool>(),
        least in 0u32..30,
    ) {
        let (local, space) = domain();
        let pools = [pool(200), pool(200), pool(200), pool(200)];
        let custody = Custody::new();
        let others = [pools[1].map(&space).unwrap()];
        let posted = Posted::new(&pools[0].map(&space).unwrap(), &others, 64, &custody).unwrap();
        let mut posted = posted.copying(&pools[3..]);
        let mut copied = 0;
        let mut cache = pools[0].cache();
        let mut queue = packets.iter();
        let (mut sent, mut lengths, mut unmapped, mut taken) = (Vec::new(), 0, 0, 0usize);
        let mut batch = Batch::new();
        for (burst, back) in steps {
            while batch.len() < burst as usize {
                let Some((owner, len)) = queue.next() else { break };
                let mut packet = pools[*owner].alloc().unwrap();
                prop_assert!(packet.set(&vec![*len as u8; *len]));
                batch.push(packet).unwrap();
            }
            let room = 63 - posted.len();
            let had = batch.len();
            let result = posted.send(&mut batch, room, least..=200, |_, iova, len| sent.push((iova, len)));
            taken += had - batch.len();
            lengths += result.lengths;
            unmapped += result.unmapped;
            copied += result.copied as usize;
            for (iova, len) in &sent[sent.len() - result.packets as usize..] {
                let mut bytes = vec![0; *len as usize];
                prop_assert!(local.read(*iova, &mut bytes).is_ok());
                prop_assert_eq!(bytes, vec![*len as u8; *len as usize]);
            }
            posted.reclaim(&mut cache, back);
        }
        let expected: Vec<u32> = packets[..taken].iter()
            .filter(|(owner, len)| *owner != 2 && (least.max(1)..=200).contains(&(*len as u32)))
            .map(|(_, len)| *len as u32).collect();
        let (got, fit): (Vec<u32>, _) = (
            sent.iter().map(|(_, len)| *len).collect(),
            packets[..taken].iter().filter(|(_, len)| (least.max(1)..=200).contains(&(*len as u32))).count(),
        );
        prop_assert_eq!(&got, &expected);
        let of_copied = packets[..taken].iter().filter(|(owner, len)| *owner == 3 && (least.max(1)..=200).contains(&(*len as u32)));
        prop_assert_eq!(copied, of_copied.count());
        prop_assert_eq!(lengths as usize, taken - fit);
        prop_assert_eq!(unmapped as usize, fit - expected.len());
        if all_reclaimed {
            posted.reclaim(&mut cache, u32::MAX);
            prop_assert!(posted.is_empty());
        }
        drop((batch, posted, cache));
        custody.open();
        drop(others);
        for pool in &pools {
            prop_assert_eq!(pool.available(), pool.packets());
        }
        prop_assert_eq!(local.mapped(), 0);
        prop_assert_eq!(local.take_faults(), []);
    }
}

#[test]
fn a_device_may_want_more_headroom_than_the_pool_has() {
    let (local, space) = domain();
    for (headroom, wanted, got) in [(0, 256, 256), (128, 256, 256), (300, 256, 300), (128, 0, 128)] {
        let pool = Pool::builder().packets(8).headroom(headroom).data_room(500);
        let pool = pool.source(Source::MemFd(PageSize::Base4K)).build().unwrap();
        let custody = Custody::new();
        let posted = Posted::new(&pool.map(&space).unwrap(), &[], 8, &custody).unwrap();
        let mut posted = posted.with_headroom(wanted).unwrap();
        assert_eq!(posted.room(), pool.buffer_len() - got);
        let (mut cache, mut out, mut at) = (pool.cache(), Batch::new(), Vec::new());
        assert_eq!(posted.fill(&mut cache, 2, |_, iova| at.push(iova)), 2);
        local.write(at[0], b"frame").unwrap();
        let room = posted.room() as u32;
        let mut lens = [5, room + 1].into_iter();
        let received = posted.receive(&mut cache, &mut out, |_| {
            lens.next().map_or(Verdict::Pending, Verdict::Frame)
        });
        assert_eq!((received.packets, received.lengths), (1, 1));
        let packet = out.pop().unwrap();
        assert_eq!((&packet[..], packet.headroom()), (&b"frame"[..], got));
        drop((packet, posted, cache));
        custody.open();
        assert_eq!(pool.available(), 8);
        let posted = Posted::new(&pool.map(&space).unwrap(), &[], 8, &custody).unwrap();
        assert!(posted.with_headroom(pool.buffer_len()).is_none());
    }
}

#[test]
fn a_dropped_ring_keeps_its_buffers_until_the_device_is_quiet() {
    let (local, space) = domain();
    let (pool, second, custody) = (pool(64), pool(8), Custody::new());
    let maps = (pool.map(&space).unwrap(), second.map(&space).unwrap());
    let mut cache = pool.cache();
    let mut rx = Posted::new(&maps.0, &[], 32, &custody).unwrap();
    let mut buffer = None;
    assert_eq!(rx.fill(&mut cache, 31, |_, iova| buffer = Some(iova)), 31);
    let mut tx = Posted::new(&maps.0, std::slice::from_ref(&maps.1), 32, &custody).unwrap();
    let mut batch = Batch::new();
    for from in [&pool, &second, &pool] {
        // The cache may have taken all that the pool's own list had.
        let packet = if *from == pool {
            cache.alloc()
        } else {
            from.alloc()
        };
        let mut packet = packet.unwrap();
        assert!(packet.set(&[1; 60]));
        batch.push(packet).unwrap();
    }
    assert_eq!(tx.send(&mut batch, 31, 1..=100, |_, _, _| {}).packets, 3);
    drop((rx, tx, maps, batch, cache));
    assert_eq!(custody.held(), 34);
    assert_eq!((pool.available(), second.available()), (64 - 33, 8 - 1));
    assert_eq!(local.mapped(), 2, "the device may still write");
    local.write(buffer.unwrap(), &[0xff; 256]).unwrap();
    custody.open();
    assert_eq!((custody.held(), local.mapped()), (0, 0));
    assert_eq!((pool.available(), second.available()), (64, 8));
}

#[test]
fn a_stopped_device_gets_nothing_and_what_it_had_is_free_at_once() {
    let (local, space) = domain();
    let (pool, custody) = (pool(300), Custody::new());
    let map = pool.map(&space).unwrap();
    let mut cache = pool.cache();
    let mut ring = Posted::new(&map, &[], 32, &custody).unwrap();
    assert_eq!(ring.fill(&mut cache, 20, |_, _| {}), 20);
    assert!(!ring.is_stopped());
    custody.open();
    assert!(ring.is_stopped());
    assert_eq!(ring.fill(&mut cache, 5, |_, _| panic!("handed over")), 0);
    let mut batch = Batch::new();
    cache.alloc_batch(&mut batch, 5, 60);
    let sent = ring.send(&mut batch, 5, 1..=100, |_, _, _| panic!("handed over"));
    assert_eq!((sent.packets, batch.len()), (0, 5));
    // What the device had completed before can still be taken.
    let mut done = Batch::new();
    let got = ring.receive(&mut cache, &mut done, |index| match index {
        0..3 => Verdict::Frame(60),
        _ => Verdict::Pending,
    });
    assert_eq!((got.packets, ring.len()), (3, 17));
    drop(ring);
    assert_eq!(custody.held(), 0);
    drop((batch, done, cache, map));
    assert_eq!((pool.available(), local.mapped()), (300, 0));
}

#[test]
fn a_device_never_stopped_costs_its_buffers_and_nothing_else() {
    let (local, space) = domain();
    let (pool, custody) = (pool(64), Custody::new());
    let mut posted = Posted::new(&pool.map(&space).unwrap(), &[], 32, &custody).unwrap();
    let mut buffer = None;
    posted.fill(&mut pool.cache(), 31, |_, iova| buffer = Some(iova));
    drop((posted, custody));
    assert_eq!(
        pool.available(),
        64 - 31,
        "leaked: the device may still write there"
    );
    assert_eq!(local.mapped(), 1);
    let mut others = Batch::new();
    assert_eq!(pool.cache().alloc_batch(&mut others, 64, 60), 33);
    others.as_mut_slice().iter_mut().for_each(|packet| packet.fill(7));
    local.write(buffer.unwrap(), &[0xff; 256]).unwrap();
    assert!(
        others
            .as_slice()
            .iter()
            .all(|packet| packet.iter().all(|byte| *byte == 7)),
        "a write of the device reached somebody else's packet"
    );
}
