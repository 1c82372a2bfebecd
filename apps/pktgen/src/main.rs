//! Packet generator and RFC 2544 tester: `pktgen --help`.
#![forbid(unsafe_code)]

mod control;
mod output;
mod screen;

use barline_app::{Failure, exit, print, signals};
use barline_traffic::rfc2544::{Load, Progress};
use clap::Parser;
use control::Control;
use output::Output;
use pktgen::{Job, Options, Rig, Settings};
use screen::Screen;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    exit("pktgen", run(Options::parse()))
}

fn run(options: Options) -> Result<(), Failure> {
    let options = options.with_file()?;
    if let Some((job, settings)) = Job::new(&options)? {
        return test(&job, &settings);
    }
    let settings = Settings::new(&options)?;
    // Before the devices: from here on a signal finds them stopped.
    let stop = signals()?;
    let control = settings.control.as_deref().map(Control::open).transpose()?;
    let mut rig = Rig::start(&settings, &stop)?;
    let mut output = Output::new(settings.json);
    let watched = watch(&settings, control, &mut rig, &mut output, &stop);
    if !stop.load(Ordering::SeqCst) {
        // A signal that comes now ends the waiting; one that came before ended the sending.
        rig.settle(&stop);
    }
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

/// RFC 2544: progress on the standard error, results at the end.
fn test(job: &Job, settings: &Settings) -> Result<(), Failure> {
    let stop = signals()?;
    let mut rig = Rig::start(settings, &stop)?;
    let mut tell = |progress: &Progress, left: Duration| {
        let load = match progress.load {
            Load::Rate { pps, .. } => format!("{pps:.0} pps"),
            Load::Burst(frames) => format!("{frames} frames"),
        };
        eprintln!(
            "pktgen: {} of {} bytes: {load}: {} of {} lost{}; about {:.0} s left",
            progress.test.name(),
            progress.size,
            progress.outcome.lost(),
            progress.outcome.sent,
            if progress.outcome.behind {
                " (the sender was too slow)"
            } else {
                ""
            },
            left.as_secs_f64(),
        );
    };
    let (report, result) = job.run(&mut rig, &stop, &mut tell);
    // Every trial has waited for its packets; after a signal nobody waits again.
    rig.settle(&stop);
    let (account, stopped) = rig.stop();
    let mut output = Output::new(settings.json);
    let printed = match settings.json {
        true => output.report(&report).and_then(|()| output.summary(&account)),
        false => print(&report.table()).map(drop),
    };
    result.and(stopped).and(printed)
}

const SECOND: Duration = Duration::from_secs(1);
/// Between two pictures of the screen.
const FRAME: Duration = Duration::from_millis(250);
const TICK: Duration = Duration::from_millis(20);

/// Waits for the end: the time is up, all is sent, a signal or an order came, a port died, nobody reads what is printed.
fn watch(
    settings: &Settings,
    mut control: Option<Control>,
    rig: &mut Rig,
    output: &mut Output,
    stop: &AtomicBool,
) -> Result<(), Failure> {
    let mut screen = output.wants_screen().then(Screen::open).transpose()?;
    let mut more = output.started(&rig.account())?;
    rig.begin()?;
    let begin = Instant::now();
    let end = settings.duration.map(|duration| begin + duration);
    let mut report = begin + SECOND;
    while more && !stop.load(Ordering::SeqCst) {
        let now = Instant::now();
        if end.is_some_and(|end| now >= end) || (rig.is_done() && !rig.is_held()) {
            break;
        }
        if rig.has_failed() {
            return Err(Failure::run("a worker has failed"));
        }
        if let Some(died) = rig.died() {
            return Err(Failure::run(died));
        }
        if control.as_mut().is_some_and(|control| control.attend(rig)) {
            break;
        }
        let tick = end
            .map_or(TICK, |end| end.saturating_duration_since(now))
            .min(TICK);
        if let Some(screen) = &mut screen {
            if now >= report {
                screen.show(&rig.account(), rig)?;
                report = now + FRAME;
            }
            if screen.attend(rig, tick)? {
                break;
            }
            continue;
        }
        if now >= report {
            more = output.stats(&rig.account())?;
            report += SECOND;
        }
        sleep(tick);
    }
    Ok(())
}
