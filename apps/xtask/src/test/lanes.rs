//! The steps that run in virtual machines: several at a time, since a guest waits more than it works.

use super::{Outcome, Tally, TestArgs, outcome_of};
use crate::host::Tools;
use crate::paths::Paths;
use crate::vm;
use crate::vm::kernel::Series;
use crate::vm::qemu::Check;
use crate::vm::scenario::Scenario;
use anyhow::{Context, Result};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Guests at a time, where the machine has as many processors. More would wait for each other's.
const AT_A_TIME: usize = 2;

/// Times that a guest is run again after a fault of the emulator's.
const RETRIES: u32 = 2;

/// What faults of the emulator's own leave in the logs. On a loaded host QEMU 10 dies now and then of an assertion
/// (`iotlb_to_section`, in multi-threaded emulation); and a breakpoint that a kernel sets for a moment while it patches its
/// own code (`text_poke_bp`) was seen to be taken by another processor after it was gone.
const EMULATOR: &[(&str, &str)] = &[("qemu.log", "Assertion `"), ("console.log", "Oops: int3: 0000")];

/// A guest that has ended.
struct Ended {
    name: String,
    /// Its results, a line each.
    said: String,
    outcome: Outcome,
    time: Duration,
}

/// Runs the guests; their results come in the order of their ends.
pub fn run(paths: &Paths, args: &TestArgs, guests: &[(&Scenario, Series)], tally: &mut Tally) {
    if args.no_vm {
        for (scenario, series) in guests {
            let skipped = || Ok(Outcome::Skipped("--no-vm".to_owned()));
            tally.step(&scenario.run_name(*series), skipped);
        }
        return;
    }
    let lanes = args.guests.map_or_else(at_a_time, NonZeroUsize::get);
    let waiting = Mutex::new(guests.iter());
    let (ends, results) = channel();
    thread::scope(|scope| {
        for _ in 0..lanes {
            let (ends, waiting) = (ends.clone(), &waiting);
            scope.spawn(move || lane(paths, waiting, &ends));
        }
        drop(ends);
        for ended in results {
            println!("==> {}", ended.name);
            print!("{}", ended.said);
            tally.end(&ended.name, ended.outcome, ended.time);
        }
    });
}

fn at_a_time() -> usize {
    thread::available_parallelism().map_or(1, |processors| processors.get().min(AT_A_TIME))
}

/// Runs one waiting guest after the other.
fn lane(paths: &Paths, waiting: &Mutex<std::slice::Iter<'_, (&Scenario, Series)>>, ends: &Sender<Ended>) {
    let next = || waiting.lock().ok()?.next();
    while let Some((scenario, series)) = next() {
        let name = scenario.run_name(*series);
        println!("... {name}");
        let (start, logs) = (Instant::now(), paths.run_dir(&name));
        let checks =
            run_guest(paths, scenario, *series, &logs).with_context(|| format!("logs in {}", logs.display()));
        let (said, outcome) = match checks {
            Ok(checks) => (lines(&checks), verdict(&checks, &logs)),
            Err(error) => (String::new(), outcome_of(error)),
        };
        let time = start.elapsed();
        let ended = Ended {
            name,
            said,
            outcome,
            time,
        };
        if ends.send(ended).is_err() {
            return;
        }
    }
}

/// Runs a guest; again after a fault of the emulator's own, and only then: any other fault could be ours.
fn run_guest(paths: &Paths, scenario: &Scenario, series: Series, logs: &Path) -> Result<Vec<Check>> {
    let mut left = RETRIES;
    loop {
        let tools = Tools::find(paths)?;
        let result = scenario.run(paths, &tools, vm::kernel(paths, series)?, series);
        let good = result.as_ref().is_ok_and(|checks| checks.iter().all(|c| c.ok));
        let Some((log, words)) = emulator_fault(logs).filter(|_| !good && left > 0) else {
            return result;
        };
        left -= 1;
        println!("    a fault of the emulator's (\"{words}\" in {log}): running the guest again");
    }
}

/// The log and the words in it that tell of a fault of the emulator's.
fn emulator_fault(logs: &Path) -> Option<(&'static str, &'static str)> {
    let tells = |log: &str, words: &str| {
        std::fs::read(logs.join(log)).is_ok_and(|text| String::from_utf8_lossy(&text).contains(words))
    };
    EMULATOR.iter().copied().find(|(log, words)| tells(log, words))
}

/// The results of a guest.
fn lines(checks: &[Check]) -> String {
    let line = |check: &Check| {
        let word = if check.ok { "ok" } else { "FAIL" };
        format!("    {word:<4} {} {}\n", check.name, check.text)
    };
    checks.iter().map(line).collect()
}

/// A guest passes when all its results are good.
fn verdict(checks: &[Check], logs: &Path) -> Outcome {
    let bad: Vec<String> = checks
        .iter()
        .filter(|c| !c.ok)
        .map(|c| format!("{}: {}", c.name, c.text))
        .collect();
    if bad.is_empty() {
        Outcome::Passed(format!("{} checks", checks.len()))
    } else {
        Outcome::Failed(format!("{} (logs in {})", bad.join("; "), logs.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_faults_of_the_emulator_are_run_again() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(emulator_fault(dir.path()), None);
        std::fs::write(
            dir.path().join("console.log"),
            "Oops: general protection fault: 0000",
        )
        .expect("a file");
        assert_eq!(emulator_fault(dir.path()), None);
        std::fs::write(dir.path().join("qemu.log"), "f: Assertion `a < b' failed.").expect("a file");
        assert_eq!(emulator_fault(dir.path()), Some(EMULATOR[0]));
    }

    #[test]
    fn one_bad_result_fails_a_guest() {
        let good = Check::new("a", true, String::new());
        let bad = Check::new("b", false, "why".to_owned());
        let logs = Path::new("logs");
        assert!(matches!(verdict(&[], logs), Outcome::Passed(_)));
        let checks = [good, bad];
        assert!(matches!(verdict(&checks, logs), Outcome::Failed(why) if why.contains("b: why")));
        assert_eq!(lines(&checks), "    ok   a \n    FAIL b why\n");
    }
}
