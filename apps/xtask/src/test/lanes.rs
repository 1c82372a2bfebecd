//! The steps that run in virtual machines: several at a time, since a guest waits more than it works; and beside them, one
//! after the other, those steps that do not mind.

use super::TestArgs;
use super::steps::Local;
use super::tally::{Outcome, Tally, outcome_of};
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
use std::vec::IntoIter;

/// Steps at a time where the machine has two processors or more: most guests wait for a good part of their time.
const AT_A_TIME: usize = 3;

/// Times that a guest is run again after a fault of the emulator's.
const RETRIES: u32 = 2;

/// What faults of the emulator's own leave in the logs. On a loaded host QEMU 10 dies now and then of an assertion
/// (`iotlb_to_section`, in multi-threaded emulation); and a breakpoint that a kernel sets for a moment while it patches its
/// own code (`text_poke_bp`) was seen to be taken by another processor after it was gone.
const EMULATOR: &[(&str, &str)] = &[("qemu.log", "Assertion `"), ("console.log", "Oops: int3: 0000")];

/// A step that has ended.
struct Ended {
    name: String,
    /// Its results, a line each; a local step has shown what it had to say.
    said: String,
    outcome: Outcome,
    time: Duration,
}

/// What waits for a lane.
struct Waiting<'a> {
    local: Mutex<IntoIter<&'a Local>>,
    guests: Mutex<IntoIter<(&'a Scenario, Series)>>,
}

/// Runs the local steps in one lane, the guests in the others and, afterwards, in that one too; results come in the order of
/// the ends.
pub fn run(
    paths: &Paths,
    args: &TestArgs,
    local: Vec<&Local>,
    mut guests: Vec<(&Scenario, Series)>,
    tally: &mut Tally,
) {
    if args.no_vm {
        for (scenario, series) in guests.drain(..) {
            let skipped = || Ok(Outcome::Skipped("--no-vm".to_owned()));
            tally.step(&scenario.run_name(series), skipped);
        }
    }
    let lanes = args.guests.map_or_else(at_a_time, NonZeroUsize::get);
    let waiting = Waiting {
        local: Mutex::new(local.into_iter()),
        guests: Mutex::new(guests.into_iter()),
    };
    let (ends, results) = channel();
    thread::scope(|scope| {
        for number in 0..lanes {
            let (ends, waiting) = (ends.clone(), &waiting);
            scope.spawn(move || {
                if number == 0 {
                    local_steps(paths, waiting, &ends);
                }
                lane(paths, waiting, &ends);
            });
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
    match thread::available_parallelism().map_or(1, NonZeroUsize::get) {
        1 => 1,
        _ => AT_A_TIME,
    }
}

/// Runs one local step after the other.
fn local_steps(paths: &Paths, waiting: &Waiting<'_>, ends: &Sender<Ended>) {
    let next = || waiting.local.lock().ok()?.next();
    while let Some(step) = next() {
        println!("... {}", step.name);
        let start = Instant::now();
        let outcome = (step.run)(paths).unwrap_or_else(outcome_of);
        let ended = Ended {
            name: step.name.to_owned(),
            said: String::new(),
            outcome,
            time: start.elapsed(),
        };
        if ends.send(ended).is_err() {
            return;
        }
    }
}

/// Runs one waiting guest after the other.
fn lane(paths: &Paths, waiting: &Waiting<'_>, ends: &Sender<Ended>) {
    let next = || waiting.guests.lock().ok()?.next();
    while let Some((scenario, series)) = next() {
        let name = scenario.run_name(series);
        println!("... {name}");
        let (start, logs) = (Instant::now(), paths.run_dir(&name));
        let checks =
            run_guest(paths, scenario, series, &logs).with_context(|| format!("logs in {}", logs.display()));
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
