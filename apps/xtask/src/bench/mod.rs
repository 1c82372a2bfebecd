//! Measurements: rates of our own, and the same work side by side with DPDK. What is measured and how to read it
//! stands in `benches/README.md`.

mod compare;
mod curves;
mod dpdk;
mod hugepages;
pub mod instructions;
mod line;
mod native;
mod ours;
mod plot;
mod program;
mod side;
mod socket;
mod stats;
mod telemetry;
mod work;

use crate::paths::Paths;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What `cargo xtask bench` takes.
#[derive(Debug, clap::Subcommand)]
pub enum BenchTask {
    /// Run the same work on barline and on DPDK, in alternating windows.
    Compare(compare::CompareArgs),
    /// Packet rate, cycles a packet and share of the line rate, by packet size and number of cores.
    Line(line::LineArgs),
    /// What a packet costs by frame size, burst, length of rings and packets in flight: tables and plots.
    Curves(curves::CurveArgs),
    /// Count instructions a packet with callgrind and compare with the committed baseline.
    Instructions(instructions::InstructionArgs),
}

/// Runs what was asked for; `false` when a result is not what it has to be.
pub fn run(paths: &Paths, task: &BenchTask) -> Result<bool> {
    let interrupt = Interrupt::catch()?;
    let dir = output_dir(paths)?;
    match task {
        BenchTask::Compare(args) => compare::run(paths, &dir, args, &interrupt),
        BenchTask::Line(args) => line::run(paths, &dir, args, &interrupt).map(|()| true),
        BenchTask::Curves(args) => curves::run(paths, &dir, args, &interrupt),
        BenchTask::Instructions(args) => instructions::run(paths, args),
    }
}

/// Where programs, logs and results go.
fn output_dir(paths: &Paths) -> Result<PathBuf> {
    let dir = paths.target.join("bench");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir)
}

/// Whether somebody wants this to end: then it ends by an error, so that everything is put back.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    fn catch() -> Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, flag.clone()).context("cannot catch signals")?;
        }
        Ok(Self(flag))
    }

    /// An error once a signal has come.
    pub fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }
}
