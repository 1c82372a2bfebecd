//! `cargo xtask bench curves`: what a packet costs as work grows, a table and a plot for each thing that grows.

mod list;

use super::Interrupt;
use super::hugepages::HugePages;
use super::ours::{Ours, PingPong};
use super::plot;
use super::side::Side;
use super::stats::{Summary, summary};
use crate::host::Missing;
use crate::paths::Paths;
use anyhow::{Context, Result};
use clap::builder::PossibleValuesParser;
use list::{CURVES, Curve, Series};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What `cargo xtask bench curves` takes.
#[derive(Debug, clap::Args)]
pub struct CurveArgs {
    /// Print one JSON object a point.
    #[arg(long)]
    json: bool,
    /// Windows of each point.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..))]
    windows: u32,
    /// Milliseconds of a window.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    millis: u64,
    /// Longest time in seconds, for each point, to wait for two cores that hand packets on to be near each other.
    #[arg(long, default_value_t = 10)]
    patience: u64,
    /// Where `curve-NAME.md` and `curve-NAME.svg` go; `target/bench` when it is not given.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Curves to measure; all when there is none.
    #[arg(value_parser = PossibleValuesParser::new(CURVES.iter().map(|curve| curve.name)))]
    names: Vec<String>,
}

/// The most stolen time of a good window, as a share.
const TOLERANCE: f64 = 0.03;
/// Windows that are tried for each good one that is wanted.
const PATIENCE: u32 = 4;
/// Time between two looks at the distance of cores that are far from each other.
const LOOK: Duration = Duration::from_millis(10);

/// One measurement.
#[derive(Debug, Clone)]
pub struct Point {
    /// What grows.
    pub x: usize,
    /// Cycles a packet; `None` when no window was good.
    pub cycles: Option<Summary>,
}

/// The measurements of one series.
#[derive(Debug, Clone)]
pub struct Line {
    /// What the legend calls it.
    pub name: String,
    /// In the order of what grows.
    pub points: Vec<Point>,
}

/// Measures, prints, and leaves a table and a plot for each curve; `false` when a point could not be measured.
pub fn run(paths: &Paths, dir: &Path, args: &CurveArgs, interrupt: &Interrupt) -> Result<bool> {
    let cores = std::thread::available_parallelism()?.get();
    if cores < 2 {
        return Err(Missing(vec!["a second core".to_owned()]).into());
    }
    let ours = Ours::build(paths)?;
    let out = args.out.as_deref().unwrap_or(dir);
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let bench = Bench {
        args,
        dir,
        ours,
        interrupt,
        cores: [cores - 1, cores - 2],
    };
    let mut good = true;
    for curve in CURVES {
        if !args.names.is_empty() && !args.names.iter().any(|name| name == curve.name) {
            continue;
        }
        let _pages = HugePages::reserve(curve.huge_pages)?;
        let lines = curve
            .series
            .iter()
            .map(|series| bench.series(curve, series))
            .collect::<Result<Vec<_>>>()?;
        let table = table(curve, &lines);
        if !args.json {
            println!("{} (cycles a packet, median [quartiles])\n\n{table}", curve.about);
        }
        let file = |ending| out.join(format!("curve-{}.{ending}", curve.name));
        fs::write(file("md"), &table).with_context(|| format!("cannot write {}", file("md").display()))?;
        plot::curve(curve.about, curve.x, &lines, &file("svg"))?;
        eprintln!("bench: {} and {}", file("md").display(), file("svg").display());
        good &= lines
            .iter()
            .flat_map(|line| &line.points)
            .all(|point| point.cycles.is_some());
    }
    Ok(good)
}

struct Bench<'a> {
    args: &'a CurveArgs,
    dir: &'a Path,
    ours: Ours,
    interrupt: &'a Interrupt,
    /// The highest first: the kernel likes to work on core 0.
    cores: [usize; 2],
}

impl Bench<'_> {
    fn series(&self, curve: &Curve, series: &Series) -> Result<Line> {
        let mut points = Vec::new();
        for x in curve.values {
            let cycles = self.point(curve, series, *x)?;
            if cycles.is_none() {
                eprintln!("bench: {}: {} at {x}: no good window", curve.name, series.name);
            }
            if self.args.json {
                println!("{}", json(curve, series, *x, cycles));
            }
            points.push(Point { x: *x, cycles });
        }
        Ok(Line {
            name: series.name.to_owned(),
            points,
        })
    }

    fn point(&self, curve: &Curve, series: &Series, x: usize) -> Result<Option<Summary>> {
        let (dir, interrupt) = (self.dir, self.interrupt);
        let mut ping_pong = match series.relay {
            true => Some(PingPong::start(&self.ours, self.cores, dir, interrupt)?),
            false => None,
        };
        let cores = &self.cores[..series.cores];
        let shape = [(curve.option, x - curve.less)];
        let mut side = self.ours.start(series.work, cores, &shape, dir, interrupt)?;
        let length = Duration::from_millis(self.args.millis);
        side.window(length)?; // warms caches up
        let (mut costs, mut tries) = (Vec::new(), 0);
        let end = Instant::now() + Duration::from_secs(self.args.patience);
        while costs.len() < self.args.windows as usize {
            interrupt.check()?;
            let patient = if series.relay {
                Instant::now() < end
            } else {
                tries < self.args.windows * PATIENCE
            };
            if !patient {
                break;
            }
            tries += 1;
            if !near(&mut ping_pong)? {
                sleep(LOOK);
                continue;
            }
            let sample = side.window(length)?;
            if near(&mut ping_pong)? && sample.stolen <= TOLERANCE && sample.packets > 0 {
                costs.extend(sample.cycles.map(|cycles| cycles / sample.packets as f64));
            }
        }
        Ok((!costs.is_empty()).then(|| summary(&costs)))
    }
}

/// Whether two cores that hand packets on are near each other; where each works alone, it does not matter.
fn near(ping_pong: &mut Option<PingPong>) -> Result<bool> {
    ping_pong.as_mut().map_or(Ok(true), PingPong::is_near)
}

fn json(curve: &Curve, series: &Series, x: usize, cycles: Option<Summary>) -> Value {
    json!({
        "curve": curve.name,
        "series": series.name,
        "x": x,
        "unit": "cycles/packet",
        "cycles": cycles.map(|cycles| round(cycles.median)),
        "spread": cycles.map(|cycles| cycles.quartiles.map(round)),
    })
}

fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// A table in Markdown: a row for each value, a column for each series.
fn table(curve: &Curve, lines: &[Line]) -> String {
    let mut text = format!("| {} |", curve.x);
    for line in lines {
        text.push_str(&format!(" {} |", line.name));
    }
    text.push_str(&format!("\n|---|{}\n", "---|".repeat(lines.len())));
    for (at, x) in curve.values.iter().enumerate() {
        text.push_str(&format!("| {x} |"));
        for line in lines {
            let cell = match line.points[at].cycles {
                Some(Summary {
                    median,
                    quartiles: [low, high],
                }) => format!("{median:.2} [{low:.2}..{high:.2}]"),
                None => "-".to_owned(),
            };
            text.push_str(&format!(" {cell} |"));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_row_for_each_value_and_says_what_was_not_measured() {
        let curve = &CURVES[0];
        let point = |x: &usize| Point {
            x: *x,
            cycles: (*x > 64).then(|| summary(&[2.0, 3.0, 4.0])),
        };
        let line = |name: &str| Line {
            name: name.to_owned(),
            points: curve.values.iter().map(point).collect(),
        };
        let text = table(curve, &[line("a"), line("b")]);
        assert_eq!(text.lines().count(), 2 + curve.values.len());
        assert!(text.contains("| 64 | - | - |"), "{text}");
        assert!(
            text.contains("| 1518 | 3.00 [2.50..3.50] | 3.00 [2.50..3.50] |"),
            "{text}"
        );
    }
}
