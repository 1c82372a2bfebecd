//! The pool on one core, cycles an object.
//!
//! `cargo bench -p barline-benches --bench pool`

use barline::mem::{PageSize, Source};
use barline::pool::{Batch, Pool};
use barline_benches::tsc::Tsc;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
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
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(Tsc);
    targets = packets
}
criterion_main!(benches);
