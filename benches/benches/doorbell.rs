//! What a doorbell costs the core that rings it: the write barrier, and a store to a mapped register or a call to a
//! trapped one. The register is ordinary memory here; what the bus of a real device adds is not measured.
//!
//! `cargo bench -p barline-benches --bench doorbell`

use barline_benches::device::{TAIL, mapped_bar, trapped_bar};
use barline_benches::tsc::Tsc;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;

fn doorbell(c: &mut Criterion<Tsc>) {
    let mut group = c.benchmark_group("doorbell");
    group
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    // One ring for a burst of so many packets.
    for burst in [1u64, 32] {
        group.throughput(Throughput::Elements(burst));
        for (name, bar) in [("mapped", mapped_bar()), ("trapped", trapped_bar())] {
            let Ok(mut bell) = black_box(bar).doorbell(TAIL) else {
                return;
            };
            let mut tail = 0;
            group.bench_function(BenchmarkId::new(name, burst), |b| {
                b.iter(|| {
                    tail += 1;
                    bell.ring(black_box(tail));
                });
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(Tsc);
    targets = doorbell
}
criterion_main!(benches);
