//! The two sides of a comparison: programs that run a window when they are told, and stand still otherwise.

use super::program::{Program, Times};
use super::telemetry::Telemetry;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fmt::Debug;
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The cores of a comparison.
#[derive(Debug, Clone, Copy)]
pub struct Cores {
    /// The one that polls.
    pub poller: usize,
    /// The one for everything else, and for the second poller of two-core work.
    pub other: usize,
    /// Whether both poll.
    pub both: bool,
}

/// One window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Packets, or objects.
    pub packets: u64,
    /// Length in nanoseconds.
    pub nanos: f64,
    /// Cycles of the poller, or of all pollers that work side by side; `None` when only the time is known.
    pub cycles: Option<f64>,
    /// Share of the time that other programs took.
    pub stolen: f64,
    /// Share of the length that is not known exactly.
    pub blur: f64,
    /// Of an end of a socket: what it worked.
    pub work: Option<Work>,
}

/// What the compared end of a socket worked in a window. Bursts that moved nothing are waiting, not work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    /// Cycles a packet.
    pub cycles: f64,
    /// Share of the window.
    pub share: f64,
    /// The other end's share.
    pub other: f64,
}

/// A program that runs windows.
pub trait Side: Debug {
    /// Runs one.
    fn window(&mut self, length: Duration) -> Result<Sample>;
}

/// A program that answers `go MILLISECONDS` with a line of JSON: `barline-peer` and `dpdk-peer`.
#[derive(Debug)]
pub struct Requests {
    program: Program,
    _runtime: Option<TempDir>,
}

impl Requests {
    /// Waits until it is ready.
    pub fn new(mut program: Program, runtime: Option<TempDir>) -> Result<Self> {
        program.hear(|line| json(line)?.get("ready")?.as_bool())?;
        program.prefer();
        Ok(Self {
            program,
            _runtime: runtime,
        })
    }

    /// Sends a request; the answer and the share of stolen time.
    pub fn ask(&mut self, length: Duration) -> Result<(Value, f64)> {
        let before = self.program.times();
        self.program.tell(&format!("go {}", length.as_millis()))?;
        let answer = self.program.hear(json)?;
        let stolen = self.program.times().stolen_since(&before, length);
        Ok((answer, stolen))
    }
}

impl Side for Requests {
    fn window(&mut self, length: Duration) -> Result<Sample> {
        let (answer, stolen) = self.ask(length)?;
        let number = |name: &str| answer.get(name).and_then(Value::as_f64);
        let (cycles, packets, nanos) = (number("cycles"), number("packets"), number("nanos"));
        let (Some(packets), Some(nanos)) = (packets, nanos) else {
            bail!("an answer without packets and nanos: {answer}");
        };
        Ok(Sample {
            packets: packets as u64,
            nanos,
            cycles,
            stolen,
            blur: 0.0,
            work: None,
        })
    }
}

/// One JSON object; other lines are the program's own talk.
fn json(line: &str) -> Option<Value> {
    serde_json::from_str(line).ok().filter(Value::is_object)
}

/// A DPDK program that forwards all the time. It is frozen between windows, and its port counters are read through
/// its telemetry socket at the start and at the end of one: nothing is added to its packet path.
#[derive(Debug)]
pub struct Counted {
    program: Program,
    telemetry: Telemetry,
    sends: bool,
    ports: u16,
    _runtime: TempDir,
}

/// Time to get back to speed after a freeze.
pub const WARM: Duration = Duration::from_millis(10);

struct Reading {
    count: u64,
    at: Instant,
    took: Duration,
    times: Times,
}

impl Counted {
    /// Waits until it forwards between two ports.
    pub fn new(program: Program, runtime: TempDir, sends: bool) -> Result<Self> {
        Self::with_ports(program, runtime, sends, 2)
    }

    /// Waits until it has received or sent on one of so many ports.
    pub fn with_ports(mut program: Program, runtime: TempDir, sends: bool, ports: u16) -> Result<Self> {
        let socket = Telemetry::socket(runtime.path());
        let end = Instant::now() + Duration::from_secs(30);
        let telemetry = loop {
            // A port that has received nothing has not been started.
            let talks = Telemetry::connect(&socket);
            let runs = talks
                .as_ref()
                .is_ok_and(|talks| talks.packets(ports).is_ok_and(|all| all.sent + all.received > 0));
            match talks {
                Ok(talks) if runs => break talks,
                _ if program.has_ended() => bail!("DPDK ended early: {}", program.complaint()),
                Err(error) if Instant::now() > end => return Err(error),
                Ok(_) if Instant::now() > end => bail!("DPDK forwards nothing: {}", program.complaint()),
                _ => sleep(Duration::from_millis(50)),
            }
        };
        program.prefer();
        program.freeze()?;
        Ok(Self {
            program,
            telemetry,
            sends,
            ports,
            _runtime: runtime,
        })
    }

    fn read(&self) -> Result<Reading> {
        let times = self.program.times();
        let start = Instant::now();
        let packets = self.telemetry.packets(self.ports)?;
        let took = start.elapsed();
        Ok(Reading {
            count: if self.sends {
                packets.sent
            } else {
                packets.received
            },
            at: start + took / 2,
            took,
            times,
        })
    }

    /// The program, to talk to.
    pub fn program(&mut self) -> &mut Program {
        &mut self.program
    }

    /// A window of a program that is thawed and warm.
    pub fn measure(&self, length: Duration) -> Result<Sample> {
        let from = self.read()?;
        sleep(length);
        let to = self.read()?;
        let passed = to.at - from.at;
        Ok(Sample {
            packets: to.count.checked_sub(from.count).context("a counter went back")?,
            nanos: passed.as_nanos() as f64,
            cycles: None,
            stolen: to.times.stolen_since(&from.times, passed),
            blur: (from.took + to.took).as_secs_f64() / 2.0 / passed.as_secs_f64(),
            work: None,
        })
    }
}

impl Side for Counted {
    fn window(&mut self, length: Duration) -> Result<Sample> {
        self.program.thaw()?;
        sleep(WARM);
        let sample = self.measure(length);
        self.program.freeze()?;
        sample
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Interrupt;
    use std::path::Path;

    #[test]
    fn a_program_that_answers_requests() {
        let dir = tempfile::tempdir().unwrap();
        let script = "echo talk; echo '{\"ready\":true}'; while read -r line; do \
                      echo '{\"cycles\":300,\"packets\":100,\"nanos\":50}'; done";
        let log = dir.path().join("log");
        let program =
            Program::start(Path::new("sh"), &["-c", script], &[], &log, &Interrupt::default()).unwrap();
        let mut side = Requests::new(program, None).unwrap();
        let sample = side.window(Duration::from_millis(1)).unwrap();
        assert_eq!((sample.packets, sample.cycles), (100, Some(300.0)));
    }
}
