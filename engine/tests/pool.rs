//! The pool: slots are conserved and never in two hands, whatever moves them, and the memory outlives its users.

mod common;

use barline::mem::{PageSize, Source};
use barline::pool::{Batch, Custody, MAX_BURST, Packet, Pool, PoolCache, PoolError, Posted, Verdict};
use common::{SMALL, domain, place, pool};
use crossbeam::channel;
use proptest::prelude::*;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One thing that happens to slots.
#[derive(Clone, Debug)]
enum Op {
    Alloc(usize),
    AllocSlow,
    AllocBatch(usize, usize, usize),
    FreeOne(usize, usize),
    FreeBatch(usize, usize),
    Drop(usize),
    Flush(usize),
    Renew(usize),
    Fill(usize, u32),
    Receive(usize, u32),
    Send(usize),
    Reclaim(usize, u32),
    OtherThread(usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let cache = || 0usize..3;
    let one = prop_oneof![
        cache().prop_map(Op::Alloc),
        Just(Op::AllocSlow),
        (cache(), 0usize..80, 0usize..400).prop_map(|(c, n, len)| Op::AllocBatch(c, n, len)),
        (cache(), any::<usize>()).prop_map(|(c, at)| Op::FreeOne(c, at)),
        (cache(), 0usize..80).prop_map(|(c, n)| Op::FreeBatch(c, n)),
        any::<usize>().prop_map(Op::Drop),
        cache().prop_map(Op::Flush),
        cache().prop_map(Op::Renew),
        (cache(), 0u32..200).prop_map(|(c, n)| Op::Fill(c, n)),
        (cache(), 0u32..80).prop_map(|(c, n)| Op::Receive(c, n)),
        (0usize..80).prop_map(Op::Send),
        (cache(), 0u32..200).prop_map(|(c, n)| Op::Reclaim(c, n)),
        cache().prop_map(Op::OtherThread),
    ];
    proptest::collection::vec(one, 0..120)
}

/// Two pools, three caches (the last of the second pool), two rings of the first pool, and packets in hand, each
/// with a stamp that nobody else may overwrite.
struct Bench {
    pools: [Pool; 2],
    caches: Vec<PoolCache>,
    rx: Posted,
    tx: Posted,
    held: Vec<(u64, Packet)>,
    stamp: u64,
}

impl Bench {
    fn keep(&mut self, mut packet: Packet) {
        self.stamp += 1;
        assert!(packet.set(&self.stamp.to_le_bytes()));
        self.held.push((self.stamp, packet));
    }

    fn take(&mut self, at: usize) -> Option<Packet> {
        if self.held.is_empty() {
            return None;
        }
        let (stamp, packet) = self.held.swap_remove(at % self.held.len());
        assert_eq!(
            packet[..],
            stamp.to_le_bytes(),
            "somebody else wrote into a packet that was held"
        );
        Some(packet)
    }

    fn batch(&mut self, n: usize) -> Batch {
        let mut batch = Batch::new();
        for _ in 0..n.min(MAX_BURST) {
            let Some(packet) = self.take(n) else { break };
            batch.push(packet).unwrap();
        }
        batch
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Alloc(c) => {
                if let Some(packet) = self.caches[c].alloc() {
                    self.keep(packet);
                }
            }
            Op::AllocSlow => {
                if let Some(packet) = self.pools[0].alloc() {
                    self.keep(packet);
                }
            }
            Op::AllocBatch(c, n, len) => {
                let mut batch = Batch::new();
                let got = self.caches[c].alloc_batch(&mut batch, n, len);
                assert_eq!(got, batch.len());
                while let Some(packet) = batch.pop() {
                    assert_eq!(packet.len(), len.min(self.pools[0].data_room()));
                    self.keep(packet);
                }
            }
            Op::FreeOne(c, at) => {
                if let Some(packet) = self.take(at) {
                    self.caches[c].free_one(packet);
                }
            }
            Op::FreeBatch(c, n) => {
                let mut batch = self.batch(n);
                self.caches[c].free(&mut batch);
                assert!(batch.is_empty());
            }
            Op::Drop(at) => drop(self.take(at)),
            Op::Flush(c) => self.caches[c].flush(),
            Op::Renew(c) => {
                let pool = self.caches[c].pool().clone();
                self.caches[c] = pool.cache();
            }
            Op::Fill(c, n) => {
                self.rx.fill(&mut self.caches[c], n, |_, _| {});
            }
            Op::Receive(c, n) => self.receive(c, n),
            Op::Send(n) => {
                let mut batch = self.batch(n);
                self.tx.send(&mut batch, 100, 1..=64, |_, _, _| {});
            }
            Op::Reclaim(c, n) => self.tx.reclaim(&mut self.caches[c], n),
            Op::OtherThread(c) => self.visit(c),
        }
    }

    fn receive(&mut self, c: usize, n: u32) {
        let mut batch = Batch::new();
        let mut left = n;
        self.rx.receive(&mut self.caches[c], &mut batch, |index| {
            if left == 0 {
                return Verdict::Pending;
            }
            left -= 1;
            // Every seventh is nonsense.
            Verdict::Frame(if index % 7 == 0 { 0xffff } else { index % 200 + 1 })
        });
        while let Some(packet) = batch.pop() {
            self.keep(packet);
        }
    }

    /// A cache and the packets in hand go to another thread and back.
    fn visit(&mut self, c: usize) {
        let cache = self.caches.remove(c);
        let held = std::mem::take(&mut self.held);
        let there = std::thread::spawn(move || {
            let mut cache = cache;
            let mut held = held;
            if let Some(packet) = cache.alloc() {
                cache.free_one(packet);
            }
            held.iter_mut().for_each(|(_, packet)| packet.reverse());
            held.iter_mut().for_each(|(_, packet)| packet.reverse());
            (cache, held)
        });
        let (cache, held) = there.join().unwrap();
        self.caches.insert(c, cache);
        self.held = held;
    }

    /// Every slot is in exactly one place.
    fn check(&self) {
        let in_caches: usize = self.caches.iter().map(PoolCache::len).sum();
        let shared: usize = self.pools.iter().map(Pool::available).sum();
        let in_rings = (self.rx.len() + self.tx.len()) as usize;
        let all: usize = self.pools.iter().map(Pool::packets).sum();
        assert_eq!(shared + in_caches + in_rings + self.held.len(), all);
        let places: HashSet<usize> = self.held.iter().map(|(_, packet)| place(packet)).collect();
        assert_eq!(places.len(), self.held.len(), "a slot is in two hands");
        for pool in &self.pools {
            assert!(pool.available() <= pool.packets());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn slots_are_conserved_and_never_in_two_hands(ops in ops(), packets in 1usize..900) {
        let (local, space) = domain();
        let pools = [pool(packets), pool(100)];
        let custody = Custody::new();
        let (map, other) = (pools[0].map(&space).unwrap(), pools[1].map(&space).unwrap());
        let mut bench = Bench {
            caches: vec![pools[0].cache(), pools[0].cache(), pools[1].cache()],
            rx: Posted::new(&map, &[], 128, &custody).unwrap(),
            tx: Posted::new(&map, &[other], 128, &custody).unwrap(),
            pools,
            held: Vec::new(),
            stamp: 0,
        };
        drop(map);
        for op in ops {
            bench.step(op);
            bench.check();
        }
        while bench.take(0).is_some() {}
        let Bench { pools, caches, rx, tx, .. } = bench;
        drop((caches, rx, tx));
        custody.open();
        for pool in &pools {
            prop_assert_eq!(pool.available(), pool.packets());
        }
        drop(pools);
        prop_assert_eq!((local.mapped(), local.map_calls()), (0, 2));
    }

    /// A packet's edges move only inside its own buffer: writing all that can be reached spoils no neighbour.
    #[test]
    fn no_edge_leaves_the_buffer(steps in proptest::collection::vec((0u8..5, 0usize..500), 0..60)) {
        let pool = pool(3);
        let mut packets = [pool.alloc().unwrap(), pool.alloc().unwrap(), pool.alloc().unwrap()];
        for (packet, byte) in packets.iter_mut().zip([1, 2, 3]) {
            packet.prepend(64).unwrap().fill(byte);
            let all = packet.tailroom();
            packet.append(all).unwrap().fill(byte);
            prop_assert_eq!(packet.len(), pool.buffer_len());
        }
        let [before, packet, after] = &mut packets;
        let start = place(packet);
        for (what, n) in steps {
            let (headroom, len, tailroom) = (packet.headroom(), packet.len(), packet.tailroom());
            match what {
                0 => { let new = packet.prepend(n).map(|part| part.len()); prop_assert_eq!(new, (n <= headroom).then_some(n)) }
                1 => { let new = packet.append(n).map(|part| part.len()); prop_assert_eq!(new, (n <= tailroom).then_some(n)) }
                2 => prop_assert_eq!(packet.trim_front(n).is_some(), n <= len),
                3 => packet.truncate(n),
                _ => prop_assert_eq!(packet.set(&vec![9; n]), n <= len + tailroom),
            }
            prop_assert_eq!(place(packet), start);
            prop_assert_eq!(packet.headroom() + packet.len() + packet.tailroom(), pool.buffer_len());
            packet.fill(9);
        }
        prop_assert!(before.iter().all(|byte| *byte == 1));
        prop_assert!(after.iter().all(|byte| *byte == 3));
    }

    /// Nonsense sizes are refused; what is made keeps its word about every length.
    #[test]
    fn a_pool_of_any_shape_keeps_its_word(
        room in prop_oneof![0usize..70_000, Just(usize::MAX), Just(usize::MAX - 100), 65_300usize..65_600],
        headroom in prop_oneof![0usize..300, Just(usize::MAX), Just(usize::MAX - 2000), 65_000usize..66_000],
    ) {
        let shape = Pool::builder().packets(3).data_room(room).headroom(headroom).source(SMALL);
        let Ok(pool) = shape.build() else { return Ok(()) };
        prop_assert!(room <= 65_535 && headroom <= 65_535);
        prop_assert!(pool.data_room() >= room && pool.headroom() == headroom);
        prop_assert!(pool.data_room() + headroom <= pool.buffer_len());
        let mut batch = Batch::new();
        prop_assert_eq!(pool.cache().alloc_batch(&mut batch, 3, usize::MAX), 3);
        for packet in batch.as_mut_slice() {
            prop_assert_eq!(packet.len(), pool.data_room());
            packet.fill(1);
        }
    }
}

#[test]
fn impossible_shapes_say_which_rule_they_break() {
    let shape = |packets: usize, room: usize, headroom: usize| {
        let shape = Pool::builder()
            .packets(packets)
            .data_room(room)
            .headroom(headroom);
        match shape.source(SMALL).build() {
            Err(PoolError::Shape { why, .. }) => why,
            other => panic!("{other:?}"),
        }
    };
    assert!(shape(0, 2048, 128).contains("at least one"));
    assert!(shape(1, 63, 0).contains("64 bytes"));
    assert!(shape(1, 65_535, 1).contains("65,535"));
    assert!(shape(1, usize::MAX, 128).contains("65,535"));
    assert!(shape(1, 2048, usize::MAX).contains("65,535"));
    assert!(shape(8 << 20, 2048, 128).contains("15 GiB"));
    assert!(shape(usize::MAX, 2048, 128).contains("15 GiB"));
}

#[test]
fn an_empty_pool_is_a_counter_and_never_a_panic() {
    let pool = pool(70);
    let mut cache = pool.cache();
    let mut batches = [Batch::new(), Batch::new(), Batch::new()];
    let got: Vec<usize> = batches
        .iter_mut()
        .map(|batch| cache.alloc_batch(batch, 64, 60))
        .collect();
    assert_eq!(got, [64, 6, 0]);
    assert!(cache.alloc().is_none() && pool.alloc().is_none());
    assert!(pool.starved() >= 3);
    batches.iter_mut().for_each(|batch| cache.free(batch));
    assert_eq!(cache.len(), 70);
    drop(cache);
    assert_eq!(pool.available(), 70);
}

#[test]
fn two_threads_hammer_one_pool_through_caches_and_channels() {
    const ROUNDS: u64 = 20_000;
    let pool = pool(700);
    let (to, from) = (channel::bounded::<Batch>(4), channel::bounded::<Batch>(4));
    let starved = Arc::new(AtomicUsize::new(0));
    let work =
        |mut cache: PoolCache, out: channel::Sender<Batch>, inward: channel::Receiver<Batch>, id: u64| {
            let starved = starved.clone();
            move || {
                let mut kept: Vec<(u64, Packet)> = Vec::new();
                for round in 0..ROUNDS {
                    let mut batch = Batch::new();
                    if cache.alloc_batch(&mut batch, (round % 64 + 1) as usize, 16) == 0 {
                        starved.fetch_add(1, Ordering::Relaxed);
                    }
                    for packet in batch.as_mut_slice() {
                        packet[..8].copy_from_slice(&(id << 32 | round).to_le_bytes());
                    }
                    if let Some(mut packet) = batch.pop() {
                        packet[8..].copy_from_slice(&(id << 32 | round).to_le_bytes());
                        kept.push((id << 32 | round, packet));
                    }
                    // Never both waiting for each other: what does not fit is given back here.
                    if let Err(channel::TrySendError::Full(mut batch)) = out.try_send(batch) {
                        cache.free(&mut batch);
                    }
                    while let Ok(mut batch) = inward.try_recv() {
                        for packet in batch.as_slice() {
                            let stamp = u64::from_le_bytes(packet[..8].try_into().unwrap());
                            assert_eq!(stamp >> 32, 1 - id, "a packet in the channel was overwritten");
                        }
                        match round % 3 {
                            0 => batch.clear(),
                            _ => cache.free(&mut batch),
                        }
                    }
                    if kept.len() > 100 {
                        for (stamp, packet) in kept.drain(..) {
                            assert_eq!(
                                packet[8..16],
                                stamp.to_le_bytes(),
                                "a held packet was overwritten"
                            );
                            cache.free_one(packet);
                        }
                    }
                }
            }
        };
    std::thread::scope(|scope| {
        scope.spawn(work(pool.cache(), to.0.clone(), from.1.clone(), 0));
        scope.spawn(work(pool.cache(), from.0.clone(), to.1.clone(), 1));
    });
    drop((to, from));
    assert_eq!(pool.available(), 700);
}

#[test]
fn packets_outlive_every_handle_of_their_pool() {
    let pool = pool(50);
    let memory = Arc::downgrade(pool.memory());
    let mut packets: Vec<Packet> = (0..50).map(|_| pool.alloc().unwrap()).collect();
    for (byte, packet) in (0..).zip(&mut packets) {
        assert!(packet.set(&[byte; 200]));
    }
    let clone = pool.clone();
    drop(pool);
    drop(clone);
    assert!(memory.upgrade().is_some());
    let threads: Vec<_> = packets
        .into_iter()
        .zip(0u8..)
        .map(|(packet, byte)| {
            std::thread::spawn(move || {
                assert_eq!(packet[..], [byte; 200]);
                drop(packet);
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(
        memory.upgrade().is_none(),
        "the last packet takes the memory with it"
    );
}

#[test]
fn the_last_of_cache_handle_packet_and_batch_frees_the_memory_whatever_the_order() {
    for order in 0..24u32 {
        let pool = pool(100);
        let memory = Arc::downgrade(pool.memory());
        let mut cache = pool.cache();
        let mut batch = Batch::new();
        cache.alloc_batch(&mut batch, 10, 60);
        let packet = cache.alloc().unwrap();
        let mut parts: Vec<Box<dyn std::any::Any>> =
            vec![Box::new(pool), Box::new(cache), Box::new(batch), Box::new(packet)];
        let mut code = order;
        for left in (1..=4u32).rev() {
            assert!(memory.upgrade().is_some(), "order {order}");
            drop(parts.swap_remove((code % left) as usize));
            code /= left;
        }
        assert!(memory.upgrade().is_none(), "order {order}");
    }
}

#[test]
fn threads_that_race_for_the_last_reference_free_it_once() {
    for _ in 0..500 {
        let pool = pool(4);
        let memory = Arc::downgrade(pool.memory());
        let packets = [pool.alloc().unwrap(), pool.alloc().unwrap()];
        let barrier = std::sync::Barrier::new(3);
        std::thread::scope(|scope| {
            for packet in packets {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    drop(packet);
                });
            }
            barrier.wait();
            drop(pool);
        });
        assert!(memory.upgrade().is_none());
    }
}

#[test]
fn a_pool_is_mapped_once_a_domain_however_often_it_is_asked() {
    let ((a, space_a), (b, space_b)) = (domain(), domain());
    let pool = pool(10);
    let maps = [
        pool.map(&space_a).unwrap(),
        pool.clone().map(&space_a).unwrap(),
        pool.map(&space_b).unwrap(),
    ];
    assert_eq!(
        (a.map_calls(), b.map_calls(), a.mapped(), b.mapped()),
        (1, 1, 1, 1)
    );
    let packet = pool.alloc().unwrap();
    assert_eq!(maps[0].iova(&packet), maps[1].iova(&packet));
    let iova = maps[2].iova(&packet).unwrap();
    assert_ne!(iova.raw(), packet.as_ptr() as u64, "an IOVA is never an address");
    assert!(maps[0].iova(&common::pool(1).alloc().unwrap()).is_none());
    drop(maps);
    assert_eq!((a.mapped(), b.mapped()), (0, 0));
    let again = pool.map(&space_a).unwrap();
    assert_eq!((a.map_calls(), a.mapped()), (2, 1));
    // The mapping keeps the pool's memory, the pool keeps nothing of the mapping.
    drop((pool, packet));
    assert_eq!(a.mapped(), 1);
    drop(again);
    assert_eq!(a.mapped(), 0);
}

#[test]
fn the_pools_header_is_out_of_the_devices_reach() {
    let (local, space) = domain();
    let pool = Pool::builder()
        .packets(2)
        .source(Source::MemFd(PageSize::Base4K))
        .build()
        .unwrap();
    let map = pool.map(&space).unwrap();
    let packet = pool.alloc().unwrap();
    let first = map.iova(&packet).unwrap().raw() - packet.headroom() as u64;
    let start = first - (place(&packet) - pool.memory().as_ptr().as_ptr() as usize) as u64;
    local.write(barline::mem::Iova::new(start), &[0xff; 64]).unwrap();
    assert!(local.write(barline::mem::Iova::new(start - 1), &[0xff]).is_err());
    drop(packet);
    assert_eq!(pool.available(), 2, "the header still names the pool");
}

#[test]
fn batches_keep_order_over_any_mix_of_push_and_pop() {
    let pool = pool(300);
    let mut cache = pool.cache();
    for (burst, limit) in [(0, 1), (1, 1), (2, 2), (7, 7), (63, 63), (64, 64), (1000, 64)] {
        let mut batch = Batch::with_burst(burst);
        let (mut pushed, mut popped) = (0u32, 0u32);
        for step in 0..500 {
            let mut packet = cache.alloc().unwrap();
            assert!(packet.set(&pushed.to_le_bytes()));
            let had = batch.len();
            match batch.push(packet) {
                Ok(()) => pushed += 1,
                Err(packet) => {
                    assert_eq!((had, batch.room()), (limit, 0));
                    cache.free_one(packet);
                }
            }
            assert_eq!(batch.len() + batch.room(), limit);
            while step % 3 == 0 && batch.len() > limit / 2 {
                let packet = batch.pop().unwrap();
                assert_eq!(packet[..], popped.to_le_bytes());
                popped += 1;
                cache.free_one(packet);
            }
        }
        assert!(pushed > 100);
        for (number, packet) in (popped..).zip(batch.as_slice()) {
            assert_eq!(packet[..], number.to_le_bytes());
        }
    }
    drop(cache);
    assert_eq!(pool.available(), 300);
}

proptest! {
    /// Whatever is wanted: it stays in its order, the rest is home, and nothing is in both.
    #[test]
    fn a_filter_keeps_what_is_wanted_in_order(wanted in proptest::collection::vec(any::<bool>(), 0..64), before in 0usize..64) {
        let pool = pool(200);
        let mut cache = pool.cache();
        let mut batch = Batch::new();
        // The batch may begin anywhere.
        cache.alloc_batch(&mut batch, before, 4);
        let mut taken = Vec::new();
        for number in 0..wanted.len().min(batch.room()) {
            let mut packet = cache.alloc().unwrap();
            packet.set(&(number as u32).to_le_bytes());
            batch.push(packet).unwrap();
            taken.push(number);
        }
        (0..before).for_each(|_| cache.free_one(batch.pop().unwrap()));
        let number = |packet: &[u8]| u32::from_le_bytes(packet.try_into().unwrap()) as usize;
        let dropped = cache.retain(&mut batch, |packet| wanted[number(packet)]);
        let kept: Vec<usize> = batch.as_slice().iter().map(|packet| number(packet)).collect();
        let wished: Vec<usize> = taken.iter().copied().filter(|at| wanted[*at]).collect();
        prop_assert_eq!(dropped, taken.len() - kept.len());
        prop_assert_eq!(kept, wished);
        cache.free(&mut batch);
        drop(cache);
        prop_assert_eq!(pool.available(), 200);
    }
}
