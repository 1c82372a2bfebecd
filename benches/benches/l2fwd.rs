//! The whole forwarding loop on one core, both directions between two ports, through `Box<dyn>` queues: between null
//! ports in every mode, and as l2fwd between two simulated 82576, whose models take nearly all of the time.
//!
//! `cargo bench -p barline-benches --bench l2fwd`

use barline_benches::tsc::Tsc;
use barline_benches::work::{BURST, Shape, Workload, setup};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::time::Duration;

const NAMES: [&str; 9] = [
    "null-io",
    "null-macswap",
    "null-rxonly",
    "null-txonly",
    "l2fwd-null",
    "l2fwd-igb",
    "pktgen-txonly",
    "pktgen-marked",
    "pktgen-flowgen",
];

fn forward(c: &mut Criterion<Tsc>) {
    let mut group = c.benchmark_group("forward");
    group
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        // A round is a burst each way.
        .throughput(Throughput::Elements(2 * BURST as u64));
    for name in NAMES {
        let Some(Ok(mut ready)) = Workload::named(name).map(|work| setup(work, 1, Shape::default())) else {
            return;
        };
        let Some(work) = ready.works.first_mut() else {
            return;
        };
        group.bench_function(name, |b| b.iter(|| work.rounds(1)));
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(Tsc);
    targets = forward
}
criterion_main!(benches);
