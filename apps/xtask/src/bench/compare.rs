//! `cargo xtask bench compare`: the same work here and on DPDK, window by window in turn.

mod at_work;
mod list;
mod tally;

use super::Interrupt;
use super::dpdk::{self, Build, Peer, Task};
use super::hugepages::HugePages;
use super::ours::{Ours, PingPong};
use super::side::{Cores, Sample, Side, Work};
use super::socket::{self, Tested};
use crate::host::Missing;
use crate::paths::Paths;
use anyhow::{Result, bail};
use clap::builder::PossibleValuesParser;
use list::{COMPARISONS, Comparison};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};
use tally::{Distance, Outcome, Pair, Tally};

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
    /// Longest time in seconds to wait, in all, for the two cores of two-core work to be near each other.
    #[arg(long, default_value_t = 180)]
    patience: u64,
    /// Builds of DPDK to compare with.
    #[arg(long = "peer", value_delimiter = ',', default_value = "debian")]
    peers: Vec<Build>,
    /// Fail when a result is above its target.
    #[arg(long)]
    check: bool,
    /// Comparisons to run; all when there is none.
    #[arg(value_parser = PossibleValuesParser::new(COMPARISONS.iter().map(|comparison| comparison.name)))]
    names: Vec<String>,
}

/// Huge pages of 2 MiB: 512 for testpmd or l2fwd, the rest for us.
const HUGE_PAGES: u64 = 768;
/// Bytes of a packet, as testpmd's default.
const SIZE: usize = 64;
/// The most stolen or uncertain time of a good window, as a share.
const TOLERANCE: f64 = 0.03;
/// The same where pollers of two programs keep both cores: whatever measures them takes its time from them, on both sides
/// of the comparison alike.
const SOCKET_TOLERANCE: f64 = 0.08;
/// Pairs of windows that are tried for each good one that is wanted, on one core.
const PATIENCE: usize = 5;
/// Pairs of windows on far cores that are taken: time spent on them is time in which the cores may be near.
const FAR: usize = 3;
/// Time between two looks at the distance of cores that are far from each other.
const LOOK: Duration = Duration::from_millis(20);

/// Runs the comparisons; `false` when one could not be concluded, or has missed its target where that is asked for.
pub fn run(paths: &Paths, dir: &Path, args: &CompareArgs, interrupt: &Interrupt) -> Result<bool> {
    check_cores(args)?;
    let peers = dpdk::peers(paths, dir, &args.peers)?;
    let ours = Ours::build(paths)?;
    let _pages = HugePages::reserve(HUGE_PAGES)?;
    let fixed = dpdk::peers(paths, dir, &[Build::Debian])?.remove(0);
    let bench = Bench {
        args,
        dir,
        ours,
        fixed,
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
        let is_socket = matches!(comparison.task, Task::Socket(_));
        if !is_socket && !bench.ours.names.iter().any(|name| name == comparison.name) {
            eprintln!(
                "bench: {}: SKIPPED, barline-peer does not have it yet",
                comparison.name
            );
            continue;
        }
        for peer in &peers {
            let outcome = bench.compare(comparison, peer)?;
            match args.json {
                true => println!("{}", outcome.json()),
                false => println!("{}", outcome.row()),
            }
            good &= outcome.is_good(args.windows, args.check);
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

struct Bench<'a> {
    args: &'a CompareArgs,
    dir: &'a Path,
    ours: Ours,
    /// What is at the other end of sockets.
    fixed: Peer,
    interrupt: &'a Interrupt,
}

impl Bench<'_> {
    fn compare(&self, comparison: &Comparison, peer: &Peer) -> Result<Outcome> {
        eprintln!("bench: {} against {}", comparison.name, peer.name);
        let mut tally = Tally::default();
        for round in 0..self.args.rounds {
            let rest = self.args.windows.saturating_sub(tally.good() as u32);
            let wanted = rest.div_ceil(self.args.rounds - round);
            self.round(comparison, peer, wanted as usize, &mut tally)?;
        }
        Ok(tally.outcome(comparison, peer))
    }

    /// Starts both sides and lets them take turns until there are so many good pairs more, or patience ends.
    fn round(&self, comparison: &Comparison, peer: &Peer, wanted: usize, tally: &mut Tally) -> Result<()> {
        let cores = Cores {
            poller: self.args.core,
            other: self.args.other_core,
            both: comparison.two_cores,
        };
        let dir = self.dir;
        let both = [cores.other, cores.poller];
        let (ours, theirs) = self.sides(comparison, peer, cores)?;
        let ping_pong = match cores.both {
            true => Some(PingPong::start(&self.ours, both, dir, self.interrupt)?),
            false => None,
        };
        let mut turns = Turns {
            ours,
            theirs,
            ping_pong,
            length: Duration::from_millis(self.args.millis),
            tolerance: match comparison.task {
                Task::Socket(_) => SOCKET_TOLERANCE,
                _ => TOLERANCE,
            },
            theirs_first: false,
        };
        turns.warm_up()?;
        let goal = tally.good() + wanted;
        let end = Instant::now() + Duration::from_secs(self.args.patience) / self.args.rounds;
        let mut tries = 0;
        while tally.good() < goal {
            self.interrupt.check()?;
            let patient = match cores.both {
                true => Instant::now() < end,
                false => tries < wanted * PATIENCE,
            };
            if !patient {
                break;
            }
            // A few far pairs are taken on the way, to be shown should the cores never be near.
            if turns.is_far()? && tally.far() >= FAR {
                sleep(LOOK);
                continue;
            }
            tally.add(turns.pair()?);
            tries += 1;
        }
        Ok(())
    }
}

/// What our end of a socket and DPDK's worked.
type Works = (Work, Work);
type Sides = (Box<dyn Side>, Box<dyn Side>);

impl Bench<'_> {
    /// Starts both sides.
    fn sides(&self, comparison: &Comparison, peer: &Peer, cores: Cores) -> Result<Sides> {
        let (name, dir, interrupt) = (comparison.name, self.dir, self.interrupt);
        if let Task::Socket(task) = comparison.task {
            let start = |tested| socket::start(task, name, &tested, &self.fixed, cores, dir, interrupt);
            return Ok((start(Tested::Ours(&self.ours))?, start(Tested::Peer(peer))?));
        }
        let theirs = peer.start(comparison.task, name, cores, dir, interrupt)?;
        let both = [cores.other, cores.poller];
        let list = if cores.both { &both[..] } else { &both[1..] };
        let ours = self.ours.start(name, list, &[("size", SIZE)], dir, interrupt)?;
        Ok((Box::new(ours), theirs))
    }
}

/// Both sides, started, and what tells the distance of their cores.
struct Turns {
    ours: Box<dyn Side>,
    theirs: Box<dyn Side>,
    ping_pong: Option<PingPong>,
    length: Duration,
    tolerance: f64,
    /// Who begins the next pair: they take turns in that too, so that a drift favours nobody.
    theirs_first: bool,
}

impl Turns {
    /// The first window of each side is not counted.
    fn warm_up(&mut self) -> Result<()> {
        self.ours.window(self.length)?;
        self.theirs.window(self.length).map(drop)
    }

    fn hop(&mut self) -> Result<Option<u64>> {
        self.ping_pong.as_mut().map(PingPong::hop).transpose()
    }

    /// Whether two cores are at work and far from each other now.
    fn is_far(&mut self) -> Result<bool> {
        Ok(Distance::of(self.hop()?.as_slice()) == Distance::Far)
    }

    /// One window of each side; `None` when one of them was disturbed.
    fn pair(&mut self) -> Result<Option<Pair>> {
        let mut hops = Vec::new();
        let (mut our, mut their) = (None, None);
        for theirs in [self.theirs_first, !self.theirs_first] {
            hops.extend(self.hop()?);
            match theirs {
                true => their = Some(self.theirs.window(self.length)?),
                false => our = Some(self.ours.window(self.length)?),
            }
        }
        hops.extend(self.hop()?);
        self.theirs_first = !self.theirs_first;
        Ok(our
            .zip(their)
            .and_then(|(our, their)| cost(our, their, self.tolerance, Distance::of(&hops))))
    }
}

/// What two windows cost; `None` when one of them was disturbed or empty.
fn cost(our: Sample, their: Sample, tolerance: f64, distance: Distance) -> Option<Pair> {
    let disturbed = |sample: &Sample| sample.stolen.max(sample.blur) > tolerance;
    if disturbed(&our) || disturbed(&their) {
        return None;
    }
    // Ours counts both, so it tells how long a cycle is.
    let hz = our.cycles.map_or(1.0, |cycles| cycles / our.nanos);
    let cost = |sample: Sample| {
        let cycles = sample.cycles.unwrap_or(sample.nanos * hz);
        (sample.packets > 0).then(|| cycles / sample.packets as f64)
    };
    Some(Pair {
        ours: cost(our)?,
        theirs: cost(their)?,
        work: our.work.zip(their.work),
        distance,
    })
}

#[cfg(test)]
mod tests;
