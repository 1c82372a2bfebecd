use super::clock::now_ns;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// Why a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// A source raised its eventfd.
    Source,
    /// The alarm rang.
    Alarm,
    /// The time was over, so many nanoseconds ago.
    Timer(u64),
}

/// One epoll over eventfds and a timer. Edge-triggered: nothing ever has to be read.
#[derive(Debug)]
pub(super) struct Sleeper {
    epoll: Epoll,
    timer: TimerFd,
}

const SOURCE: u64 = 0;
const ALARM: u64 = 1;
const TIMER: u64 = 2;
/// Events taken in one call; more of them change nothing.
const EVENTS: usize = 8;

impl Sleeper {
    pub fn new() -> io::Result<Self> {
        let sleeper = Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            // epoll's own time-out counts milliseconds and may be late by a thousandth.
            timer: TimerFd::new(
                ClockId::CLOCK_MONOTONIC,
                TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK,
            )?,
        };
        sleeper.add(sleeper.timer.as_fd(), TIMER)?;
        Ok(sleeper)
    }

    fn add(&self, fd: BorrowedFd<'_>, what: u64) -> io::Result<()> {
        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, what);
        Ok(self.epoll.add(fd, event)?)
    }

    /// Wakes for the alarm.
    pub fn heed(&self, alarm: BorrowedFd<'_>) -> io::Result<()> {
        self.add(alarm, ALARM)
    }

    /// Wakes for this eventfd too.
    pub fn watch(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.add(fd, SOURCE)
    }

    /// Does so no more.
    pub fn forget(&self, fd: BorrowedFd<'_>) {
        // Not watched, or closed already: both are what is wanted.
        let _ = self.epoll.delete(fd);
    }

    /// Sleeps until something happens, at most `limit`.
    pub fn sleep(&self, limit: Duration) -> io::Result<Woken> {
        let deadline = now_ns().saturating_add(limit.as_nanos() as u64);
        let at = TimeSpec::from_duration(Duration::from_nanos(deadline));
        self.timer
            .set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
        let mut events = [EpollEvent::empty(); EVENTS];
        let happened = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
            Ok(happened) => happened,
            // A signal handler of the application ran on this thread.
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(errno.into()),
        };
        let of = |what: u64| events[..happened].iter().any(|event| event.data() == what);
        if of(ALARM) {
            Ok(Woken::Alarm)
        } else if of(TIMER) && !of(SOURCE) {
            Ok(Woken::Timer(now_ns().saturating_sub(deadline)))
        } else {
            Ok(Woken::Source)
        }
    }
}

/// What a thread that is not a core of the packet path waits for: events of devices, at most for a time.
#[derive(Debug)]
pub struct Watch(Sleeper);

impl Watch {
    /// Waits for nothing but the time yet.
    ///
    /// # Errors
    /// Out of file descriptors: two are needed.
    pub fn new() -> io::Result<Self> {
        Sleeper::new().map(Self)
    }

    /// Waits for an eventfd too, until it is closed.
    ///
    /// # Errors
    /// The kernel's word.
    pub fn add(&self, event: BorrowedFd<'_>) -> io::Result<()> {
        self.0.watch(event)
    }

    /// Ends [`Watch::add`]: an eventfd that others hold too outlives its owner here.
    pub fn remove(&self, event: BorrowedFd<'_>) {
        self.0.forget(event);
    }

    /// Returns when something was raised, or after `limit`; whether something was.
    ///
    /// # Errors
    /// The kernel's word.
    pub fn wait(&self, limit: Duration) -> io::Result<bool> {
        self.0.sleep(limit).map(|woken| woken == Woken::Source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::EventFd;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn every_raise_wakes_once_and_nothing_is_read() {
        let (alarm, source) = (EventFd::new().unwrap(), EventFd::new().unwrap());
        let sleeper = Sleeper::new().unwrap();
        sleeper.heed(alarm.as_fd()).unwrap();
        sleeper.watch(source.as_fd()).unwrap();
        let short = Duration::from_millis(1);
        for _ in 0..3 {
            source.raise().unwrap();
            assert_eq!(sleeper.sleep(LONG).unwrap(), Woken::Source);
            assert!(matches!(sleeper.sleep(short).unwrap(), Woken::Timer(_)));
            alarm.raise().unwrap();
            assert_eq!(sleeper.sleep(LONG).unwrap(), Woken::Alarm);
        }
        assert_eq!(source.drain().unwrap(), 3, "they were not read");
        sleeper.forget(source.as_fd());
        source.raise().unwrap();
        assert!(matches!(sleeper.sleep(short).unwrap(), Woken::Timer(_)));
    }

    #[test]
    fn a_time_that_is_over_ends_a_sleep_at_once() {
        let sleeper = Sleeper::new().unwrap();
        assert!(matches!(sleeper.sleep(Duration::ZERO).unwrap(), Woken::Timer(_)));
    }
}
