//! Rings from one core to another, and the pool's shared list under two: windows of a few milliseconds, each
//! bracketed by a ping-pong of a cache line and labelled by it. Only windows of one label can be compared.
//!
//! `cargo bench -p barline-benches --bench two_cores [-- [windows] [name]]`
#![expect(
    clippy::print_stdout,
    reason = "a report on standard output is what a benchmark is for"
)]

use barline::mem::{PageSize, Source};
use barline::pool::{Batch, Pool};
use barline::ring::{Mpmc, Spsc};
use barline_benches::cores::{Distance, hop, pair};
use barline_benches::tsc::now;
use core_affinity::CoreId;
use std::hint::{black_box, spin_loop};
use std::sync::{Barrier, Mutex, PoisonError};
use std::thread;

const CAPACITY: usize = 1024;
/// Objects that go through in one window.
const OBJECTS: usize = 1 << 21;

type Cores = (CoreId, CoreId);

/// Runs both closures `rounds` times, each on its core, until each has said `true` that often; returns the sum
/// of the two sides' counts a round. (DPDK's `ring_perf_autotest` gives the same sum for a pair of cores.)
fn window(
    cores: Cores,
    rounds: usize,
    mut one: impl FnMut() -> bool + Send,
    mut other: impl FnMut() -> bool + Send,
) -> f64 {
    let start = Barrier::new(2);
    let run = |core: CoreId, side: &mut (dyn FnMut(usize) + Send)| {
        core_affinity::set_for_current(core);
        start.wait();
        let begin = now();
        side(rounds);
        (now() - begin) as f64 / rounds as f64
    };
    thread::scope(|scope| {
        let second = scope.spawn(|| {
            run(cores.1, &mut |rounds| {
                for _ in 0..rounds {
                    while !other() {
                        spin_loop();
                    }
                }
            })
        });
        let first = run(cores.0, &mut |rounds| {
            for _ in 0..rounds {
                while !one() {
                    spin_loop();
                }
            }
        });
        first + second.join().unwrap_or(f64::NAN)
    })
}

fn spsc(cores: Cores, bulk: usize) -> f64 {
    let Some(ring) = Spsc::<u64>::new(CAPACITY) else {
        return f64::NAN;
    };
    let (mut tx, mut rx) = ring.split();
    let (from, mut to) = (vec![7; bulk], vec![0; bulk]);
    let push = move || tx.push_exact(black_box(&from));
    let pop = move || rx.pop_exact(black_box(&mut to));
    window(cores, OBJECTS / bulk, push, pop) / bulk as f64
}

fn mpmc(cores: Cores, bulk: usize) -> f64 {
    let Some(ring) = Mpmc::<u64>::new(CAPACITY) else {
        return f64::NAN;
    };
    let (from, mut to) = (vec![7; bulk], vec![0; bulk]);
    let push = || ring.push_exact(black_box(&from));
    let pop = || ring.pop_exact(black_box(&mut to));
    window(cores, OBJECTS / bulk, push, pop) / bulk as f64
}

fn rtrb(cores: Cores, bulk: usize) -> f64 {
    let (mut tx, mut rx) = rtrb::RingBuffer::<u64>::new(CAPACITY);
    let (from, mut to) = (vec![7; bulk], vec![0; bulk]);
    let push = move || tx.push_entire_slice(black_box(&from)).is_ok();
    let pop = move || rx.pop_entire_slice(black_box(&mut to)).is_ok();
    window(cores, OBJECTS / bulk, push, pop) / bulk as f64
}

/// Two threads that each take 64 slots and give them back, as fast as they can.
fn list_mutex(cores: Cores, bulk: usize) -> f64 {
    let list = Mutex::new((0..8192).collect::<Vec<u32>>());
    let side = || {
        let mut slots = vec![0; bulk];
        let list = &list;
        move || {
            let mut free = list.lock().unwrap_or_else(PoisonError::into_inner);
            let rest = free.len() - bulk;
            slots.copy_from_slice(&free[rest..]);
            free.truncate(rest);
            drop(free);
            black_box(&mut slots);
            let mut free = list.lock().unwrap_or_else(PoisonError::into_inner);
            free.extend_from_slice(&slots);
            true
        }
    };
    window(cores, OBJECTS / bulk / 4, side(), side()) / bulk as f64
}

fn list_mpmc(cores: Cores, bulk: usize) -> f64 {
    let Some(ring) = Mpmc::<u32>::new(8192) else {
        return f64::NAN;
    };
    ring.push_slice(&(0..8192).collect::<Vec<_>>());
    let side = || {
        let mut slots = vec![0; bulk];
        let ring = &ring;
        move || {
            while !ring.pop_exact(&mut slots) {
                spin_loop();
            }
            black_box(&mut slots);
            ring.push_exact(&slots)
        }
    };
    window(cores, OBJECTS / bulk / 4, side(), side()) / bulk as f64
}

/// Packets from a core that only allocates and writes to one that only reads and frees: the pool's shared list
/// brings the slots back.
fn pipeline(cores: Cores, bulk: usize) -> f64 {
    let source = Source::MemFd(PageSize::Base4K);
    let (Ok(pool), Some(ring)) = (Pool::builder().source(source).build(), Spsc::new(CAPACITY)) else {
        return f64::NAN;
    };
    let (mut tx, mut rx) = ring.split();
    let (mut first, mut second) = (pool.cache(), pool.cache());
    let (mut out, mut inp, mut got) = (Batch::new(), Batch::new(), 0);
    let produce = move || {
        if out.is_empty() {
            first.alloc_batch(&mut out, bulk, 64);
            out.as_mut_slice().iter_mut().for_each(|packet| packet.fill(1));
        }
        tx.send_exact(&mut out)
    };
    let consume = move || {
        got += rx.receive(&mut inp);
        let sum: u64 = inp.as_slice().iter().map(|packet| u64::from(packet[0])).sum();
        black_box(sum);
        second.free(&mut inp);
        let enough = got >= bulk;
        got -= if enough { bulk } else { 0 };
        enough
    };
    window(cores, OBJECTS / bulk / 4, produce, consume) / bulk as f64
}

type Run = fn(Cores, usize) -> f64;

const RUNS: [(&str, Run, usize); 9] = [
    ("pipeline", pipeline, 32),
    ("spsc", spsc, 8),
    ("spsc", spsc, 32),
    ("mpmc", mpmc, 8),
    ("mpmc", mpmc, 32),
    ("rtrb", rtrb, 8),
    ("rtrb", rtrb, 32),
    ("list-mutex", list_mutex, 64),
    ("list-mpmc", list_mpmc, 64),
];

fn main() {
    let mut windows = 30;
    let mut runs = RUNS.to_vec();
    for argument in std::env::args().skip(1).filter(|argument| argument != "--bench") {
        match argument.parse() {
            Ok(n) => windows = n,
            Err(_) => runs.retain(|(name, ..)| name.contains(&argument)),
        }
    }
    if runs.is_empty() {
        return; // the arguments are for another benchmark
    }
    let Some(cores) = pair() else {
        println!("two_cores: SKIPPED, this process may use one core only");
        return;
    };
    let mut results = vec![Vec::new(); runs.len()];
    // Alternating, so that all of them meet the same neighbours.
    for _ in 0..windows {
        for ((_, run, bulk), results) in runs.iter().zip(&mut results) {
            let before = hop(cores.0, cores.1);
            let value = run(cores, *bulk);
            let distance = Distance::of(before, hop(cores.0, cores.1));
            results.push((distance, value));
        }
    }
    println!("counts an object, both sides together: median [10 %..90 %] of windows");
    for ((name, _, bulk), results) in runs.iter().zip(&results) {
        for label in [Distance::Near, Distance::Far, Distance::Mixed] {
            let of_label = |(distance, value): &(Distance, f64)| (*distance == label).then_some(*value);
            let mut values: Vec<f64> = results.iter().filter_map(of_label).collect();
            values.sort_by(f64::total_cmp);
            if let Some(last) = values.len().checked_sub(1) {
                let at = |share: f64| values[(last as f64 * share) as usize];
                println!(
                    "{name:>12} bulk {bulk:>2} {label:?}: {:7.2} [{:.2}..{:.2}] of {}",
                    at(0.5),
                    at(0.1),
                    at(0.9),
                    values.len()
                );
            }
        }
    }
}
