//! When the next packet is due.

use crate::latency::Buckets;
use crate::rate::Cost;
use crate::size::FCS;
use crate::vary::mixed;

/// The pattern in time; the mean rate is the same in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// One packet at a time, at even gaps.
    #[default]
    Even,
    /// So many at once, then a gap.
    Bursts(u32),
    /// Gaps drawn from an exponential distribution, by this seed.
    Poisson(u64),
}

/// Fixed point: nanoseconds and 32 bits behind them.
const POINT: u32 = 32;
/// What is late by more than this is not caught up, or it would come as one long burst. In nanoseconds.
const SLACK: u64 = 10_000_000;

/// Says how many packets may go, and how well that was kept.
#[derive(Clone, Debug)]
pub struct Pacer {
    shape: Shape,
    cost: [u128; 2],
    due: u128,
    drawn: u64,
    in_burst: u32,
    owed: u128,
    late: Buckets,
    slipped: u64,
}

impl Pacer {
    /// The first packet is due at `start` (in nanoseconds).
    pub fn new(shape: Shape, cost: Cost, start: u64) -> Self {
        let mut pacer = Self {
            shape,
            cost: [0; 2],
            due: u128::from(start) << POINT,
            drawn: 0,
            in_burst: 0,
            owed: 0,
            late: Buckets::new(),
            slipped: 0,
        };
        pacer.set_cost(cost);
        pacer
    }

    /// Changes the rate from the next packet on.
    pub fn set_cost(&mut self, cost: Cost) {
        let fixed = |ns: f64| (ns.max(0.0) * (1u64 << POINT) as f64).round() as u128;
        self.cost = [fixed(cost.packet), fixed(cost.bit)];
    }

    /// Begins anew at `now`: what was due before is not.
    pub fn restart(&mut self, now: u64) {
        self.due = u128::from(now) << POINT;
        (self.in_burst, self.owed) = (0, 0);
    }

    /// Whether packets go as fast as they can.
    #[inline(always)]
    pub fn is_unlimited(&self) -> bool {
        self.cost == [0; 2]
    }

    /// When the next packet is due, in nanoseconds.
    pub fn due(&self) -> u64 {
        (self.due >> POINT) as u64
    }

    /// How many packets of `len` bytes (without FCS) may go at `now`, `most` at the most; they count as gone.
    #[inline]
    pub fn take(&mut self, now: u64, most: usize, len: usize) -> usize {
        if self.is_unlimited() {
            return most;
        }
        let now = u128::from(now) << POINT;
        if self.due > now || most == 0 {
            return 0;
        }
        self.check(now);
        let cost = self.cost[0] + self.cost[1] * ((len + FCS) as u128 * 8);
        let mut count = 0;
        while count < most && self.due <= now {
            self.spend(cost);
            count += 1;
        }
        count
    }

    /// Notes how late it is, and gives up what is too late.
    fn check(&mut self, now: u128) {
        let late = ((now - self.due) >> POINT) as u64;
        self.late.record(late);
        if late > SLACK {
            self.slipped += late;
            self.due = now;
        }
    }

    #[inline(always)]
    fn spend(&mut self, cost: u128) {
        match self.shape {
            Shape::Even => self.due += cost,
            Shape::Bursts(length) => {
                self.owed += cost;
                self.in_burst += 1;
                if self.in_burst >= length {
                    self.due += self.owed;
                    (self.in_burst, self.owed) = (0, 0);
                }
            }
            Shape::Poisson(seed) => {
                // In (0, 1): the middle of one of 2^53 steps.
                let share = ((mixed(seed, self.drawn) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
                self.drawn += 1;
                self.due += (cost as f64 * -share.ln()) as u128;
            }
        }
    }

    /// How late packets were let go, against when they were due, in nanoseconds: the error of each gap.
    pub fn late(&self) -> &Buckets {
        &self.late
    }

    /// Nanoseconds that were not caught up, because nobody asked for so long: the rate is too low by their share.
    pub fn slipped(&self) -> u64 {
        self.slipped
    }
}
