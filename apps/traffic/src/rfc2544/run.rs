//! The tests, one after the other, over frame sizes.

use super::search::{Goal, Search, binary, longest_burst, mlr};
use super::{Bench, Latency, Load, Loss, Outcome, Report, SizeReport, Throughput};
use crate::error::{TrafficError, nearest};
use std::str::FromStr;

/// A test of RFC 2544.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// Section 26.1.
    Throughput,
    /// Section 26.2.
    Latency,
    /// Section 26.3.
    FrameLoss,
    /// Section 26.4.
    BackToBack,
}

impl Test {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Throughput, Self::Latency, Self::FrameLoss, Self::BackToBack];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::Latency => "latency",
            Self::FrameLoss => "frame-loss",
            Self::BackToBack => "back-to-back",
        }
    }
}

impl FromStr for Test {
    type Err = TrafficError;

    fn from_str(text: &str) -> Result<Self, TrafficError> {
        let known = Self::ALL.into_iter().find(|test| test.name() == text.trim());
        known.ok_or_else(|| {
            let near = nearest(text, Self::ALL.map(Self::name));
            TrafficError::wrong(format!("there is no test {text:?}; did you mean {near}?"))
        })
    }
}

/// What is to be found out.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Tests.
    pub tests: Vec<Test>,
    /// Frame sizes with FCS.
    pub sizes: Vec<usize>,
    /// Seconds of a trial.
    pub seconds: f64,
    /// How close throughput is found, as a share of it.
    pub width: f64,
    /// How it is searched.
    pub search: Search,
    /// The share of loss that the partial-drop rate allows.
    pub loss: f64,
    /// Seconds of the longest burst.
    pub burst_seconds: f64,
}

impl Plan {
    fn has(&self, test: Test) -> bool {
        self.tests.contains(&test)
    }

    /// Trials that a size takes, about: for the time that is left.
    pub fn trials(&self) -> usize {
        let search = match self.search {
            Search::Binary => (1.0 / self.width).log2().ceil() as usize + 1,
            Search::Mlr => 12,
        };
        let needs_rate = self.has(Test::Throughput) || self.has(Test::Latency);
        usize::from(needs_rate) * search
            + usize::from(self.has(Test::Latency)) * 2
            + usize::from(self.has(Test::FrameLoss)) * 8
            + usize::from(self.has(Test::BackToBack)) * 20
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Which test.
    pub test: Test,
    /// Of which size.
    pub size: usize,
    /// Trials so far.
    pub done: usize,
    /// Trials in all, about.
    pub all: usize,
    /// What was offered last.
    pub load: Load,
    /// What came of it.
    pub outcome: Outcome,
}

struct Run<'a, B: Bench> {
    bench: &'a mut B,
    plan: &'a Plan,
    tell: &'a mut dyn FnMut(&Progress),
    done: usize,
    limited: bool,
}

/// Carries the plan out; results go into `report` as they come, so that they are there whatever happens. `tell` hears of every
/// trial.
///
/// # Errors
/// A trial could not be carried out.
pub fn run<B: Bench>(
    bench: &mut B,
    plan: &Plan,
    report: &mut Report,
    tell: &mut dyn FnMut(&Progress),
) -> Result<(), B::Error> {
    report.seconds = plan.seconds;
    let mut run = Run {
        bench,
        plan,
        tell,
        done: 0,
        limited: false,
    };
    for (at, size) in plan.sizes.iter().enumerate() {
        (run.done, run.limited) = (at * plan.trials(), false);
        let line = run.bench.line(*size);
        report.sizes.push(SizeReport {
            size: *size,
            line_pps: line,
            ..SizeReport::default()
        });
        if let Some(of) = report.sizes.last_mut() {
            let result = run.size(of);
            of.sender_limited = run.limited;
            result?;
        }
    }
    Ok(())
}

impl<B: Bench> Run<'_, B> {
    fn trial(&mut self, test: Test, size: usize, load: Load) -> Result<Outcome, B::Error> {
        let outcome = self.bench.trial(size, load)?;
        self.limited |= outcome.behind;
        self.done += 1;
        let all = (self.plan.trials() * self.plan.sizes.len()).max(self.done);
        (self.tell)(&Progress {
            test,
            size,
            done: self.done,
            all,
            load,
            outcome,
        });
        Ok(outcome)
    }

    fn size(&mut self, of: &mut SizeReport) -> Result<(), B::Error> {
        if self.plan.has(Test::Throughput) || self.plan.has(Test::Latency) {
            self.throughput(of)?;
        }
        if self.plan.has(Test::Latency) {
            self.latency(of)?;
        }
        if self.plan.has(Test::FrameLoss) {
            self.frame_loss(of)?;
        }
        if self.plan.has(Test::BackToBack) {
            let most = (of.line_pps * self.plan.burst_seconds).max(1.0) as u64;
            let size = of.size;
            of.back_to_back = Some(longest_burst(most, |load| {
                self.trial(Test::BackToBack, size, load)
            })?);
            of.back_to_back_limit = most;
        }
        Ok(())
    }

    fn throughput(&mut self, of: &mut SizeReport) -> Result<(), B::Error> {
        let (line, width, seconds, size) = (of.line_pps, self.plan.width, self.plan.seconds, of.size);
        let none = Goal { loss: 0.0 };
        let found = |rate: Option<(f64, Outcome)>| {
            let (pps, outcome) = rate.unwrap_or_default();
            Throughput::new(size, line, pps, &outcome)
        };
        match self.plan.search {
            Search::Binary => {
                let rate = binary(line, none, width, seconds, |load| {
                    self.trial(Test::Throughput, size, load)
                })?;
                of.ndr = Some(found(rate));
            }
            Search::Mlr => {
                let goals = [none, Goal { loss: self.plan.loss }];
                let rates = mlr(line, &goals, width, seconds, |load| {
                    self.trial(Test::Throughput, size, load)
                })?;
                of.ndr = rates.first().map(|rate| found(*rate));
                of.pdr = rates.get(1).map(|rate| found(*rate));
            }
        }
        Ok(())
    }

    /// At the throughput, as the RFC wants it, and at half of it, where queues play no part.
    fn latency(&mut self, of: &mut SizeReport) -> Result<(), B::Error> {
        let rate = of.ndr.map_or(0.0, |ndr| ndr.pps);
        for share in [1.0, 0.5] {
            let pps = rate * share;
            if pps > 0.0 {
                let load = Load::Rate {
                    pps,
                    seconds: self.plan.seconds,
                };
                let outcome = self.trial(Test::Latency, of.size, load)?;
                of.latency.push(Latency {
                    pps,
                    lost: outcome.lost(),
                    ns: outcome.latency_ns,
                });
            }
        }
        Ok(())
    }

    /// From the line's rate down in steps of a tenth, until two in a row lose nothing.
    fn frame_loss(&mut self, of: &mut SizeReport) -> Result<(), B::Error> {
        let mut clean = 0;
        for tenth in (1..=10).rev() {
            let pps = of.line_pps * f64::from(tenth) / 10.0;
            let outcome = self.trial(
                Test::FrameLoss,
                of.size,
                Load::Rate {
                    pps,
                    seconds: self.plan.seconds,
                },
            )?;
            of.frame_loss.push(Loss {
                percent: tenth * 10,
                pps,
                loss: outcome.loss(),
            });
            clean = if outcome.lost() == 0 { clean + 1 } else { 0 };
            if clean == 2 {
                break;
            }
        }
        Ok(())
    }
}
