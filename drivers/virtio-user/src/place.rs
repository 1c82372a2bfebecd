//! Where a queue's worker and the control thread meet.
//!
//! The control thread puts a ring there for each back end that comes, and takes it away when the back end goes. The worker
//! looks at one number a burst, and never waits: when somebody is in the place just then, it looks again at its next burst.

use crossbeam::utils::CachePadded;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Mutex, PoisonError, TryLockError};

/// One queue's.
#[derive(Debug)]
pub(crate) struct Place<R> {
    generation: CachePadded<AtomicU32>,
    ended: AtomicBool,
    ring: Mutex<Option<R>>,
}

impl<R> Place<R> {
    pub fn new() -> Self {
        Self {
            generation: CachePadded::default(),
            ended: AtomicBool::new(false),
            ring: Mutex::new(None),
        }
    }

    /// Changes whenever something was put there.
    #[inline(always)]
    pub fn generation(&self) -> u32 {
        // Acquire: before a look at whether the old ring's buffers are free (`Custody::open` was before `put`).
        self.generation.load(Acquire)
    }

    /// Puts a ring there, or nothing: the worker lets go of the one it has.
    pub fn put(&self, ring: Option<R>) {
        let mut place = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *place, ring);
        // Under the lock: who takes the ring knows its number.
        self.generation.fetch_add(1, Release);
        drop(place);
        drop(old);
    }

    /// The ring that is there, if any, and its number; nothing while the place is taken.
    pub fn take(&self) -> Option<(u32, Option<R>)> {
        let mut place = match self.ring.try_lock() {
            Ok(place) => place,
            Err(TryLockError::Poisoned(error)) => error.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some((self.generation.load(Relaxed), place.take()))
    }

    /// The port was stopped: nothing comes any more.
    pub fn end(&self) {
        self.ended.store(true, Release);
    }

    pub fn has_ended(&self) -> bool {
        self.ended.load(Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_taken_once_and_its_number_tells_of_a_newer_one() {
        let place = Place::new();
        assert_eq!(place.generation(), 0);
        place.put(Some(1));
        let (number, ring) = place.take().unwrap();
        assert_eq!((number, ring), (place.generation(), Some(1)));
        assert_eq!(place.take(), Some((number, None)));
        place.put(Some(2));
        place.put(None);
        assert_ne!(place.generation(), number);
        assert_eq!(place.take().unwrap().1, None);
    }

    #[test]
    fn the_worker_does_not_wait() {
        let place: Place<u8> = Place::new();
        let held = place.ring.lock().unwrap();
        assert_eq!(place.take(), None);
        drop(held);
        assert!(place.take().is_some());
    }
}
