//! Rings on one core: put n in and take n out, cycles an object (both halves together).
//!
//! `cargo bench -p barline-benches --bench ring`

use barline::ring::{Mpmc, Spsc};
use barline_benches::tsc::Tsc;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;

const CAPACITY: usize = 1024;
const BULKS: [usize; 3] = [1, 8, 32];

fn group<'a>(c: &'a mut Criterion<Tsc>, name: &str) -> BenchmarkGroup<'a, Tsc> {
    let mut group = c.benchmark_group(name);
    group.warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_secs(1));
    group
}

fn spsc(c: &mut Criterion<Tsc>) {
    let mut group = group(c, "spsc");
    for bulk in BULKS {
        group.throughput(Throughput::Elements(bulk as u64));
        let Some(ring) = Spsc::<u64>::new(CAPACITY) else {
            continue;
        };
        let (mut tx, mut rx) = ring.split();
        let (from, mut to) = (vec![7u64; bulk], vec![0u64; bulk]);
        group.bench_function(BenchmarkId::new("one-core", bulk), |b| {
            b.iter(|| {
                tx.push_slice(black_box(&from));
                rx.pop_slice(black_box(&mut to))
            });
        });
    }
    group.finish();
}

fn mpmc(c: &mut Criterion<Tsc>) {
    let mut group = group(c, "mpmc");
    for bulk in BULKS {
        group.throughput(Throughput::Elements(bulk as u64));
        let Some(ring) = Mpmc::<u64>::new(CAPACITY) else {
            continue;
        };
        let (from, mut to) = (vec![7u64; bulk], vec![0u64; bulk]);
        group.bench_function(BenchmarkId::new("one-core", bulk), |b| {
            b.iter(|| {
                ring.push_slice(black_box(&from));
                ring.pop_slice(black_box(&mut to))
            });
        });
    }
    group.finish();
}

fn array_queue(c: &mut Criterion<Tsc>) {
    let mut group = group(c, "crossbeam-array-queue");
    let queue = crossbeam::queue::ArrayQueue::<u64>::new(CAPACITY);
    group.throughput(Throughput::Elements(1));
    group.bench_function(BenchmarkId::new("one-core", 1), |b| {
        b.iter(|| {
            let _ = queue.push(black_box(7));
            queue.pop()
        });
    });
    group.finish();
}

fn rtrb(c: &mut Criterion<Tsc>) {
    let mut group = group(c, "rtrb");
    for bulk in BULKS {
        group.throughput(Throughput::Elements(bulk as u64));
        let (mut tx, mut rx) = rtrb::RingBuffer::<u64>::new(CAPACITY);
        let (from, mut to) = (vec![7u64; bulk], vec![0u64; bulk]);
        group.bench_function(BenchmarkId::new("one-core", bulk), |b| {
            b.iter(|| {
                let _ = tx.push_partial_slice(black_box(&from));
                rx.pop_partial_slice(black_box(&mut to)).0.len()
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(Tsc);
    targets = spsc, mpmc, rtrb, array_queue
}
criterion_main!(benches);
