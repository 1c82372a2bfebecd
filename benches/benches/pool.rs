//! The pool on one core, cycles an object.
//!
//! `cargo bench -p barline-benches --bench pool`

use barline::mem::{PageSize, Source};
use barline::pool::{Batch, Pool};
use barline::ring::Mpmc;
use barline_benches::tsc::Tsc;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

fn packets(c: &mut Criterion<Tsc>) {
    let Ok(pool) = Pool::builder()
        .packets(4096)
        .source(Source::MemFd(PageSize::Base4K))
        .build()
    else {
        return;
    };
    let mut group = c.benchmark_group("packet");
    group.warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_secs(1));
    for bulk in [1usize, 8, 32] {
        group.throughput(Throughput::Elements(bulk as u64));
        let mut cache = pool.cache();
        let mut batch = Batch::new();
        group.bench_function(BenchmarkId::new("alloc+free", bulk), |b| {
            b.iter(|| {
                cache.alloc_batch(black_box(&mut batch), bulk, 60);
                cache.free(black_box(&mut batch));
            });
        });
    }
    group.finish();

    let mut group = c.benchmark_group("pool");
    group.warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_secs(1));
    for bulk in [1usize, 8, 32] {
        group.throughput(Throughput::Elements(bulk as u64));
        let (mut cache, mut out) = (pool.cache(), vec![0; bulk]);
        group.bench_function(BenchmarkId::new("get+put", bulk), |b| {
            b.iter(|| {
                cache.churn(black_box(&mut out), |slots| {
                    black_box(slots);
                })
            });
        });
    }
    // As the packet path does it, but always through the pool's shared list.
    group.throughput(Throughput::Elements(64));
    let (mut cache, mut batch) = (pool.cache(), Batch::new());
    group.bench_function(BenchmarkId::new("alloc+free+flush", 64), |b| {
        b.iter(|| {
            cache.alloc_batch(black_box(&mut batch), 64, 60);
            cache.free(black_box(&mut batch));
            cache.flush();
        });
    });
    group.finish();
}

/// A pipeline's traffic through the shared list: one cache only allocates, the other only frees, and every packet's
/// first line is written. What the list's order costs shows here: a stack hands out what was just given back, a
/// queue goes round through the whole pool.
fn pipeline(c: &mut Criterion<Tsc>) {
    let mut group = c.benchmark_group("pipeline");
    group.warm_up_time(Duration::from_millis(500));
    group.measurement_time(Duration::from_secs(2));
    group.throughput(Throughput::Elements(32));
    for packets in [1024usize, 8192, 65536] {
        let source = Source::MemFd(PageSize::Base4K);
        let Ok(pool) = Pool::builder().packets(packets).source(source).build() else {
            return;
        };
        let (mut rx, mut tx, mut batch) = (pool.cache(), pool.cache(), Batch::new());
        group.bench_function(BenchmarkId::new("alloc+write+free", packets), |b| {
            b.iter(|| {
                rx.alloc_batch(&mut batch, 32, 64);
                for packet in batch.as_mut_slice() {
                    packet.fill(1);
                }
                tx.free(black_box(&mut batch));
            });
        });
    }
    group.finish();
}

/// What the pool's shared list could be: 64 slots taken and given back, nobody else there. With a second thread:
/// bench `two_cores`.
fn shared_list(c: &mut Criterion<Tsc>) {
    const SLOTS: u32 = 8192;
    let mut group = c.benchmark_group("shared-list");
    group.warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_secs(1));
    group.throughput(Throughput::Elements(64));
    let mut slots = [0; 64];
    let list = Mutex::new((0..SLOTS).collect::<Vec<u32>>());
    group.bench_function(BenchmarkId::new("mutex", 64), |b| {
        b.iter(|| {
            let mut free = list.lock().unwrap_or_else(PoisonError::into_inner);
            let rest = free.len() - slots.len();
            slots.copy_from_slice(&free[rest..]);
            free.truncate(rest);
            drop(free);
            black_box(&mut slots);
            let mut free = list.lock().unwrap_or_else(PoisonError::into_inner);
            free.extend_from_slice(&slots);
        });
    });
    let Some(ring) = Mpmc::<u32>::new(SLOTS as usize) else {
        return;
    };
    ring.push_slice(&(0..SLOTS).collect::<Vec<_>>());
    group.bench_function(BenchmarkId::new("mpmc", 64), |b| {
        b.iter(|| {
            ring.pop_slice(&mut slots);
            black_box(&mut slots);
            ring.push_slice(&slots)
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(Tsc);
    targets = packets, pipeline, shared_list
}
criterion_main!(benches);
