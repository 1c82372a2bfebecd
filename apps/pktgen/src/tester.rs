//! RFC 2544 with the ports of a [`Rig`].

use crate::settings::{Settings, wrong};
use crate::{Options, Rig};
use barline_app::Failure;
use barline_traffic::rfc2544::{Bench, Load, Outcome, Plan, Progress, Report, Search, Test, page, run};
use barline_traffic::{Buckets, RFC2544, RFC2889, RFC8219, Rate, Sizes, StreamConfig};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What is to be tested, and where results go.
#[derive(Clone, Debug)]
pub struct Job {
    /// The tests.
    pub plan: Plan,
    /// Where to.
    pub report: Option<PathBuf>,
    /// The greatest rate that is offered where the line's speed is not known, in packets a second.
    most: Option<f64>,
}

impl Job {
    /// The job that the options describe, if they do, and the settings that it needs: a stream of each size.
    ///
    /// # Errors
    /// The first option that is wrong.
    pub fn new(options: &Options) -> Result<Option<(Self, Settings)>, Failure> {
        if options.rfc2544.is_empty() {
            return Ok(None);
        }
        let tests: Result<Vec<Test>, _> = match &options.rfc2544[..] {
            [all] if all == "all" => Ok(Test::ALL.to_vec()),
            list => list.iter().map(|test| test.parse()).collect(),
        };
        let percent = |name, value: Option<f64>, or: f64| {
            let value = value.unwrap_or(or);
            let good = (0.001..=50.0).contains(&value);
            good.then_some(value / 100.0)
                .ok_or_else(|| Failure::usage(format!("--{name} {value}: 0.001 to 50 per cent are possible")))
        };
        let seconds = options.trial.unwrap_or(2.0);
        if !(0.01..=3600.0).contains(&seconds) {
            return Err(Failure::usage(format!(
                "--trial {seconds}: 0.01 to 3600 seconds are possible"
            )));
        }
        let plan = Plan {
            tests: tests.map_err(wrong)?,
            sizes: sizes(options.sizes.as_deref().unwrap_or("rfc2544"))?,
            seconds,
            width: percent("resolution", options.resolution, 0.5)?,
            search: match options.search.as_deref().unwrap_or("binary") {
                "binary" => Search::Binary,
                "mlr" => Search::Mlr,
                other => return Err(Failure::usage(format!("--search {other}: write binary or mlr"))),
            },
            loss: percent("loss", options.loss, 0.5)?,
            burst_seconds: seconds.min(2.0),
        };
        fits(options)?;
        let mut with = options.clone();
        with.streams = plan
            .sizes
            .iter()
            .map(|size| StreamConfig {
                frame: options.frame.clone(),
                vary: options.vary.clone(),
                size: Some(size.to_string()),
                ..StreamConfig::default()
            })
            .collect();
        let mut settings = Settings::new(&with)?;
        let most = match settings.rate {
            Rate::Packets(rate) if options.rate.is_some() => Some(rate),
            _ => None,
        };
        // The search decides.
        settings.rate = Rate::Packets(1.0);
        (settings.duration, settings.count) = (None, None);
        let report = options.report.clone();
        Ok(Some((Self { plan, report, most }, settings)))
    }

    /// Carries it out; what was found so far is there whatever happens, and is written to files if that was asked for.
    ///
    /// # Errors
    /// Beside the report: a trial could not be carried out, or a file not be written. A signal is none.
    pub fn run(
        &self,
        rig: &mut Rig,
        stop: &AtomicBool,
        tell: &mut dyn FnMut(&Progress, Duration),
    ) -> (Report, Result<(), Failure>) {
        let names: Vec<String> = rig.settings().ports.iter().map(|port| port.to_string()).collect();
        let mut report = Report {
            title: names.join(", "),
            ..Report::default()
        };
        let begin = Instant::now();
        let mut left = |progress: &Progress| {
            let each = begin.elapsed() / progress.done.max(1) as u32;
            tell(progress, each * (progress.all - progress.done) as u32);
        };
        let mut bench = Trials { rig, stop, job: self };
        let result = match run(&mut bench, &self.plan, &mut report, &mut left) {
            Err(Ended::Stopped) => {
                report.partial = true;
                Ok(())
            }
            Err(Ended::Failed(failure)) => {
                report.partial = true;
                Err(failure)
            }
            Ok(()) => Ok(()),
        };
        let written = self.report.as_deref().map_or(Ok(()), |dir| write(dir, &report));
        (report, result.and(written))
    }
}

/// Whether nothing is asked for that a test cannot do; what it would do without a word otherwise is something else.
fn fits(options: &Options) -> Result<(), Failure> {
    let rate = options.rate.as_deref().map(str::parse::<Rate>).transpose();
    let wrong = match rate.map_err(wrong)? {
        _ if !options.streams.is_empty() => {
            "makes a stream of each size: leave [[streams]] out, and describe the frame with --frame and --vary"
        }
        _ if options.replay.is_some() => "measures with marks, which a capture has not: leave --replay out",
        _ if options.unsigned == Some(true) => "measures with marks: leave --unsigned out",
        None | Some(Rate::Max | Rate::Packets(_)) => return Ok(()),
        Some(_) => "finds the rate: leave --rate out, or name the greatest to be tried, as in --rate 5Mpps",
    };
    Err(Failure::usage(format!("--rfc2544 {wrong}")))
}

fn sizes(text: &str) -> Result<Vec<usize>, Failure> {
    let standard = match text {
        "rfc2544" => Some(RFC2544),
        "rfc2889" => Some(RFC2889),
        "rfc8219" => Some(RFC8219),
        _ => None,
    };
    if let Some(sizes) = standard {
        return Ok(sizes.to_vec());
    }
    let size = |text: &str| match text.parse::<Sizes>() {
        Ok(Sizes::Fixed(size)) => Ok(size),
        Ok(_) => Err(Failure::usage(format!(
            "--sizes {text}: write rfc2544, rfc2889, rfc8219, or 64,512,1518"
        ))),
        Err(error) => Err(wrong(error)),
    };
    text.split(',').map(size).collect()
}

fn write(dir: &Path, report: &Report) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(report).unwrap_or_default();
    let files = [
        ("report.json", json),
        ("report.csv", report.csv()),
        ("report.html", page(report)),
    ];
    let all = fs::create_dir_all(dir).and_then(|()| {
        files
            .iter()
            .try_for_each(|(name, text)| fs::write(dir.join(name), text))
    });
    all.map_err(|error| {
        Failure::run(format!(
            "{}: {error}; name a directory that can be written to: --report DIR",
            dir.display()
        ))
    })
}

/// Why there are no more trials.
#[derive(Debug)]
enum Ended {
    Stopped,
    Failed(Failure),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

struct Trials<'a> {
    rig: &'a mut Rig,
    stop: &'a AtomicBool,
    job: &'a Job,
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
