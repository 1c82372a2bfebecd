//! The pool and its shared list: it goes exactly once, when the last handle and the last packet are gone.
#![cfg(not(loom))]

use barline::mem::{PageSize, Source};
use barline::pool::{Batch, Pool};
use std::collections::HashSet;
use std::sync::{Arc, Barrier};
use std::thread;

fn pool(packets: usize) -> Pool {
    Pool::builder()
        .packets(packets)
        .data_room(64)
        .source(Source::MemFd(PageSize::Base4K))
        .build()
        .expect("a pool")
}

#[test]
fn every_slot_once() {
    let pool = pool(300);
    let packets: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    let places: HashSet<_> = packets.iter().map(|packet| packet.as_ptr().addr()).collect();
    assert_eq!((packets.len(), places.len(), pool.available()), (300, 300, 0));
    assert_eq!(pool.starved(), 1);
    drop(packets);
    assert_eq!(pool.available(), 300);
}

/// Handles, caches and packets go in all orders at once; whoever is last takes the pool along, and nobody twice.
#[test]
fn the_last_one_takes_it_along() {
    for round in 0..300 {
        let pool = pool(64);
        let memory = Arc::downgrade(pool.memory());
        let start = Barrier::new(5);
        thread::scope(|scope| {
            for owner in 0..3 {
                let packets: Vec<_> = (0..1 + owner).filter_map(|_| pool.alloc()).collect();
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    drop(packets);
                });
            }
            let (mut cache, mut batch) = (pool.cache(), Batch::new());
            cache.alloc_batch(&mut batch, 8, 60);
            let start = &start;
            scope.spawn(move || {
                start.wait();
                if round % 2 == 0 {
                    cache.free(&mut batch);
                }
                drop(cache);
                drop(batch);
            });
            scope.spawn(move || {
                start.wait();
                drop(pool);
            });
        });
        assert!(
            memory.upgrade().is_none(),
            "round {round}: the pool is still there"
        );
    }
}

/// More caches than cores move slots through the shared list; none is lost, none is handed out twice.
#[test]
fn caches_share_the_list() {
    let pool = pool(2048);
    thread::scope(|scope| {
        for mark in 1..=6u8 {
            let mut cache = pool.cache();
            scope.spawn(move || {
                let mut batch = Batch::new();
                for _ in 0..2000 {
                    cache.alloc_batch(&mut batch, 64, 60);
                    for packet in batch.as_mut_slice() {
                        packet.fill(mark);
                    }
                    assert!(
                        batch
                            .as_slice()
                            .iter()
                            .all(|packet| packet.iter().all(|byte| *byte == mark))
                    );
                    cache.free(&mut batch);
                    cache.flush();
                }
            });
        }
    });
    assert_eq!(pool.available(), 2048);
}
