//! Instructions a packet, counted by callgrind: they repeat to the last digit however busy the machine is.
//!
//! `cargo xtask test instructions` runs this and compares with `benches/baselines/instructions.json`; by itself it is
//! `cargo bench -p barline-benches --bench instructions`, which needs valgrind and gungraun-runner. Every function handles
//! [`OBJECTS`] packets, objects or polls; the baseline file has the same number.
#![allow(
    missing_docs,
    reason = "the macros make modules, constants and functions without"
)]

use barline::ring::{RxRing, TxRing};
use barline_benches::device::Rig;
use barline_benches::work::{Setup, Shape, Work, Workload, setup};
use barline_igb::{Rx, Tx};
use gungraun::prelude::*;
use gungraun::{Callgrind, EntryPoint};
use std::hint::black_box;

/// What every function handles.
const OBJECTS: u64 = 1 << 15;
/// So much of it before anything is counted, so that caches are full and lazy symbols found.
const WARM: u64 = 1 << 12;

fn run(work: &mut dyn Work, objects: u64) {
    let mut done = 0;
    while done < objects {
        done += work.rounds(8);
    }
}

fn ready(name: &str) -> Setup {
    let workload = Workload::named(name).expect("a known workload");
    let mut ready = setup(workload, 1, Shape::default()).expect("memory for the workload");
    run(&mut *ready.works[0], WARM);
    ready
}

#[library_benchmark(setup = ready)]
#[bench::spsc_32("spsc-32")]
#[bench::mpmc_32("mpmc-32")]
#[bench::pool_32("pool-32")]
#[bench::packet_alloc_free_32("packet-alloc-free-32")]
#[bench::packet_two_caches_32("packet-two-caches-32")]
#[bench::null_io("null-io")]
#[bench::null_macswap("null-macswap")]
#[bench::null_rxonly("null-rxonly")]
#[bench::null_txonly("null-txonly")]
#[bench::l2fwd_null("l2fwd-null")]
fn workload(mut ready: Setup) -> Setup {
    run(&mut *ready.works[0], OBJECTS);
    black_box(ready)
}

/// Rings of 512 descriptors, as the driver's default.
fn shape(burst: u32) -> Shape {
    Shape {
        burst: burst as usize,
        ring: 512,
        ..Shape::default()
    }
}

type Concrete = Rig<RxRing<Rx>, TxRing<Tx>>;

fn concrete(burst: u32) -> (Concrete, u32) {
    (Rig::new(shape(burst)).expect("memory for the rings"), burst)
}

fn boxed(burst: u32) -> (Rig, u32) {
    let (rig, burst) = concrete(burst);
    (rig.boxed(), burst)
}

/// Counts nothing but calls of that method of the rig: not the device's turns between them.
fn only(method: &str) -> LibraryBenchmarkConfig {
    let mut callgrind = Callgrind::default();
    callgrind.entry_point(EntryPoint::Custom(format!("*device*Rig*{method}*")));
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(callgrind);
    config
}

#[library_benchmark(setup = boxed, config = only("forward"))]
#[bench::burst_1(1)]
#[bench::burst_32(32)]
fn igb((mut rig, burst): (Rig, u32)) -> Rig {
    for _ in 0..OBJECTS / u64::from(burst) {
        rig.device(burst);
        rig.forward();
    }
    black_box(rig)
}

#[library_benchmark(setup = concrete, config = only("forward"))]
#[bench::burst_1(1)]
#[bench::burst_32(32)]
fn igb_concrete((mut rig, burst): (Concrete, u32)) -> Concrete {
    for _ in 0..OBJECTS / u64::from(burst) {
        rig.device(burst);
        rig.forward();
    }
    black_box(rig)
}

#[library_benchmark(setup = boxed, config = only("poll"))]
#[bench::igb(32)]
fn empty_poll((mut rig, _): (Rig, u32)) -> Rig {
    for _ in 0..OBJECTS {
        black_box(rig.poll());
    }
    black_box(rig)
}

library_benchmark_group!(
    name = counts,
    benchmarks = [workload, igb, igb_concrete, empty_poll]
);
main!(library_benchmark_groups = counts);
