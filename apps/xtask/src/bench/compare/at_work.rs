//! What the compared ends of a socket cost while they work, beside the rate of the pair: the slower of two ends decides the
//! rate, and it may be the one that is the same in both pairs.

use super::tally::Pair;
use crate::bench::stats::{Summary, summary};
use serde_json::{Value, json};

/// Of all pairs of windows.
#[derive(Debug)]
pub struct AtWork {
    /// Cycles a packet.
    ours: Summary,
    theirs: Summary,
    /// Quartiles of the ratio of two windows that follow each other.
    spread: [f64; 2],
    /// Median shares of the time: our end and the one at the other end of its socket.
    our_share: [f64; 2],
    /// DPDK's, and the one at the other end of its.
    their_share: [f64; 2],
}

impl AtWork {
    /// `None` where it is not known.
    pub fn of(pairs: &[Pair]) -> Option<Self> {
        let works = pairs.iter().map(|pair| pair.work).collect::<Option<Vec<_>>>()?;
        if works.is_empty() {
            return None;
        }
        let of = |what: &dyn Fn(&super::Works) -> f64| summary(&works.iter().map(what).collect::<Vec<_>>());
        Some(Self {
            ours: of(&|(ours, _)| ours.cycles),
            theirs: of(&|(_, theirs)| theirs.cycles),
            spread: of(&|(ours, theirs)| ours.cycles / theirs.cycles).quartiles,
            our_share: [
                of(&|(ours, _)| ours.share).median,
                of(&|(ours, _)| ours.other).median,
            ],
            their_share: [
                of(&|(_, theirs)| theirs.share).median,
                of(&|(_, theirs)| theirs.other).median,
            ],
        })
    }

    fn ratio(&self) -> f64 {
        self.ours.median / self.theirs.median
    }

    pub fn json(&self) -> Value {
        let round = super::tally::round;
        json!({
            "unit": "cycles/packet",
            "ours": round(self.ours.median),
            "theirs": round(self.theirs.median),
            "ratio": round(self.ratio()),
            "spread": self.spread.map(round),
            "ours_spread": self.ours.quartiles.map(round),
            "theirs_spread": self.theirs.quartiles.map(round),
            "shares_ours": self.our_share.map(round),
            "shares_theirs": self.their_share.map(round),
        })
    }

    /// In the columns of a row, and how much of the time both ends of either pair were at work.
    pub fn row(&self) -> String {
        let span = super::tally::span;
        let shares =
            |[own, other]: [f64; 2]| format!("{:.0} % and the other end {:.0} %", own * 100.0, other * 100.0);
        format!(
            "{:<40} {:<22} {:<22} {:<21} of the time: ours {}, theirs {}",
            "    at work, cycles a packet",
            span(self.ours.median, self.ours.quartiles),
            span(self.theirs.median, self.theirs.quartiles),
            span(self.ratio(), self.spread),
            shares(self.our_share),
            shares(self.their_share),
        )
    }
}
