//! `cargo xtask bench line`: how much of a line our own forwarding would fill.

use super::Interrupt;
use super::hugepages::HugePages;
use super::ours::Ours;
use super::plot;
use super::side::{Sample, Side};
use super::stats::{Summary, summary};
use crate::paths::Paths;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// What `cargo xtask bench line` takes.
#[derive(Debug, clap::Args)]
pub struct LineArgs {
    /// Print one JSON object a measurement.
    #[arg(long)]
    json: bool,
    /// Sizes of Ethernet frames with FCS.
    #[arg(long, value_delimiter = ',', default_value = "64,128,256,512,1024,1280,1518",
          value_parser = clap::value_parser!(u32).range(64..=1518))]
    sizes: Vec<u32>,
    /// Most cores; all when it is not given.
    #[arg(long)]
    cores: Option<usize>,
    /// Windows of each measurement.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    windows: u32,
    /// Milliseconds of a window.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    millis: u64,
    /// What to measure: l2fwd between null ports, and between simulated 82576 ports.
    #[arg(long, value_delimiter = ',', default_value = "l2fwd-null,l2fwd-igb",
          value_parser = ["null-io", "null-mac", "null-macswap", "null-rxonly", "null-txonly", "l2fwd-null", "l2fwd-igb"])]
    work: Vec<String>,
}

/// Speeds of lines in Gb/s.
pub const SPEEDS: [u32; 4] = [10, 25, 40, 100];
/// Bytes of a frame that are not in a buffer: the FCS.
const FCS: u32 = 4;
/// Bytes between frames on the wire: preamble, start delimiter and gap.
const BETWEEN: u32 = 20;
/// The most stolen time of a good window, as a share.
const TOLERANCE: f64 = 0.03;
/// Windows that may be bad, for each good one that is wanted.
const PATIENCE: u32 = 4;
/// Huge pages of 2 MiB for each core's packets.
const HUGE_PAGES: u64 = 16;

/// One measurement.
#[derive(Debug, Clone)]
pub struct Point {
    /// The workload.
    pub work: String,
    /// Bytes of a frame, with FCS.
    pub frame: u32,
    /// Cores at work.
    pub cores: usize,
    /// Million packets a second.
    pub rate: Summary,
    /// Cycles a packet, of all cores together.
    pub cycles: f64,
    /// Windows that were good.
    pub windows: usize,
    /// Whether there were none, and disturbed ones had to do.
    pub disturbed: bool,
}

/// Million frames a second that fill a line.
pub fn line_rate(gigabits: u32, frame: u32) -> f64 {
    f64::from(gigabits) * 1e3 / (8.0 * f64::from(frame + BETWEEN))
}

/// Measures and prints; leaves `line.json` and `line.svg` in the output directory.
pub fn run(paths: &Paths, dir: &Path, args: &LineArgs, interrupt: &Interrupt) -> Result<()> {
    let ours = Ours::build(paths)?;
    let there = std::thread::available_parallelism()?.get();
    let most = args.cores.unwrap_or(there).min(there);
    // Packets are on pages of 4 KiB then, which costs a little; a machine without huge pages can still measure.
    let pages = HugePages::reserve(HUGE_PAGES * most as u64);
    if let Err(why) = &pages {
        eprintln!("bench: without huge pages: {why:#}");
    }
    if !args.json {
        println!("{}", head());
    }
    let (mut points, mut lines) = (Vec::new(), String::new());
    for work in &args.work {
        for cores in 1..=most {
            for frame in &args.sizes {
                // The highest first: the kernel likes to work on core 0.
                let list: Vec<usize> = (there - cores..there).rev().collect();
                let size = (frame - FCS) as usize;
                let mut side = ours.start(work, &list, &[("size", size)], dir, interrupt)?;
                let point = measure(&mut side, args, interrupt, (work, *frame, cores))?;
                let json = point.json();
                lines.push_str(&format!("{json}\n"));
                match args.json {
                    true => println!("{json}"),
                    false => println!("{}", point.row()),
                }
                points.push(point);
            }
        }
    }
    let (table, drawing) = (dir.join("line.json"), dir.join("line.svg"));
    fs::write(&table, lines).with_context(|| format!("cannot write {}", table.display()))?;
    plot::draw(&points, &drawing)?;
    eprintln!("bench: {} and {}", table.display(), drawing.display());
    Ok(())
}

fn measure(
    side: &mut dyn Side,
    args: &LineArgs,
    interrupt: &Interrupt,
    (work, frame, cores): (&str, u32, usize),
) -> Result<Point> {
    let length = Duration::from_millis(args.millis);
    side.window(length)?; // warms caches up
    let (mut good, mut bad): (Vec<Sample>, Vec<Sample>) = (Vec::new(), Vec::new());
    for _ in 0..args.windows * PATIENCE {
        interrupt.check()?;
        let sample = side.window(length)?;
        match sample.stolen <= TOLERANCE {
            true => good.push(sample),
            false => bad.push(sample),
        }
        if good.len() == args.windows as usize {
            break;
        }
    }
    let disturbed = good.is_empty();
    let samples = if disturbed { &bad } else { &good };
    let rates: Vec<f64> = samples
        .iter()
        .map(|sample| sample.packets as f64 * 1e3 / sample.nanos)
        .collect();
    let cycles = samples
        .iter()
        .filter_map(|sample| Some(sample.cycles? / sample.packets.max(1) as f64))
        .collect::<Vec<_>>();
    Ok(Point {
        work: work.to_owned(),
        frame,
        cores,
        rate: summary(&rates),
        cycles: summary(&cycles).median,
        windows: good.len(),
        disturbed,
    })
}

fn head() -> String {
    let speeds: String = SPEEDS
        .iter()
        .map(|speed| format!("{:>9}", format!("{speed}G")))
        .collect();
    format!(
        "{:<13} {:>5} {:>5} {:>9} {:<19} {:>9}{speeds}",
        "work", "frame", "cores", "Mpps", " [quartiles]", "cycles"
    )
}

impl Point {
    /// Share of the line that the rate would fill; more than 1 is more than it can take.
    fn share(&self, gigabits: u32) -> f64 {
        self.rate.median / line_rate(gigabits, self.frame)
    }

    fn row(&self) -> String {
        let shares = SPEEDS
            .iter()
            .map(|speed| format!("{:>8.0}%", self.share(*speed) * 100.0));
        let [low, high] = self.rate.quartiles;
        format!(
            "{:<13} {:>5} {:>5} {:>9.2} {:<19} {:>9.2}{}{}",
            self.work,
            self.frame,
            self.cores,
            self.rate.median,
            format!(" [{low:.2}..{high:.2}]"),
            self.cycles,
            shares.collect::<String>(),
            if self.disturbed { "  disturbed" } else { "" },
        )
    }

    fn json(&self) -> Value {
        let shares = SPEEDS
            .iter()
            .map(|speed| (speed.to_string(), json!(round(self.share(*speed)))));
        json!({
            "work": self.work,
            "frame": self.frame,
            "cores": self.cores,
            "mpps": round(self.rate.median),
            "spread": self.rate.quartiles.map(round),
            "cycles": round(self.cycles),
            "share": shares.collect::<serde_json::Map<_, _>>(),
            "windows": self.windows,
            "disturbed": self.disturbed,
        })
    }
}

fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_rates_are_the_well_known_ones() {
        assert!((line_rate(10, 64) - 14.880_952).abs() < 1e-6);
        assert!((line_rate(100, 64) - 148.809_523).abs() < 1e-6);
        assert!((line_rate(10, 1518) - 0.812_743).abs() < 1e-6);
    }

    #[test]
    fn a_point_tells_its_share_of_each_line() {
        let point = Point {
            work: "l2fwd-null".to_owned(),
            frame: 64,
            cores: 1,
            rate: summary(&[14.880_952]),
            cycles: 174.5,
            windows: 1,
            disturbed: false,
        };
        let json = point.json();
        assert_eq!(
            (&json["share"]["10"], &json["share"]["100"]),
            (&json!(1.0), &json!(0.1))
        );
        assert!(point.row().contains("100%"), "{}", point.row());
        assert!(head().ends_with("100G"));
    }
}
