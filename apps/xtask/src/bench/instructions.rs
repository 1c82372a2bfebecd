//! `cargo xtask bench instructions`: instructions a packet, counted by callgrind, beside what they were.

use crate::cmd;
use crate::host::{Missing, can_install, need_package};
use crate::paths::{Paths, on_path};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The most that a count may be above its baseline, as a share.
const TOLERANCE: f64 = 0.03;
/// The program that gungraun's benchmarks hand themselves to; it has to be of the library's version.
const RUNNER: &str = "gungraun-runner";

/// What `cargo xtask bench instructions` takes.
#[derive(Debug, clap::Args)]
pub struct InstructionArgs {
    /// Print one JSON object a benchmark.
    #[arg(long)]
    json: bool,
    /// Make what is counted now the baseline.
    #[arg(long)]
    write: bool,
}

/// The committed file: what was counted when it was written.
#[derive(Debug, Serialize, Deserialize)]
struct Baseline {
    /// Packets, objects or polls that every benchmark handles (`OBJECTS` in `benches/benches/instructions.rs`).
    objects: u64,
    /// The compiler: another one makes other code.
    rustc: String,
    /// Instructions a packet, object or poll.
    instructions: BTreeMap<String, f64>,
}

/// How counts and baseline agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// No count is above its baseline by more than the tolerance.
    Kept,
    /// Some are, or the two do not know the same benchmarks.
    Exceeded,
    /// The baseline is of another compiler: nothing to conclude.
    OtherCompiler,
}

/// One benchmark.
#[derive(Debug, PartialEq)]
struct Row {
    name: String,
    now: Option<f64>,
    before: Option<f64>,
}

impl Row {
    /// The difference as a share of the baseline.
    fn change(&self) -> Option<f64> {
        Some(self.now? / self.before? - 1.0)
    }

    fn is_good(&self) -> bool {
        self.change().is_some_and(|change| change <= TOLERANCE)
    }

    fn text(&self) -> String {
        let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
        let change = self.change().map_or_else(
            || "not in both: write the baseline anew".to_owned(),
            |change| format!("{:+.1} %", change * 100.0),
        );
        let mark = if self.is_good() { "" } else { "  FAILED" };
        format!(
            "{:<34} {:>9} {:>9} {change:>9}{mark}",
            self.name,
            number(self.now),
            number(self.before)
        )
    }
}

/// Counts, prints, and writes the baseline where that is asked for.
pub fn run(paths: &Paths, args: &InstructionArgs) -> Result<bool> {
    if !args.write {
        return Ok(check(paths, args.json)? == Verdict::Kept);
    }
    let mut baseline = read(paths)?;
    let counts = count(paths)?;
    baseline.instructions = counts
        .into_iter()
        .map(|(name, count)| (name, round(count as f64 / baseline.objects as f64)))
        .collect();
    baseline.rustc = rustc()?;
    let file = file(paths);
    let text = serde_json::to_string_pretty(&baseline)? + "\n";
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    print(&rows(&baseline.instructions, &baseline.instructions), args.json);
    Ok(true)
}

/// Counts, and compares with the baseline.
pub fn check(paths: &Paths, json: bool) -> Result<Verdict> {
    let baseline = read(paths)?;
    let counts = count(paths)?;
    let share = |(name, count): (String, u64)| (name, count as f64 / baseline.objects as f64);
    let rows = rows(&counts.into_iter().map(share).collect(), &baseline.instructions);
    print(&rows, json);
    let rustc = rustc()?;
    if rustc != baseline.rustc {
        eprintln!("the baseline is of rustc {}, this is {rustc}", baseline.rustc);
        return Ok(Verdict::OtherCompiler);
    }
    Ok(match rows.iter().all(Row::is_good) {
        true => Verdict::Kept,
        false => Verdict::Exceeded,
    })
}

fn file(paths: &Paths) -> PathBuf {
    paths.root.join("benches/baselines/instructions.json")
}

fn read(paths: &Paths) -> Result<Baseline> {
    let file = file(paths);
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no baseline", file.display()))
}

fn rows(now: &BTreeMap<String, f64>, before: &BTreeMap<String, f64>) -> Vec<Row> {
    let mut names: Vec<&String> = now.keys().chain(before.keys()).collect();
    names.sort();
    names.dedup();
    let row = |name: &String| Row {
        name: name.clone(),
        now: now.get(name).copied(),
        before: before.get(name).copied(),
    };
    names.into_iter().map(row).collect()
}

fn print(rows: &[Row], json: bool) {
    if !json {
        println!(
            "{:<34} {:>9} {:>9} {:>9}",
            "instructions a packet", "now", "baseline", "change"
        );
    }
    for row in rows {
        match json {
            true => println!(
                "{}",
                json!({"bench": row.name, "unit": "instructions/packet", "now": row.now.map(round),
                       "baseline": row.before, "met": row.is_good()})
            ),
            false => println!("{}", row.text()),
        }
    }
}

/// Runs the benchmarks; instructions of each.
fn count(paths: &Paths) -> Result<BTreeMap<String, u64>> {
    set_up(paths)?;
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args([
        "bench",
        "--quiet",
        "--package",
        "barline-benches",
        // Without the programs beside it: cargo would link them too.
        "--no-default-features",
        "--bench",
        "instructions",
    ]);
    cargo.arg("--target-dir").arg(&paths.target);
    cargo
        .args(["--", "--output-format=json"])
        .current_dir(&paths.root);
    // For the baseline CPU, whatever the caller likes: valgrind does not know AVX-512, and counts have to be comparable.
    cargo.env("RUSTFLAGS", "").env_remove("CARGO_ENCODED_RUSTFLAGS");
    let text = cmd::text(&mut cargo)?;
    let counts: Option<BTreeMap<String, u64>> = text.lines().map(parse).collect();
    let counts = counts.with_context(|| format!("{RUNNER} does not say what it did: {text}"))?;
    if counts.is_empty() {
        bail!("there is no benchmark in benches/benches/instructions.rs");
    }
    Ok(counts)
}

/// Name and instructions of one line of the runner's JSON.
fn parse(line: &str) -> Option<(String, u64)> {
    let summary: Value = serde_json::from_str(line).ok()?;
    let name = format!(
        "{}/{}",
        summary["function_name"].as_str()?,
        summary["id"].as_str()?
    );
    let values = &summary["profiles"][0]["data"]["total"]["metrics"]["Ir"]["values"];
    // Beside the last run's, where there was one.
    let count = values.get("new").or_else(|| values.get("both")?.get(0))?;
    Some((name, count.as_u64()?))
}

/// Gets valgrind and the runner, where things can be installed; says what is missing where not.
pub fn set_up(paths: &Paths) -> Result<()> {
    if !on_path("valgrind") {
        need_package("valgrind")?;
    }
    let version = locked(&paths.root.join("Cargo.lock"), "gungraun")?;
    let there = cmd::text(Command::new(RUNNER).arg("--version"));
    if there.is_ok_and(|text| text.split_whitespace().last() == Some(&*version)) {
        return Ok(());
    }
    let install = ["install", "--locked", "--quiet", "--version", &version, RUNNER];
    let automatic = can_install() || env::var("CI").is_ok_and(|value| value == "true");
    if !automatic {
        let line = install.join(" ");
        return Err(Missing(vec![format!("{RUNNER} {version}: `cargo {line}`")]).into());
    }
    eprintln!("setup: {RUNNER} {version}");
    cmd::output(Command::new("cargo").args(install)).map(drop)
}

/// The version of a package in Cargo's lock file.
fn locked(file: &Path, package: &str) -> Result<String> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let entry = format!("name = \"{package}\"\nversion = \"");
    let version = text
        .split_once(&entry)
        .and_then(|(_, rest)| rest.split('"').next());
    version
        .map(str::to_owned)
        .with_context(|| format!("{package} is not in {}", file.display()))
}

/// The compiler's version: `1.95.0`.
fn rustc() -> Result<String> {
    let text = cmd::text(Command::new("rustc").arg("--version"))?;
    let version = text.split_whitespace().nth(1);
    version
        .map(str::to_owned)
        .context("rustc does not tell its version")
}

/// Three digits after the point: an instruction in a burst of 32 is 0.031.
fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_found_in_what_the_runner_prints() {
        let line = |values: &str| {
            format!(
                r#"{{"function_name":"igb","id":"burst_32","profiles":[{{"data":{{"total":{{"metrics":{{"Ir":{{"values":{values}}}}}}}}}}}]}}"#
            )
        };
        let wanted = Some(("igb/burst_32".to_owned(), 7));
        assert_eq!(parse(&line(r#"{"new":7}"#)), wanted);
        assert_eq!(parse(&line(r#"{"both":[7,9],"diff":{}}"#)), wanted);
        assert_eq!(parse("error"), None);
    }

    #[test]
    fn three_per_cent_more_are_kept_and_a_benchmark_in_one_only_is_not() {
        let one = |name: &str, value| BTreeMap::from([(name.to_owned(), value)]);
        let good = |now, before| rows(&now, &before).iter().all(Row::is_good);
        assert!(good(one("a", 102.9), one("a", 100.0)));
        assert!(!good(one("a", 103.1), one("a", 100.0)));
        assert!(good(one("a", 50.0), one("a", 100.0)));
        let both = rows(&one("a", 1.0), &one("b", 1.0));
        assert_eq!(both.len(), 2);
        assert!(
            both.iter()
                .all(|row| !row.is_good() && row.text().contains("FAILED"))
        );
    }

    #[test]
    fn the_runner_is_of_the_locked_version() {
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
        assert!(locked(&file, "gungraun").unwrap().starts_with("0."));
        assert!(locked(&file, "no such").is_err());
    }
}
