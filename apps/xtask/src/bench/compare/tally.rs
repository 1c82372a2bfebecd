//! What pairs of windows add up to.

use super::Works;
use super::at_work::AtWork;
use super::list::{Comparison, Target};
use crate::bench::dpdk::Peer;
use crate::bench::ours::NEAR;
use crate::bench::stats::{Summary, mann_whitney, summary};
use serde_json::{Value, json};

/// Windows of each side from which on a result can be relied on.
const ENOUGH: usize = 20;

/// How far the two cores were from each other around a pair of windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distance {
    /// Only one core works.
    None,
    Near,
    Far,
    Mixed,
}

impl Distance {
    pub fn of(hops: &[u64]) -> Self {
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
pub struct Pair {
    pub ours: f64,
    pub theirs: f64,
    /// Of the ends of a socket.
    pub work: Option<Works>,
    pub distance: Distance,
}

/// Pairs of windows so far.
#[derive(Debug, Default)]
pub struct Tally {
    pairs: Vec<Pair>,
    disturbed: usize,
}

impl Tally {
    pub fn add(&mut self, pair: Option<Pair>) {
        match pair {
            Some(pair) => self.pairs.push(pair),
            None => self.disturbed += 1,
        }
    }

    fn at(&self, distance: Distance) -> Vec<Pair> {
        let is_there = |pair: &&Pair| pair.distance == distance;
        self.pairs.iter().filter(is_there).copied().collect()
    }

    /// Pairs that count: far and mixed ones do not when there are near ones.
    pub fn good(&self) -> usize {
        self.at(Distance::None).len() + self.at(Distance::Near).len()
    }

    /// Pairs of windows on cores that were far from each other.
    pub fn far(&self) -> usize {
        self.at(Distance::Far).len()
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

    pub fn outcome(&self, comparison: &Comparison, peer: &Peer) -> Outcome {
        let (distance, pairs) = self.best();
        let ours: Vec<f64> = pairs.iter().map(|pair| pair.ours).collect();
        let theirs: Vec<f64> = pairs.iter().map(|pair| pair.theirs).collect();
        let ratios: Vec<f64> = pairs.iter().map(|pair| pair.ours / pair.theirs).collect();
        Outcome {
            bench: comparison.name,
            unit: comparison.unit(),
            peer: peer.name.clone(),
            target: comparison.target(peer.build),
            windows: pairs.len(),
            discarded: self.disturbed + self.pairs.len() - pairs.len(),
            disturbed: self.disturbed,
            p: mann_whitney(&ours, &theirs),
            spread: summary(&ratios).quartiles,
            ours: summary(&ours),
            theirs: summary(&theirs),
            distance,
            work: AtWork::of(&pairs),
        }
    }
}

/// The result of one comparison.
#[derive(Debug)]
pub struct Outcome {
    pub bench: &'static str,
    pub unit: &'static str,
    pub peer: String,
    pub target: Target,
    pub ours: Summary,
    pub theirs: Summary,
    /// Quartiles of the ratio of two windows that follow each other.
    pub spread: [f64; 2],
    pub windows: usize,
    pub discarded: usize,
    /// Of these, pairs in which something else ran or a counter was read too slowly; the others were not near.
    pub disturbed: usize,
    pub p: f64,
    pub distance: Distance,
    pub work: Option<AtWork>,
}

impl Outcome {
    pub const HEAD: &'static str = "comparison            peer               ours [quartiles]       theirs [quartiles]     \
                                ratio [quartiles]     at most            windows p        cores";

    fn ratio(&self) -> f64 {
        self.ours.median / self.theirs.median
    }

    /// Whether the target is kept.
    fn is_met(&self) -> bool {
        match self.target {
            Target::Ratio(most) => self.ratio() <= most,
            Target::Cycles(most) => self.ours.median <= most,
        }
    }

    /// Whether there were windows enough, and where that is asked for, the target is kept; says so when not.
    pub fn is_good(&self, wanted: u32, check: bool) -> bool {
        let enough = (wanted as usize).min(ENOUGH);
        if self.windows < enough {
            eprintln!(
                "bench: {}: only {} good windows of each side ({} pairs discarded, {} of them disturbed): nothing is concluded from \
                 so few",
                self.bench, self.windows, self.discarded, self.disturbed
            );
            return false;
        }
        if self.distance == Distance::Far {
            eprintln!(
                "bench: {}: the cores were not near each other often enough: {} far windows",
                self.bench, self.windows
            );
            return false;
        }
        let missed = check && !self.is_met();
        if missed {
            eprintln!("bench: {}: {} is above its target", self.bench, self.peer);
        }
        !missed
    }

    pub fn json(&self) -> Value {
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
            "disturbed": self.disturbed,
            "met": self.is_met(),
        });
        match self.target {
            Target::Ratio(most) => object["target_ratio"] = most.into(),
            Target::Cycles(most) => object["target_cycles"] = most.into(),
        }
        if let Some(work) = &self.work {
            object["at_work"] = work.json();
        }
        if let Some(name) = self.distance.name() {
            object["distance"] = name.into();
        }
        object
    }

    pub fn row(&self) -> String {
        if self.windows == 0 {
            return format!("{:<21} {:<18} no good window", self.bench, self.peer);
        }
        let target = match self.target {
            Target::Ratio(most) => format!("{most}"),
            Target::Cycles(most) => format!("{most} cycles"),
        };
        let target = format!("{target}{}", if self.is_met() { "" } else { " MISSED" });
        let row = format!(
            "{:<21} {:<18} {:<22} {:<22} {:<21} {:<18} {:<7} {:<8.1e} {}",
            self.bench,
            self.peer,
            span(self.ours.median, self.ours.quartiles),
            span(self.theirs.median, self.theirs.quartiles),
            span(self.ratio(), self.spread),
            target,
            self.windows,
            self.p,
            self.distance.name().unwrap_or("-"),
        );
        match &self.work {
            None => row,
            Some(work) => format!("{row}\n{}", work.row()),
        }
    }
}

/// A middle value with its quartiles.
pub fn span(middle: f64, [low, high]: [f64; 2]) -> String {
    format!("{middle:.2} [{low:.2}..{high:.2}]")
}

/// Four digits after the point: more is noise.
pub fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
