//! `cargo xtask test`: every check and test, with a table at the end.

mod lanes;
mod steps;
mod tally;

use crate::host;
use crate::paths::Paths;
use crate::vm::kernel::Series;
use crate::vm::scenario::{SCENARIOS, Scenario};
use anyhow::Result;
use std::env;
use std::io::{Write, stdout};
use std::num::NonZeroUsize;
use steps::{ALONE, BESIDE, Local};
pub use tally::Outcome;
use tally::Tally;

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
    guests: Option<NonZeroUsize>,
    /// Run only steps whose name contains one of these.
    names: Vec<String>,
}

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

/// Whether the word chooses any step.
#[cfg(test)]
pub fn is_step(word: &str) -> bool {
    let all = all_names();
    let words = [word.to_owned()];
    all.iter().any(|name| is_chosen(&words, &all, name))
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
            writeln!(stdout(), "{}", step.name)?;
        }
        for (scenario, series) in guests {
            writeln!(stdout(), "{:<24} {}", scenario.run_name(series), scenario.about)?;
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
