//! `cargo xtask test`: every check and test, with a table at the end.

mod lanes;

use crate::bench::instructions::{self, Verdict};
use crate::cmd;
use crate::host::{self, Missing};
use crate::kmod;
use crate::loom;
use crate::netns;
use crate::paths::{Paths, on_path};
use crate::sim;
use crate::testpmd;
use crate::vm;
use crate::vm::kernel::Series;
use crate::vm::scenario::{SCENARIOS, Scenario};
use anyhow::Result;
use std::env;
use std::process::Command;
use std::time::{Duration, Instant};

/// What `cargo xtask test` takes.
#[derive(Debug, clap::Args)]
pub struct TestArgs {
    /// Leave out the tests in virtual machines.
    #[arg(long)]
    no_vm: bool,
    /// Only print the names.
    #[arg(long)]
    list: bool,
    /// Virtual machines at a time, one of which waits for steps that run beside them [default: 3 with two processors or
    /// more, else 1]
    #[arg(long, hide_default_value = true)]
    guests: Option<std::num::NonZeroUsize>,
    /// Run only steps whose name contains one of these.
    names: Vec<String>,
}

/// How a step ended.
#[derive(Debug)]
pub enum Outcome {
    Passed(String),
    Failed(String),
    Skipped(String),
}

/// Results so far.
#[derive(Default)]
struct Tally {
    rows: Vec<(String, Outcome, Duration)>,
}

impl Tally {
    fn step(&mut self, name: &str, work: impl FnOnce() -> Result<Outcome>) {
        println!("==> {name}");
        let start = Instant::now();
        let outcome = work().unwrap_or_else(outcome_of);
        self.end(name, outcome, start.elapsed());
    }

    fn end(&mut self, name: &str, outcome: Outcome, time: Duration) {
        match &outcome {
            Outcome::Passed(_) => println!("PASSED {name}"),
            Outcome::Failed(why) => println!("FAILED {name}: {why}"),
            Outcome::Skipped(why) => println!("SKIPPED {name}: {why}"),
        }
        self.rows.push((name.to_owned(), outcome, time));
    }

    /// Prints the table; whether nothing failed.
    fn print(&self) -> bool {
        println!("\n{:<24} {:<8} {:>8}", "step", "result", "seconds");
        let mut counts = [0; 3];
        for (name, outcome, time) in &self.rows {
            let (index, word, text) = match outcome {
                Outcome::Passed(text) => (0, "passed", text),
                Outcome::Failed(text) => (1, "FAILED", text),
                Outcome::Skipped(text) => (2, "skipped", text),
            };
            counts[index] += 1;
            // The whole text is above; a table wants short lines.
            let first: String = text.lines().next().unwrap_or_default().chars().take(80).collect();
            println!("{name:<24} {word:<8} {:>8.1}  {first}", time.as_secs_f64());
        }
        println!(
            "{} passed, {} failed, {} skipped",
            counts[0], counts[1], counts[2]
        );
        counts[1] == 0
    }
}

/// What the machine lacks is no failure.
fn outcome_of(error: anyhow::Error) -> Outcome {
    match error.downcast::<Missing>() {
        Ok(missing) => Outcome::Skipped(missing.to_string()),
        Err(error) => Outcome::Failed(format!("{error:#}")),
    }
}

/// A step that runs a command of the workspace.
struct Local {
    name: &'static str,
    run: fn(&Paths) -> Result<Outcome>,
}

/// Steps that have the machine to themselves, in order: what is quick to fail, and what measures in real time.
const ALONE: &[Local] = &[
    Local {
        name: "fmt",
        run: |paths| cargo(paths, &["fmt", "--all", "--check"]),
    },
    Local {
        name: "clippy",
        run: clippy,
    },
    Local {
        name: "unit",
        run: unit,
    },
    Local {
        name: "doctest",
        run: |paths| cargo(paths, &["test", "--doc", "--workspace"]),
    },
    Local {
        name: "netns",
        run: netns::run,
    },
];

/// Steps one of which runs beside virtual machines, in order: first what the unit tests have built already, so that the
/// forwarder for the guests is built meanwhile.
const BESIDE: &[Local] = &[
    Local {
        name: "kmod-build",
        run: kmod_build,
    },
    Local {
        name: "kmod-lint",
        run: |paths| kmod::lint::run(paths).map(Outcome::Passed),
    },
    Local {
        name: "sim",
        run: |paths| sim::plans(paths, &sim::SimArgs::CI),
    },
    Local {
        name: "vhost-testpmd",
        run: testpmd::vhost::run,
    },
    Local {
        name: "virtio-user-testpmd",
        run: testpmd::virtio_user::run,
    },
    Local {
        name: "offload-testpmd",
        run: testpmd::offloads::run,
    },
    Local {
        name: "instructions",
        run: instructions,
    },
    Local {
        name: "loom",
        run: loom::run,
    },
    Local {
        name: "kmod-policy",
        run: kmod_policy,
    },
    Local {
        name: "deny",
        run: |paths| deny(paths, &["check", "licenses", "bans", "sources"]),
    },
    Local {
        name: "advisories",
        run: advisories,
    },
];

/// Every name of a step.
fn all_names() -> Vec<String> {
    let guests = SCENARIOS
        .iter()
        .flat_map(|scenario| scenario.kernels.iter().map(|series| scenario.run_name(*series)));
    ALONE
        .iter()
        .chain(BESIDE)
        .map(|step| step.name.to_owned())
        .chain(guests)
        .collect()
}

/// A word chooses the step of that name, or all whose name contains it when there is none.
fn is_chosen(words: &[String], all: &[String], name: &str) -> bool {
    let fits = |word: &String| {
        if all.contains(word) {
            word == name
        } else {
            name.contains(word.as_str())
        }
    };
    words.is_empty() || words.iter().any(fits)
}

/// Runs what was asked for; `false` when something failed.
pub fn run(paths: &Paths, args: &TestArgs) -> Result<bool> {
    let all = all_names();
    let chosen = |name: &str| is_chosen(&args.names, &all, name);
    let [alone, beside] = [ALONE, BESIDE]
        .map(|steps| -> Vec<&Local> { steps.iter().filter(|step| chosen(step.name)).collect() });
    let guests: Vec<(&Scenario, Series)> = SCENARIOS
        .iter()
        .flat_map(|scenario| scenario.kernels.iter().map(move |series| (scenario, *series)))
        .filter(|(scenario, series)| chosen(&scenario.run_name(*series)))
        .collect();
    if alone.is_empty() && beside.is_empty() && guests.is_empty() {
        let text = "no step has such a name: `cargo xtask test --list` prints them all";
        return Err(host::Usage(text.to_owned()).into());
    }
    if args.list {
        for step in alone.iter().chain(&beside) {
            println!("{}", step.name);
        }
        for (scenario, series) in guests {
            println!("{:<24} {}", scenario.run_name(series), scenario.about);
        }
        return Ok(true);
    }
    let mut tally = Tally::default();
    if guests.iter().any(|_| !args.no_vm) || beside.iter().any(|step| step.name.starts_with("kmod-")) {
        prepare(paths, &mut tally);
    }
    for step in alone {
        tally.step(step.name, || (step.run)(paths));
    }
    lanes::run(paths, args, beside, guests, &mut tally);
    Ok(tally.print())
}

/// Gets what VM tests and the kernel module need, where that goes without asking.
fn prepare(paths: &Paths, tally: &mut Tally) {
    if host::can_install() || env::var("CI").is_ok_and(|value| value == "true") {
        println!("==> setup");
        // Only worth a row when it fails: it is no test.
        if let Err(error) = host::setup(paths, false) {
            tally.step("setup", || Err(error));
        }
    }
}

/// Runs cargo in the workspace.
pub fn cargo(paths: &Paths, args: &[&str]) -> Result<Outcome> {
    // Cargo names itself to what it runs, so that the same toolchain does the rest.
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    cmd::run(Command::new(cargo).args(args).current_dir(&paths.root))?;
    Ok(Outcome::Passed(String::new()))
}

fn clippy(paths: &Paths) -> Result<Outcome> {
    cargo(
        paths,
        &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
    )
}

fn unit(paths: &Paths) -> Result<Outcome> {
    if on_path("cargo-nextest") {
        cargo(
            paths,
            &[
                "nextest",
                "run",
                "--workspace",
                "--no-tests",
                "pass",
                "--no-fail-fast",
            ],
        )
    } else {
        // No doc tests: they are a step of their own.
        cargo(
            paths,
            &["test", "--workspace", "--lib", "--bins", "--tests", "--examples"],
        )
    }
}

/// Instructions a packet, against the committed baseline.
fn instructions(paths: &Paths) -> Result<Outcome> {
    Ok(match instructions::check(paths, false)? {
        Verdict::Kept => Outcome::Passed(String::new()),
        Verdict::Exceeded => Outcome::Failed(
            "more than 3 % above benches/baselines/instructions.json; if it has to be, `cargo xtask bench \
             instructions --write`"
                .to_owned(),
        ),
        Verdict::OtherCompiler => Outcome::Skipped(
            "the baseline is of another compiler; `cargo xtask bench instructions --write` on a good commit, \
             then this again"
                .to_owned(),
        ),
    })
}

fn deny(paths: &Paths, arguments: &[&str]) -> Result<Outcome> {
    if !on_path("cargo-deny") {
        return Ok(Outcome::Skipped(
            "cargo-deny is not installed: `cargo install cargo-deny`".to_owned(),
        ));
    }
    let mut all = vec!["deny", "--log-level", "error"];
    all.extend(arguments);
    cargo(paths, &all)
}

/// Seconds that the module's policy code may take: one of its first walks over a list went round for ever.
const POLICY_LIMIT: &str = "900";

/// The policy of the kernel module under the address and undefined-behaviour sanitizers, with a limit.
fn kmod_policy(paths: &Paths) -> Result<Outcome> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut limited = Command::new("timeout");
    limited.args(["--kill-after=10", POLICY_LIMIT]).arg(cargo);
    limited.args(["test", "--quiet", "-p", "kmod-policy-tests", "--tests"]);
    limited
        .env("BARLINE_SANITIZE", "1")
        .env("CARGO_TARGET_DIR", paths.target.join("sanitize"));
    cmd::run(limited.current_dir(&paths.root))?;
    Ok(Outcome::Passed(
        "address and undefined-behaviour sanitizers".to_owned(),
    ))
}

/// The kernel module for every kernel that is there: W=1, sparse, no warning.
fn kmod_build(paths: &Paths) -> Result<Outcome> {
    let mut built = Vec::new();
    for series in Series::ALL {
        let kernel = match vm::kernel(paths, series) {
            Err(_) if series == Series::Debug => continue,
            kernel => kernel?,
        };
        let strict = kmod::build::Options {
            strict: true,
            faults: false,
        };
        kmod::build::module(paths, &kernel, strict)?;
        built.push(kernel.release);
    }
    Ok(Outcome::Passed(built.join(", ")))
}

/// Known vulnerabilities. The list of them is fetched over the network; a machine without one has to do without.
fn advisories(paths: &Paths) -> Result<Outcome> {
    if on_path("cargo-deny") {
        let mut fetch = Command::new("cargo");
        fetch.args(["deny", "fetch", "db"]).current_dir(&paths.root);
        if cmd::output(&mut fetch).is_err() {
            return Ok(Outcome::Skipped(
                "the advisory database cannot be fetched from here".to_owned(),
            ));
        }
    }
    deny(paths, &["check", "--disable-fetch", "advisories"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_name_chooses_one_step() {
        let all = all_names();
        let chosen = |word: &str| {
            all.iter()
                .filter(|name| is_chosen(&[word.to_owned()], &all, name))
                .count()
        };
        assert_eq!(chosen("boot-6.1"), 1);
        assert_eq!(chosen("boot"), 2);
        assert_eq!(chosen("no such"), 0);
        assert_eq!(
            all.iter().filter(|name| is_chosen(&[], &all, name)).count(),
            all.len()
        );
    }
}
