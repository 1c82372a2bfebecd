//! What is told: that frames come back, counts at the end, and what may explain a failure.

use barline::port::{Port, Queues};
use std::time::{Duration, Instant};

/// Every so often a line tells that frames come back, and how many did.
pub struct Progress {
    frames: u64,
    told: Instant,
}

impl Progress {
    pub fn new() -> Self {
        Self {
            frames: 0,
            told: Instant::now(),
        }
    }

    pub fn add(&mut self, frames: u64) {
        self.frames += frames;
        if frames > 0 && self.told.elapsed() > Duration::from_secs(5) {
            println!("so far {} frames", self.frames);
            self.told = Instant::now();
        }
    }
}

/// Counts of what no peer should do.
pub fn faults(port: &mut dyn Port, queues: &Queues) -> u64 {
    let mut faults = 0;
    let mut look = |name: &'static str, value: u64| {
        println!("{name} {value}");
        let is_fault = name.starts_with("peer_bad")
            || ["_bad_ids", "_overruns", "_lengths"]
                .iter()
                .any(|end| name.ends_with(end));
        faults += if is_fault { value } else { 0 };
    };
    port.counters(&mut look);
    queues.rx.iter().for_each(|rx| rx.counters().each(&mut look));
    queues.tx.iter().for_each(|tx| tx.counters().each(&mut look));
    faults
}

/// What may tell why a frame is wrong or missing.
pub fn explain(port: &mut dyn Port, queues: &Queues) {
    let mut show = |name: &'static str, value: u64| eprint!("{name} {value}, ");
    port.counters(&mut show);
    queues.rx.iter().for_each(|rx| rx.counters().each(&mut show));
    queues.tx.iter().for_each(|tx| tx.counters().each(&mut show));
    while let Some(event) = port.event() {
        eprint!("{event:?}, ");
    }
    eprintln!("link {:?}", port.link());
}
