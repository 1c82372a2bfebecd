//! `simulate --seeds N --from S`: runs plans on all cores, and shows what fails in its simplest form.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a command-line tool talks to a person")]

use barline_simulate::{Outcome, Plan, run, simplest};
use clap::Parser;
use std::cell::Cell;
use std::num::NonZero;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

/// Runs plans of faults over every driver that has a model.
#[derive(Debug, Parser)]
#[command(name = "simulate")]
struct Cli {
    /// How many seeds.
    #[arg(long, default_value_t = 1000, value_name = "N")]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 0, value_name = "S")]
    from: u64,
    /// Threads [default: one a core]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZero<usize>>,
}

/// Failures after which it is enough.
const ENOUGH: usize = 5;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let (next, begin) = (AtomicU64::new(0), Instant::now());
    let (total, failed) = (Mutex::new(Outcome::default()), Mutex::new(Vec::new()));
    // A panic is an error of its plan and shown as such at the end. A second one in the same plan, as from a port that
    // hangs while it is dropped, ends the process: it must not do so in silence.
    std::panic::set_hook(Box::new(|panic| {
        if thread::panicking() && PANICKED.replace(true) {
            eprintln!("seed {}: {panic}", SEED.get());
        }
    }));
    let jobs = cli.jobs.or_else(|| thread::available_parallelism().ok());
    thread::scope(|scope| {
        for _ in 0..jobs.map_or(1, NonZero::get) {
            scope.spawn(|| work(&cli, &next, &total, &failed));
        }
    });
    let mut failed = failed.into_inner().unwrap_or_default();
    failed.sort_by_key(|(seed, _)| *seed);
    for (seed, error) in &failed {
        let (plan, error) = simplest(&Plan::new(*seed), error.clone());
        println!("FAILED seed {seed}: {error}\n  again: cargo xtask sim --seeds 1 --from {seed}\n  {plan:?}");
    }
    let total = total.into_inner().unwrap_or_default();
    println!(
        "{total}; {} failed; {:.1} s",
        failed.len(),
        begin.elapsed().as_secs_f64()
    );
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

thread_local! {
    static SEED: Cell<u64> = const { Cell::new(0) };
    static PANICKED: Cell<bool> = const { Cell::new(false) };
}

fn work(cli: &Cli, next: &AtomicU64, total: &Mutex<Outcome>, failed: &Mutex<Vec<(u64, String)>>) {
    let mut sum = Outcome::default();
    loop {
        let at = next.fetch_add(1, Ordering::Relaxed);
        let enough = failed.lock().map_or(true, |failed| failed.len() >= ENOUGH);
        if at >= cli.seeds || enough {
            break;
        }
        let seed = cli.from.wrapping_add(at);
        SEED.set(seed);
        PANICKED.set(false);
        match run(&Plan::new(seed)) {
            Ok(outcome) => sum += outcome,
            Err(error) => failed
                .lock()
                .into_iter()
                .for_each(|mut failed| failed.push((seed, error.clone()))),
        }
    }
    total.lock().into_iter().for_each(|mut total| *total += sum);
}
