use super::sleeper::{Sleeper, Woken};
use super::{Alarm, Armed, Cpu, IdlePolicy, Source};
use crate::telemetry::IdleStats;
use crossbeam::utils::CachePadded;
use std::hint::spin_loop;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a core does between polls that found nothing: it spins, then rests between polls, then arms every source,
/// looks once more, and sleeps until one of them, the alarm or its own bound wakes it. Any wake-up goes back to polling.
///
/// While there is work it costs one store a round: no clock, no system call, nothing armed.
#[derive(Debug)]
pub struct Idle {
    policy: IdlePolicy,
    sleeps: bool,
    /// Rounds without work in a row.
    quiet: u32,
    /// The first of them that looked at the clock.
    since: Instant,
    /// Next sleep while a source holds something.
    hold: Duration,
    cpu: Cpu,
    sleeper: Sleeper,
    alarm: Arc<Alarm>,
    stats: Arc<CachePadded<IdleStats>>,
}

/// Rounds without work before the clock is looked at: gaps between bursts under load are shorter.
const UNTIMED: u32 = 64;
/// First sleep while a source holds something.
const HOLD: Duration = Duration::from_millis(1);

impl Idle {
    /// For the calling thread, which is the one that `alarm` wakes.
    ///
    /// # Errors
    /// Out of file descriptors: three are needed.
    pub fn new(policy: IdlePolicy, alarm: &Arc<Alarm>) -> io::Result<Self> {
        let sleeper = Sleeper::new()?;
        sleeper.heed(alarm.event()?.as_fd())?;
        Ok(Self {
            policy,
            sleeps: policy.sleeps(),
            quiet: 0,
            since: Instant::now(),
            hold: HOLD,
            cpu: Cpu::detect(),
            sleeper,
            alarm: alarm.clone(),
            stats: Arc::default(),
        })
    }

    /// Sleeps, asleep times and wake-up latencies, to read from elsewhere.
    pub fn stats(&self) -> &Arc<CachePadded<IdleStats>> {
        &self.stats
    }

    /// Lets a source wake this core: once for each that [`Idle::turn`] is given.
    ///
    /// # Errors
    /// The kernel's word: too many watches.
    pub fn watch(&self, source: &impl Source) -> io::Result<()> {
        match source.wake_fd() {
            Some(fd) if self.sleeps => self.sleeper.watch(fd),
            _ => Ok(()),
        }
    }

    /// Ends [`Idle::watch`]: before a source goes elsewhere.
    pub fn forget(&self, source: &impl Source) {
        if let Some(fd) = source.wake_fd() {
            self.sleeper.forget(fd);
        }
    }

    /// A round of polls is over; `busy` if it found anything. `sources` is all that this core polls.
    #[inline(always)]
    pub fn turn<S: Source>(&mut self, busy: bool, sources: &mut [S]) {
        if busy {
            self.quiet = 0;
            return;
        }
        self.quiet = self.quiet.saturating_add(1);
        if self.quiet < UNTIMED || !self.sleeps {
            spin_loop();
        } else {
            self.rest(sources);
        }
    }

    #[cold]
    #[inline(never)]
    fn rest<S: Source>(&mut self, sources: &mut [S]) {
        if self.quiet == UNTIMED {
            (self.since, self.hold) = (Instant::now(), HOLD);
        }
        let quiet = self.since.elapsed();
        if quiet < self.policy.spin {
            spin_loop();
        } else if quiet < self.policy.spin + self.policy.pause {
            match sources {
                [only] => only.pause(self.cpu),
                _ => self.cpu.pause(),
            }
        } else {
            self.sleep(sources);
        }
    }

    /// Arms everything and looks again; sleeps if there still is nothing.
    fn sleep<S: Source>(&mut self, sources: &mut [S]) {
        if !self.alarm.arm() {
            // The caller's loop looks at the news before it polls.
            return;
        }
        let (mut worst, mut armed) = (Armed::Wakes, 0);
        for source in sources.iter_mut() {
            worst = worst.max(source.arm());
            armed += 1;
            if worst == Armed::Pending {
                break;
            }
        }
        let slept = self.bound(worst).map(|bound| self.sleep_for(bound));
        self.alarm.disarm();
        sources[..armed].iter_mut().for_each(Source::disarm);
        match slept {
            None => self.stats.refused.add(1),
            // Nothing came: look once, then sleep on.
            Some(Woken::Timer(_)) => return,
            Some(Woken::Source | Woken::Alarm) => {}
        }
        self.quiet = 0;
    }

    /// How long to sleep, if at all.
    fn bound(&mut self, worst: Armed) -> Option<Duration> {
        match worst {
            Armed::Pending => None,
            Armed::Silent => Some(self.policy.nap.min(self.policy.sleep)),
            Armed::Holds => {
                let hold = self.hold;
                self.hold = (hold * 2).min(self.policy.sleep);
                Some(hold.min(self.policy.sleep))
            }
            Armed::Wakes => Some(self.policy.sleep),
        }
    }

    fn sleep_for(&self, bound: Duration) -> Woken {
        let begin = Instant::now();
        let woken = self.sleeper.sleep(bound).unwrap_or_else(|error| {
            // Polling goes on; only the rest is lost.
            tracing::warn!(%error, "a core cannot sleep");
            Woken::Source
        });
        let stats = &**self.stats;
        stats.asleep_ns.add(begin.elapsed().as_nanos() as u64);
        stats.sleeps.add(1);
        match woken {
            Woken::Source => stats.source_wakes.add(1),
            Woken::Alarm => {
                stats.alarm_wakes.add(1);
                let late = super::clock::now_ns().saturating_sub(self.alarm.rung_at());
                stats.wake_latency.record(late);
            }
            Woken::Timer(late) => {
                stats.timer_wakes.add(1);
                stats.wake_latency.record(late);
            }
        }
        woken
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
