//! Our side of a comparison: makes one piece of work ready, then runs a window for each `go MILLISECONDS` on its
//! input and answers with a line of JSON. Between windows it sleeps. It ends with its input.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "the answers")]

use anyhow::{Context, Result, bail};
use barline_benches::cores::hop;
use barline_benches::tsc;
use barline_benches::window::{Crew, Window, core_of};
use barline_benches::work::{Setup, Shape, Workload, setup};
use clap::Parser;
use serde_json::{Value, json};
use std::io::{BufRead, Write, stdin, stdout};
use std::time::Duration;

/// Runs one piece of work in windows, on request.
#[derive(Debug, Parser)]
struct Options {
    /// The work, `ping-pong` for the distance of two cores, or `list` for all names.
    workload: String,
    /// Cores to run on.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    cores: Vec<usize>,
    /// Bytes of a packet, without FCS.
    #[arg(long, default_value_t = Shape::default().size)]
    size: usize,
    /// Packets or objects that are moved at a time.
    #[arg(long, default_value_t = Shape::default().burst)]
    burst: usize,
    /// Slots of a ring.
    #[arg(long, default_value_t = Shape::default().ring)]
    ring: usize,
    /// Packets of a core's pool.
    #[arg(long, default_value_t = Shape::default().packets)]
    packets: usize,
}

fn main() -> Result<()> {
    let options = Options::parse();
    if options.workload == "list" {
        Workload::names().for_each(|name| println!("{name}"));
        return Ok(());
    }
    if options.workload == "ping-pong" {
        return ping_pong(&options.cores);
    }
    let workload = Workload::named(&options.workload)
        .with_context(|| format!("there is no workload {:?}; try list", options.workload))?;
    let shape = Shape {
        size: options.size,
        burst: options.burst,
        ring: options.ring,
        packets: options.packets,
    };
    let Setup { works, ports, pool } = setup(workload, options.cores.len(), shape)?;
    let mut crew = Crew::start(works, &options.cores)?;
    serve(|length| {
        let windows = crew.window(length)?;
        Ok(answer(&windows, workload.is_relay()))
    })?;
    // The queues go before their ports, the ports before the memory.
    drop(crew);
    drop((ports, pool));
    Ok(())
}

/// Says that all is ready, then answers each request until there are no more.
fn serve(mut window: impl FnMut(Duration) -> Result<Value>) -> Result<()> {
    say(&json!({"ready": true, "unit": tsc::UNIT}))?;
    for line in stdin().lock().lines() {
        let line = line.context("cannot read requests")?;
        let Some(millis) = line.trim().strip_prefix("go ").and_then(|n| n.parse().ok()) else {
            bail!("{line:?} is no request; say `go MILLISECONDS`");
        };
        say(&window(Duration::from_millis(millis))?)?;
    }
    Ok(())
}

fn say(value: &Value) -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{value}")
        .and_then(|()| out.flush())
        .context("nobody listens")
}

/// `cycles` divided by `packets` is what a packet costs: the cycles of all cores, unless they work hand in hand on
/// the same packets.
fn answer(windows: &[Window], relay: bool) -> Value {
    let longest = windows
        .iter()
        .max_by_key(|window| window.cycles)
        .copied()
        .unwrap_or_default();
    let cycles = match relay {
        true => longest.cycles,
        false => windows.iter().map(|window| window.cycles).sum(),
    };
    let packets: u64 = windows.iter().map(|window| window.packets).sum();
    json!({
        "cycles": cycles,
        "packets": packets,
        "nanos": longest.nanos,
        "hz": longest.cycles as f64 * 1e9 / longest.nanos.max(1) as f64,
    })
}

fn ping_pong(cores: &[usize]) -> Result<()> {
    let [here, there] = *cores else {
        bail!("a ping-pong takes two cores, as in --cores 0,1");
    };
    let (here, there) = (core_of(here)?, core_of(there)?);
    serve(|_| Ok(json!({"hop": hop(here, there)})))
}
