//! The time that devices and their drivers go by.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The machine's clock, or one that stands still until somebody waits. Devices that share one share its time.
#[derive(Debug)]
pub struct Clock {
    start: Instant,
    /// Nanoseconds since the start, and how many are too many; `None` goes by the machine.
    made: Option<(AtomicU64, u64)>,
}

impl Clock {
    /// The machine's time.
    pub fn real() -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            made: None,
        })
    }

    /// A time of its own: waiting moves it on and takes none. Whoever waits past `most` hangs, which is a panic.
    pub fn virtual_until(most: Duration) -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            made: Some((AtomicU64::new(0), most.as_nanos() as u64)),
        })
    }

    /// Time since the clock was made.
    pub fn elapsed(&self) -> Duration {
        match &self.made {
            None => self.start.elapsed(),
            Some((now, _)) => Duration::from_nanos(now.load(Ordering::Relaxed)),
        }
    }

    /// Now, in the form in which limits are kept.
    pub fn now(&self) -> Instant {
        self.start + self.elapsed()
    }

    /// Lets time pass.
    ///
    /// # Panics
    /// When a virtual clock passes its end: somebody waits without a limit.
    pub fn pass(&self, time: Duration) {
        match &self.made {
            None => std::thread::sleep(time),
            Some((_, most)) => {
                let now = self.moved(time);
                assert!(now <= *most, "hang: still waiting after {now} ns of virtual time");
            }
        }
    }

    /// What an access to a register takes, where time has to be made.
    pub(crate) fn access(&self) {
        if self.made.is_some() {
            self.pass(ACCESS);
        }
    }

    fn moved(&self, time: Duration) -> u64 {
        let time = time.as_nanos() as u64;
        self.made
            .as_ref()
            .map_or(0, |(now, _)| now.fetch_add(time, Ordering::Relaxed) + time)
    }
}

/// A register read over PCI Express, in round numbers.
const ACCESS: Duration = Duration::from_nanos(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtual_time_passes_by_waiting_alone() {
        let clock = Clock::virtual_until(Duration::from_secs(1));
        let begin = clock.now();
        clock.pass(Duration::from_millis(700));
        clock.access();
        assert_eq!(clock.now() - begin, Duration::from_millis(700) + ACCESS);
        assert_eq!(clock.elapsed(), Duration::from_millis(700) + ACCESS);
    }

    #[test]
    #[should_panic(expected = "hang")]
    fn waiting_without_a_limit_is_a_panic() {
        let clock = Clock::virtual_until(Duration::from_millis(1));
        loop {
            clock.access();
        }
    }
}
