//! Windows of measurement: work that runs for a while on threads of its own, each pinned to its core, and then
//! stands still until it is told to run again.

use crate::tsc;
use crate::work::Work;
use anyhow::{Context, Result, bail};
use core_affinity::CoreId;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What one core did in one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Counts of [`tsc::now`], without those of a device that was played.
    pub cycles: u64,
    /// Its length in nanoseconds.
    pub nanos: u64,
    /// Packets, or objects, that came through.
    pub packets: u64,
}

/// Rounds between two looks at the clock: a look costs more than a packet, so it has to be rare.
const ROUNDS: u32 = 64;

/// Runs one window on the calling thread.
pub fn run(work: &mut dyn Work, length: Duration) -> Window {
    work.foreign();
    let (start, from) = (Instant::now(), tsc::now());
    let mut packets = 0;
    loop {
        packets += work.rounds(ROUNDS);
        let nanos = start.elapsed();
        if nanos >= length {
            let cycles = tsc::now().wrapping_sub(from).saturating_sub(work.foreign());
            let nanos = nanos.as_nanos() as u64;
            return Window {
                cycles,
                nanos,
                packets,
            };
        }
    }
}

#[derive(Debug)]
struct Core {
    orders: Sender<Duration>,
    answers: Receiver<Window>,
    thread: JoinHandle<()>,
}

/// Threads that run windows together, one a core. Between windows they sleep.
#[derive(Debug)]
pub struct Crew(Vec<Core>);

impl Crew {
    /// One thread for each piece of work, on the core of the same index.
    ///
    /// # Errors
    /// Too few cores, or one that this process may not use.
    pub fn start(works: Vec<Box<dyn Work>>, cores: &[usize]) -> Result<Self> {
        if works.len() > cores.len() {
            bail!("this takes {} cores, {} are given", works.len(), cores.len());
        }
        let barrier = Arc::new(Barrier::new(works.len()));
        let start = |(work, core): (Box<dyn Work>, &usize)| spawn(work, core_of(*core)?, barrier.clone());
        Ok(Self(
            works.into_iter().zip(cores).map(start).collect::<Result<_>>()?,
        ))
    }

    /// Runs one window on all cores; one answer a core.
    ///
    /// # Errors
    /// A thread that has panicked.
    pub fn window(&mut self, length: Duration) -> Result<Vec<Window>> {
        for core in &self.0 {
            core.orders.send(length).context("a worker is gone")?;
        }
        let answer = |core: &Core| core.answers.recv().context("a worker has panicked");
        self.0.iter().map(answer).collect()
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for core in self.0.drain(..) {
            drop(core.orders);
            // A panic has been printed by its thread, and shown to the caller as an answer that did not come.
            core.thread.join().ok();
        }
    }
}

/// The core of that number.
///
/// # Errors
/// This process may not use it: an id that the kernel does not know must never reach the affinity call.
pub fn core_of(number: usize) -> Result<CoreId> {
    let ids = core_affinity::get_core_ids().context("the kernel does not tell which cores there are")?;
    let found = ids.into_iter().find(|core| core.id == number);
    found.with_context(|| format!("there is no core {number} for this process"))
}

fn spawn(mut work: Box<dyn Work>, core: CoreId, barrier: Arc<Barrier>) -> Result<Core> {
    let (orders, inbox) = channel::<Duration>();
    let (outbox, answers) = channel();
    let thread = thread::Builder::new()
        .name(format!("core-{}", core.id))
        .spawn(move || {
            core_affinity::set_for_current(core);
            for length in inbox {
                barrier.wait();
                let window = run(&mut *work, length);
                // Nobody stops before everybody is done: a partner that is left alone would measure nothing.
                if outbox.send(window).is_err() {
                    break;
                }
            }
        });
    let thread = thread.context("cannot start a thread")?;
    Ok(Core {
        orders,
        answers,
        thread,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::Rounds;

    #[test]
    fn a_window_counts_what_was_done_and_lasts_as_long_as_asked() {
        let mut done = 0;
        let mut work = Rounds(|| {
            done += 3;
            3
        });
        let window = run(&mut work, Duration::from_millis(5));
        assert!(window.nanos >= 5_000_000 && window.cycles > 0, "{window:?}");
        assert_eq!(window.packets, done);
    }

    #[test]
    fn a_core_that_is_not_there_is_refused() {
        let works: Vec<Box<dyn Work>> = vec![Box::new(Rounds(|| 1))];
        assert!(Crew::start(works, &[100_000]).is_err());
        assert!(Crew::start(vec![Box::new(Rounds(|| 1))], &[]).is_err());
    }
}
