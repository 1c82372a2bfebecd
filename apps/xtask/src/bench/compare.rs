//! `cargo xtask bench compare`: the same work here and on DPDK, window by window in turn.

use super::Interrupt;
use super::dpdk::{self, Peer, Task};
use super::hugepages::HugePages;
use super::ours::{Ours, PingPong};
use super::side::{Cores, Sample, Side};
use super::stats::{Summary, mann_whitney, summary};
use crate::host::Missing;
use crate::paths::Paths;
use anyhow::{Result, bail};
use clap::builder::PossibleValuesParser;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// What `cargo xtask bench compare` takes.
#[derive(Debug, clap::Args)]
pub struct CompareArgs {
    /// Print one JSON object a comparison.
    #[arg(long)]
    json: bool,
    /// Windows of each side that have to be good.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(2..))]
    windows: u32,
    /// Milliseconds of a window.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    millis: u64,
    /// How often both sides are started anew.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// The polling core.
    #[arg(long, default_value_t = 1)]
    core: usize,
    /// The core for everything else, and for the second poller of two-core work.
    #[arg(long, default_value_t = 0)]
    other_core: usize,
    /// Fail when a ratio is above its target.
    #[arg(long)]
    check: bool,
    /// Comparisons to run; all when there is none.
    #[arg(value_parser = PossibleValuesParser::new(COMPARISONS.iter().map(|comparison| comparison.name)))]
    names: Vec<String>,
}

/// One kind of work that both sides can do.
#[derive(Debug)]
struct Comparison {
    name: &'static str,
    task: Task,
    two_cores: bool,
    /// The ratio to Debian's build that is to be kept.
    target: Option<f64>,
}

const fn one(name: &'static str, task: Task, target: Option<f64>) -> Comparison {
    Comparison {
        name,
        task,
        two_cores: false,
        target,
    }
}

const COMPARISONS: &[Comparison] = &[
    one("null-io", Task::Testpmd("io"), Some(0.15)),
    one("null-macswap", Task::Testpmd("macswap"), Some(0.3)),
    one("null-txonly", Task::TestpmdSends("txonly"), Some(0.3)),
    one("null-rxonly", Task::Testpmd("rxonly"), Some(0.3)),
    one("l2fwd-null", Task::L2fwd, Some(0.3)),
    one("spsc-32", Task::Loop, None),
    Comparison {
        name: "spsc-32-two-cores",
        task: Task::Loop,
        two_cores: true,
        target: None,
    },
    one("mpmc-32", Task::Loop, None),
    one("pool-32", Task::Loop, None),
    one("packet-alloc-free-32", Task::Loop, None),
];

/// Huge pages of 2 MiB: 512 for testpmd or l2fwd, the rest for us.
const HUGE_PAGES: u64 = 576;
/// Bytes of a packet, as testpmd's default.
const SIZE: usize = 64;
/// The most stolen or uncertain time of a good window, as a share.
const TOLERANCE: f64 = 0.03;
/// The longest hop of two cores that are near, in cycles.
const NEAR: u64 = 150;
/// Pairs of windows that are tried for each good one that is wanted, on one core and on two, which are near each
/// other only now and then.
const PATIENCE: [u32; 2] = [5, 15];
/// Windows of each side from which on a result can be relied on.
const ENOUGH: usize = 20;

/// Runs the comparisons; `false` when one could not be concluded, or has missed its target where that is asked for.
pub fn run(paths: &Paths, dir: &Path, args: &CompareArgs, interrupt: &Interrupt) -> Result<bool> {
    check_cores(args)?;
    let peers = dpdk::peers(paths, dir)?;
    let ours = Ours::build(paths)?;
    let _pages = HugePages::reserve(HUGE_PAGES)?;
    let bench = Bench {
        args,
        dir,
        ours,
        interrupt,
    };
    if !args.json {
        println!("{}", Outcome::HEAD);
    }
    let mut good = true;
    for comparison in COMPARISONS {
        if !args.names.is_empty() && !args.names.iter().any(|name| name == comparison.name) {
            continue;
        }
        if !bench.ours.names.iter().any(|name| name == comparison.name) {
            eprintln!(
                "bench: {}: SKIPPED, barline-peer does not have it yet",
                comparison.name
            );
            continue;
        }
        for peer in &peers {
            let Some(outcome) = bench.compare(comparison, peer)? else {
                eprintln!(
                    "bench: {}: SKIPPED, {} does not have it",
                    comparison.name, peer.name
                );
                continue;
            };
            match args.json {
                true => println!("{}", outcome.json()),
                false => println!("{}", outcome.row()),
            }
            good &= outcome.is_good(args);
        }
    }
    Ok(good)
}

fn check_cores(args: &CompareArgs) -> Result<()> {
    if args.core == args.other_core {
        bail!(
            "--core and --other-core are both {}: they have to differ",
            args.core
        );
    }
    let there = std::thread::available_parallelism()?.get();
    if there < 2 {
        return Err(Missing(vec!["a second core: one polls, one does the rest".to_owned()]).into());
    }
    Ok(())
}

/// How far the two cores were from each other around a pair of windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Distance {
    /// Only one core works.
    None,
    Near,
    Far,
    Mixed,
}

impl Distance {
    fn of(hops: &[u64]) -> Self {
        match hops {
            [] => Self::None,
            _ if hops.iter().all(|hop| *hop < NEAR) => Self::Near,
            _ if hops.iter().all(|hop| *hop >= NEAR) => Self::Far,
            _ => Self::Mixed,
        }
    }

    fn name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Near => Some("near"),
            Self::Far => Some("far"),
            Self::Mixed => Some("mixed"),
        }
    }
}

/// Cycles a packet of both sides in two windows that follow each other.
#[derive(Debug, Clone, Copy)]
struct Pair {
    ours: f64,
    theirs: f64,
    distance: Distance,
}

struct Bench<'a> {
    args: &'a CompareArgs,
    dir: &'a Path,
    ours: Ours,
    interrupt: &'a Interrupt,
}

impl Bench<'_> {
    fn compare(&self, comparison: &Comparison, peer: &Peer) -> Result<Option<Outcome>> {
        eprintln!("bench: {} against {}", comparison.name, peer.name);
        let mut tally = Tally::default();
        for round in 0..self.args.rounds {
            let rest = self.args.windows.saturating_sub(tally.good() as u32);
            let wanted = rest.div_ceil(self.args.rounds - round);
            if !self.round(comparison, peer, wanted as usize, &mut tally)? {
                return Ok(None);
            }
        }
        Ok(Some(tally.outcome(comparison, peer)))
    }

    /// Starts both sides and lets them take turns until there are so many good pairs more, or patience ends;
    /// `false` when the peer has no such work.
    fn round(&self, comparison: &Comparison, peer: &Peer, wanted: usize, tally: &mut Tally) -> Result<bool> {
        let cores = Cores {
            poller: self.args.core,
            other: self.args.other_core,
            both: comparison.two_cores,
        };
        let (name, dir) = (comparison.name, self.dir);
        let Some(mut theirs) = peer.start(comparison.task, name, cores, dir, self.interrupt)? else {
            return Ok(false);
        };
        let both = [cores.other, cores.poller];
        let one = [cores.poller];
        let list: &[usize] = if cores.both { &both } else { &one };
        let mut ours = self.ours.start(name, list, SIZE, dir, self.interrupt)?;
        let mut ping_pong = match cores.both {
            true => Some(PingPong::start(&self.ours, both, dir, self.interrupt)?),
            false => None,
        };
        let length = Duration::from_millis(self.args.millis);
        // The first window of each side warms caches up and is not counted.
        ours.window(length)?;
        theirs.window(length)?;
        let goal = tally.good() + wanted;
        for _ in 0..wanted as u32 * PATIENCE[usize::from(cores.both)] {
            if tally.good() >= goal {
                break;
            }
            self.interrupt.check()?;
            tally.add(pair(&mut ours, &mut *theirs, ping_pong.as_mut(), length)?);
        }
        Ok(true)
    }
}

/// One window of each side; `None` when one of them was disturbed.
fn pair(
    ours: &mut dyn Side,
    theirs: &mut dyn Side,
    mut ping_pong: Option<&mut PingPong>,
    length: Duration,
) -> Result<Option<Pair>> {
    let mut hops = Vec::new();
    let mut measure = || -> Result<()> {
        if let Some(ping_pong) = ping_pong.as_mut() {
            hops.push(ping_pong.hop()?);
        }
        Ok(())
    };
    measure()?;
    let our = ours.window(length)?;
    measure()?;
    let their = theirs.window(length)?;
    measure()?;
    let disturbed = |sample: &Sample| sample.stolen.max(sample.blur) > TOLERANCE;
    if disturbed(&our) || disturbed(&their) {
        return Ok(None);
    }
    // Ours counts both, so it tells how long a cycle is.
    let hz = our.cycles.map_or(1.0, |cycles| cycles / our.nanos);
    let cost = |sample: Sample| {
        let cycles = sample.cycles.unwrap_or(sample.nanos * hz);
        (sample.packets > 0).then(|| cycles / sample.packets as f64)
    };
    let (Some(ours), Some(theirs)) = (cost(our), cost(their)) else {
        return Ok(None);
    };
    let distance = Distance::of(&hops);
    Ok(Some(Pair {
        ours,
        theirs,
        distance,
    }))
}

/// Pairs of windows so far.
#[derive(Debug, Default)]
struct Tally {
    pairs: Vec<Pair>,
    discarded: usize,
}

impl Tally {
    fn add(&mut self, pair: Option<Pair>) {
        match pair {
            Some(pair) => self.pairs.push(pair),
            None => self.discarded += 1,
        }
    }

    fn at(&self, distance: Distance) -> Vec<Pair> {
        let is_there = |pair: &&Pair| pair.distance == distance;
        self.pairs.iter().filter(is_there).copied().collect()
    }

    /// Pairs that count: far and mixed ones do not when there are near ones.
    fn good(&self) -> usize {
        self.at(Distance::None).len() + self.at(Distance::Near).len()
    }

    /// What is to be reported: near windows, unless there were too few and more of the far ones.
    fn best(&self) -> (Distance, Vec<Pair>) {
        let [alone, near, far] = [Distance::None, Distance::Near, Distance::Far].map(|at| (at, self.at(at)));
        if !alone.1.is_empty() {
            alone
        } else if near.1.len() >= ENOUGH || near.1.len() >= far.1.len() {
            near
        } else {
            far
        }
    }

    fn outcome(&self, comparison: &Comparison, peer: &Peer) -> Outcome {
        let (distance, pairs) = self.best();
        let ours: Vec<f64> = pairs.iter().map(|pair| pair.ours).collect();
        let theirs: Vec<f64> = pairs.iter().map(|pair| pair.theirs).collect();
        let ratios: Vec<f64> = pairs.iter().map(|pair| pair.ours / pair.theirs).collect();
        Outcome {
            bench: comparison.name,
            unit: match comparison.task {
                Task::Loop => "cycles/object",
                _ => "cycles/packet",
            },
            peer: peer.name.clone(),
            target: comparison.target.filter(|_| peer.name.ends_with("-debian")),
            windows: pairs.len(),
            discarded: self.discarded + self.pairs.len() - pairs.len(),
            p: mann_whitney(&ours, &theirs),
            spread: summary(&ratios).quartiles,
            ours: summary(&ours),
            theirs: summary(&theirs),
            distance,
        }
    }
}

/// The result of one comparison.
#[derive(Debug)]
struct Outcome {
    bench: &'static str,
    unit: &'static str,
    peer: String,
    target: Option<f64>,
    ours: Summary,
    theirs: Summary,
    /// Quartiles of the ratio of two windows that follow each other.
    spread: [f64; 2],
    windows: usize,
    discarded: usize,
    p: f64,
    distance: Distance,
}

impl Outcome {
    const HEAD: &'static str = "comparison            peer                 ours [quartiles]        theirs [quartiles]      \
                                ratio [quartiles]     target  windows  p        cores";

    fn ratio(&self) -> f64 {
        self.ours.median / self.theirs.median
    }

    fn is_good(&self, args: &CompareArgs) -> bool {
        let enough = (args.windows as usize).min(ENOUGH);
        if self.windows < enough {
            eprintln!(
                "bench: {}: only {} good windows of each side ({} pairs discarded): nothing is concluded from so few",
                self.bench, self.windows, self.discarded
            );
            return false;
        }
        let missed = self.target.is_some_and(|target| self.ratio() > target);
        if missed && args.check {
            eprintln!(
                "bench: {}: ratio {:.3} is above its target",
                self.bench,
                self.ratio()
            );
        }
        !(missed && args.check)
    }

    fn json(&self) -> Value {
        let mut object = json!({
            "bench": self.bench,
            "unit": self.unit,
            "ours": round(self.ours.median),
            "peer": self.peer,
            "theirs": round(self.theirs.median),
            "ratio": round(self.ratio()),
            "windows": self.windows,
            "spread": self.spread.map(round),
            "p": self.p,
            "ours_spread": self.ours.quartiles.map(round),
            "theirs_spread": self.theirs.quartiles.map(round),
            "discarded": self.discarded,
        });
        if let Some(name) = self.distance.name() {
            object["distance"] = name.into();
        }
        object
    }

    fn row(&self) -> String {
        let span = |middle: f64, [low, high]: [f64; 2]| format!("{middle:.2} [{low:.2}..{high:.2}]");
        let target = self
            .target
            .map_or_else(|| "-".to_owned(), |target| format!("{target}"));
        format!(
            "{:<21} {:<20} {:<23} {:<23} {:<21} {:<7} {:<8} {:<8.2e} {}",
            self.bench,
            self.peer,
            span(self.ours.median, self.ours.quartiles),
            span(self.theirs.median, self.theirs.quartiles),
            span(self.ratio(), self.spread),
            target,
            self.windows,
            self.p,
            self.distance.name().unwrap_or("-"),
        )
    }
}

/// Four digits after the point: more is noise.
fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests;
