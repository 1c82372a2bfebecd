//! What idleness costs and what it saves: `cargo run --release -p l2fwd --example first_frame [SECONDS]`
//!
//! A simulated port receives one frame a second, another one sends it on. In between the forwarder is idle. Shown are the
//! processor time of the whole process, the two simulated devices included, and the time from each frame's arrival at
//! the one NIC to its departure from the other, on the devices' own clocks.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use l2fwd::{Forwarder, Options, Settings};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use std::error::Error;
use std::thread::sleep;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let seconds = std::env::args().nth(1).map_or(Ok(20), |text| text.parse())?;
    let settings = Settings::new(&Options {
        ports: vec!["sim:82576,rate=1".into(), "sim:82576,rate=0".into()],
        busy: Some(std::env::args().nth(2).as_deref() == Some("busy")),
        ..Options::default()
    })?;
    let forwarder = Forwarder::start(&settings)?;
    let ends: Vec<_> = forwarder.far_ends().map(|end| end.times.clone()).collect();
    let (begin, before) = (Instant::now(), processor_time()?);
    sleep(Duration::from_secs(seconds));
    let share = (processor_time()? - before).as_secs_f64() / begin.elapsed().as_secs_f64();
    let (account, result) = forwarder.stop();
    result?;
    let (received, sent) = (ends[0].received(), ends[1].sent());
    let mut answers: Vec<Duration> = received
        .iter()
        .zip(&sent)
        .map(|(came, went)| *went - *came)
        .collect();
    answers.sort_unstable();
    let Some(last) = answers.last() else {
        return Err("no frame was forwarded; run it for some more seconds".into());
    };
    let core = &account.cores[0];
    println!(
        "processor time: {:.2} % of a core; the forwarding core was asleep {:.2} % of the time in {} sleeps",
        share * 100.0,
        core.asleep * 100.0,
        core.sleeps
    );
    println!(
        "first frame after a second's silence: {} of {} answered; median {:?}, fastest {:?}, slowest {last:?}",
        answers.len(),
        received.len(),
        answers[answers.len() / 2],
        answers[0]
    );
    Ok(())
}

/// User and system time of this process.
fn processor_time() -> Result<Duration, Box<dyn Error>> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(micros.try_into()?))
}
