//! RFC 2544 with the ports of a [`Rig`].

mod asked;
mod trial;

use crate::settings::{Settings, wrong};
use crate::{Options, Rig};
use asked::{fits, needless, sizes};
use barline_app::Failure;
use barline_traffic::rfc2544::{Plan, Progress, Report, Search, Test, page, run};
use barline_traffic::{Rate, StreamConfig};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use trial::{Ended, Trials};

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
            return needless(options).map(|()| None);
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
        if let Some(dir) = &report {
            // Now, not after hours of measuring.
            let begun = Report {
                partial: true,
                ..Report::default()
            };
            save(dir, &[("report.json", json(&begun))])?;
        }
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

fn json(report: &Report) -> String {
    serde_json::to_string_pretty(report).unwrap_or_default()
}

fn write(dir: &Path, report: &Report) -> Result<(), Failure> {
    let files = [
        ("report.json", json(report)),
        ("report.csv", report.csv()),
        ("report.html", page(report)),
    ];
    save(dir, &files)
}

fn save(dir: &Path, files: &[(&str, String)]) -> Result<(), Failure> {
    let all = fs::create_dir_all(dir).and_then(|()| {
        files
            .iter()
            .try_for_each(|(name, text)| fs::write(dir.join(name), text))
    });
    all.map_err(|error| {
        Failure::usage(format!(
            "{}: {error}; name a directory that can be written to: --report DIR",
            dir.display()
        ))
    })
}
