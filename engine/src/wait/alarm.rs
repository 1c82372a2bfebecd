use super::EventFd;
use super::clock::now_ns;
use super::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::fmt::Debug;
use std::io;
use std::sync::OnceLock;

/// What an [`Alarm`] raises: an eventfd, or what stands for one in a model.
pub trait Raise: Debug {
    /// Wakes who sleeps on it.
    fn raise(&self);
}

impl Raise for EventFd {
    fn raise(&self) {
        // It fails for a descriptor that is none, which this one is not.
        let _ = EventFd::raise(self);
    }
}

/// News for a polling thread, and how it is woken for them when it sleeps. A thread that is awake finds news by one
/// relaxed load of a word that nobody else writes meanwhile; whoever has news makes a system call only if it sleeps.
///
/// The order that loses no wake-up: the sleeper stores `armed`, then (full barrier) loads the news; the other side
/// stores the news, then (full barrier) loads `armed`. One of the two sees the other's store.
#[derive(Debug)]
pub struct Alarm<E = EventFd> {
    news: AtomicU32,
    armed: AtomicBool,
    /// When the event was raised, on the monotonic clock.
    rung_at: AtomicU64,
    event: OnceLock<E>,
}

impl<E> Default for Alarm<E> {
    fn default() -> Self {
        Self {
            news: AtomicU32::new(0),
            armed: AtomicBool::new(false),
            rung_at: AtomicU64::new(0),
            event: OnceLock::new(),
        }
    }
}

impl<E: Raise> Alarm<E> {
    /// An alarm that raises `event`.
    pub fn with_event(event: E) -> Self {
        let alarm = Self::default();
        let _ = alarm.event.set(event); // it had none
        alarm
    }

    /// Adds `bits` to the news, after everything that the caller did before, and wakes the thread if it sleeps.
    pub fn ring(&self, bits: u32) {
        self.news.fetch_or(bits, Ordering::Release);
        // The store of the news before the load of `armed`; see `arm`.
        fence(Ordering::SeqCst);
        // Of several, one raises. Not a swap: one that changes nothing would still be a store among the sleeper's.
        let raises = || {
            self.armed
                .compare_exchange(true, false, Ordering::Relaxed, Ordering::Relaxed)
        };
        if self.armed.load(Ordering::Relaxed) && raises().is_ok() {
            self.rung_at.store(now_ns(), Ordering::Relaxed);
            if let Some(event) = self.event.get() {
                event.raise();
            }
        }
    }

    /// The news that were not taken yet.
    #[inline(always)]
    pub fn news(&self) -> u32 {
        self.news.load(Ordering::Relaxed)
    }

    /// Takes those of `bits` that are news, with everything their bringers did before.
    pub fn take(&self, bits: u32) -> u32 {
        self.news.fetch_and(!bits, Ordering::Acquire) & bits
    }

    /// The thread is about to sleep on the event: false where there are news, and then it must not.
    pub fn arm(&self) -> bool {
        self.armed.store(true, Ordering::Relaxed);
        // The store of `armed` before the load of the news; see `ring`.
        fence(Ordering::SeqCst);
        let quiet = self.news() == 0;
        if !quiet {
            self.disarm();
        }
        quiet
    }

    /// The thread is awake.
    pub fn disarm(&self) {
        self.armed.store(false, Ordering::Relaxed);
    }

    /// When the event was last raised, in nanoseconds of the monotonic clock.
    pub(super) fn rung_at(&self) -> u64 {
        self.rung_at.load(Ordering::Relaxed)
    }
}

impl Alarm {
    /// The event to sleep on; made when it is first asked for, by the thread that will.
    ///
    /// # Errors
    /// Out of file descriptors.
    pub fn event(&self) -> io::Result<&EventFd> {
        if let Some(event) = self.event.get() {
            return Ok(event);
        }
        let event = EventFd::new()?;
        Ok(self.event.get_or_init(|| event))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn only_a_sleeper_costs_a_system_call() {
        let alarm = Alarm::default();
        let event = alarm.event().unwrap();
        alarm.ring(1);
        assert_eq!((alarm.news(), event.drain().unwrap()), (1, 0));
        assert!(!alarm.arm(), "there are news");
        assert_eq!((alarm.take(3), alarm.take(3)), (1, 0));
        assert!(alarm.arm());
        alarm.ring(2);
        alarm.ring(4);
        assert_eq!((alarm.news(), event.drain().unwrap()), (6, 1));
    }
}
