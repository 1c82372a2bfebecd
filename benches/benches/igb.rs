//! The 82576 driver by itself: cycles a packet of receive and transmit, without the model's time, for descriptors that
//! are in this core's cache.
//!
//! `cargo bench -p barline-benches --bench igb`

use barline::port::{RxQueue, TxQueue};
use barline_benches::device::Rig;
use barline_benches::tsc::{self, Tsc};
use barline_benches::work::Shape;
use criterion::measurement::Measurement;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::time::Duration;

/// Rings of 512 descriptors, as the driver's default.
fn shape(burst: u32) -> Shape {
    Shape {
        burst: burst as usize,
        ring: 512,
        ..Shape::default()
    }
}

/// Cycles of the driver's turns; the device's turns between them are not counted.
fn turns<R: RxQueue + ?Sized, T: TxQueue + ?Sized>(rig: &mut Rig<R, T>, burst: u32, rounds: u64) -> u64 {
    let mut cycles = 0;
    for _ in 0..rounds {
        rig.device(burst);
        let start = tsc::now();
        rig.forward();
        cycles += tsc::now().wrapping_sub(start);
    }
    cycles
}

fn timed<M: Measurement>(group: &mut BenchmarkGroup<'_, M>) {
    group
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
}

fn forward(c: &mut Criterion<Tsc>) {
    let mut group = c.benchmark_group("igb");
    timed(&mut group);
    for burst in [1u32, 4, 8, 16, 32, 64] {
        let Ok(rig) = Rig::new(shape(burst)) else {
            return;
        };
        let mut rig = rig.boxed();
        group.throughput(Throughput::Elements(burst.into()));
        group.bench_function(BenchmarkId::new("receive+transmit", burst), |b| {
            b.iter_custom(|rounds| turns(&mut rig, burst, rounds));
        });
    }
    group.finish();
}

fn poll(c: &mut Criterion<Tsc>) {
    let mut group = c.benchmark_group("igb");
    timed(&mut group);
    group.throughput(Throughput::Elements(1));
    let Ok(rig) = Rig::new(shape(32)) else { return };
    let mut rig = rig.boxed();
    group.bench_function("empty poll", |b| b.iter(|| rig.poll()));
    group.finish();
}

/// The same work on queues that the compiler knows, and through `Box<dyn>`.
fn dispatch(c: &mut Criterion<Tsc>) {
    let mut group = c.benchmark_group("dispatch");
    timed(&mut group);
    for burst in [1u32, 32] {
        let (Ok(mut concrete), Ok(boxed)) = (Rig::new(shape(burst)), Rig::new(shape(burst))) else {
            return;
        };
        let mut boxed = boxed.boxed();
        group.throughput(Throughput::Elements(burst.into()));
        group.bench_function(BenchmarkId::new("concrete", burst), |b| {
            b.iter_custom(|rounds| turns(&mut concrete, burst, rounds));
        });
        group.bench_function(BenchmarkId::new("box-dyn", burst), |b| {
            b.iter_custom(|rounds| turns(&mut boxed, burst, rounds));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(Tsc);
    targets = forward, poll, dispatch
}
criterion_main!(benches);
