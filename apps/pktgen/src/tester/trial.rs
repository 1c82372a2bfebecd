//! Trials on a rig.

use super::Job;
use crate::Rig;
use barline_app::Failure;
use barline_traffic::rfc2544::{Bench, Load, Outcome};
use barline_traffic::{Buckets, Rate};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Why there are no more trials.
#[derive(Debug)]
pub(super) enum Ended {
    Stopped,
    Failed(Failure),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// A rig that carries out a job's trials.
pub(super) struct Trials<'a> {
    pub rig: &'a mut Rig,
    pub stop: &'a AtomicBool,
    pub job: &'a Job,
}

/// Steps of the rise to the rate, and how long each is.
const RISE: [f64; 4] = [0.2, 0.4, 0.6, 0.8];
const STEP: Duration = Duration::from_millis(20);
const TICK: Duration = Duration::from_millis(2);
/// How much longer a trial may take than it should before the sender counts as too slow.
const TOO_SLOW: f64 = 1.01;

impl Trials<'_> {
    fn stream(&self, size: usize) -> u16 {
        self.job
            .plan
            .sizes
            .iter()
            .position(|one| *one == size)
            .unwrap_or(0) as u16
    }

    /// Waits for so long, or for the senders if no time is given.
    fn wait(&mut self, time: Option<Duration>) -> Result<(), Ended> {
        let begin = Instant::now();
        while time.is_some_and(|time| begin.elapsed() < time) || (time.is_none() && !self.rig.is_done()) {
            if self.stop.load(Ordering::SeqCst) {
                return Err(Ended::Stopped);
            }
            if self.rig.has_failed() {
                return Err(Failure::run("a worker has failed").into());
            }
            if let Some(died) = self.rig.died() {
                return Err(Failure::run(died).into());
            }
            sleep(TICK);
        }
        Ok(())
    }

    fn read(&mut self, only: u16, seconds: f64, behind: bool) -> Outcome {
        let account = self.rig.account();
        let name = only.to_string();
        let mut outcome = Outcome {
            seconds,
            behind,
            ..Outcome::default()
        };
        let mut latency = Buckets::new();
        for flow in account.flows.iter().filter(|flow| flow.stream == name) {
            outcome.sent += flow.sent;
            outcome.received += flow.received;
            latency.add(&flow.buckets);
        }
        outcome.latency_ns = latency.summary();
        outcome
    }
}

impl Bench for Trials<'_> {
    type Error = Ended;

    fn line(&mut self, size: usize) -> f64 {
        let ports = 0..self.rig.settings().ports.len();
        let speeds = ports
            .filter(|port| self.rig.settings().sends[*port])
            .map(|port| self.rig.speed(port));
        let slowest = speeds.filter(|speed| *speed > 0).min().unwrap_or(0);
        let line = Rate::most(slowest, size as f64);
        self.job.most.map_or(line, |most| most.min(line))
    }

    fn trial(&mut self, size: usize, load: Load) -> Result<Outcome, Ended> {
        let only = self.stream(size);
        let line = self.line(size);
        if !line.is_finite() {
            return Err(Failure::usage(
                "the line's speed is not known; name the greatest rate to be tried, as in --rate 5Mpps",
            )
            .into());
        }
        let (pps, count) = match load {
            Load::Rate { pps, seconds } => (pps, (pps * seconds).round().max(1.0) as u64),
            Load::Burst(count) => (line, count),
        };
        if let Load::Rate { .. } = load {
            for (step, share) in RISE.into_iter().enumerate() {
                let rate = Rate::Packets(pps * share);
                match step {
                    0 => self.rig.begin_with(rate, None, Some(only), false)?,
                    _ => self.rig.set_rate_of(rate, Some(only))?,
                }
                self.wait(Some(STEP))?;
            }
        }
        let begin = Instant::now();
        self.rig
            .begin_with(Rate::Packets(pps), Some(count), Some(only), true)?;
        self.wait(None)?;
        let seconds = begin.elapsed().as_secs_f64();
        let settle = self.rig.settings().settle;
        self.wait(Some(settle))?;
        // Looks are not more often than this.
        self.wait(Some(Duration::from_millis(25)))?;
        let behind = seconds > count as f64 / pps * TOO_SLOW + 0.03;
        Ok(self.read(only, seconds, behind))
    }
}
