//! Layer-2 forwarder between port pairs: `l2fwd --help`.
#![forbid(unsafe_code)]

mod output;
mod passed;

use barline_app::{exit, signals};
use clap::Parser;
use l2fwd::{Failure, Forwarder, LINK_WAIT, Options, Settings};
use output::Output;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    exit("l2fwd", run(Options::parse()))
}

fn run(options: Options) -> Result<(), Failure> {
    let mut options = options.with_file()?;
    let devices = passed::devices(&mut options)?;
    let settings = Settings::new(&options)?;
    // Before the devices: from here on a signal finds them stopped.
    let stop = signals()?;
    let mut forwarder = Forwarder::start_with(&settings, devices)?;
    if let Some(advice) = forwarder.advice(&settings) {
        eprintln!("l2fwd: {advice}");
    }
    let mut output = Output::new(settings.json);
    let watched = watch(&settings, &mut forwarder, &mut output, &stop);
    let (account, result) = forwarder.stop();
    let printed = output.summary(&account);
    result.and(watched).and(printed)
}

const SECOND: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(20);
/// A feed that has come to its end is forwarded when nothing was received for so long.
const QUIET: Duration = Duration::from_millis(200);

/// Waits for the end: the time is up, a signal came, the feed is forwarded, nobody reads what is printed.
fn watch(
    settings: &Settings,
    forwarder: &mut Forwarder,
    output: &mut Output,
    stop: &AtomicBool,
) -> Result<(), Failure> {
    let stopped = || stop.load(Ordering::SeqCst);
    let links = Instant::now() + LINK_WAIT;
    while !forwarder.links_up() && !stopped() && Instant::now() < links {
        sleep(TICK);
    }
    if !stopped() {
        for line in forwarder.without_link() {
            eprintln!("l2fwd: {line}");
        }
        if !settings.json {
            forwarder
                .modes()
                .iter()
                .for_each(|line| eprintln!("l2fwd: {line}"));
        }
    }
    let begin = Instant::now();
    let end = settings.duration.map(|duration| begin + duration);
    let (mut report, mut received, mut last) = (begin + SECOND, 0, begin);
    let mut more = output.started(&forwarder.account(), settings)?;
    while more && !stopped() && !forwarder.has_failed() {
        let now = Instant::now();
        if end.is_some_and(|end| now >= end) {
            return Ok(());
        }
        if now >= report {
            more = output.stats(&forwarder.account())?;
            report += SECOND;
        }
        if forwarder.is_dry() {
            let so_far = forwarder.received();
            if so_far != received {
                (received, last) = (so_far, now);
            } else if now > last + QUIET {
                return Ok(());
            }
        }
        let left = end.map_or(TICK, |end| end.saturating_duration_since(now));
        for incident in forwarder.attend(left.min(TICK)) {
            more &= output.incident(&incident)?;
        }
    }
    Ok(())
}
