//! Packet generator and RFC 2544 tester: `pktgen --help`.
#![forbid(unsafe_code)]

mod output;

use barline_app::{Failure, signals};
use clap::Parser;
use output::Output;
use pktgen::{Options, Rig, Settings};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("pktgen: {failure}");
            failure.exit_code()
        }
    }
}

fn run(options: Options) -> Result<(), Failure> {
    let options = options.with_file()?;
    let settings = Settings::new(&options)?;
    // Before the devices: from here on a signal finds them stopped.
    let stop = signals()?;
    let mut rig = Rig::start(&settings, &stop)?;
    let mut output = Output::new(settings.json);
    let watched = watch(&settings, &mut rig, &mut output, &stop);
    let (account, result) = rig.stop();
    let printed = output.summary(&account);
    result.and(watched).and(printed)?;
    if settings.is_marked() && account.came_to_nothing() {
        return Err(Failure::run(
            "of all marked packets none came back: is the far side connected and forwarding to one of these ports?",
        ));
    }
    Ok(())
}

const SECOND: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(20);

/// Waits for the end: the time is up, all is sent, a signal came, a port died, nobody reads what is printed.
fn watch(settings: &Settings, rig: &mut Rig, output: &mut Output, stop: &AtomicBool) -> Result<(), Failure> {
    let mut more = output.started(&rig.account())?;
    rig.begin()?;
    let begin = Instant::now();
    let end = settings.duration.map(|duration| begin + duration);
    let mut report = begin + SECOND;
    while more && !stop.load(Ordering::SeqCst) {
        let now = Instant::now();
        if end.is_some_and(|end| now >= end) || rig.is_done() {
            break;
        }
        if rig.has_failed() {
            return Err(Failure::run("a worker has failed"));
        }
        if let Some(died) = rig.died() {
            return Err(Failure::run(died));
        }
        if now >= report {
            more = output.stats(&rig.account())?;
            report += SECOND;
        }
        sleep(
            end.map_or(TICK, |end| end.saturating_duration_since(now))
                .min(TICK),
        );
    }
    Ok(())
}
