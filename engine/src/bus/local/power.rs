use crate::bus::PowerEvent;
use crate::wait::EventFd;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The sleep of a machine that is played: for who has a [`LocalFunction`](super::LocalFunction) and wants to be its kernel.
#[derive(Debug)]
pub struct LocalPower {
    pub(super) event: EventFd,
    pending: Mutex<Option<PowerEvent>>,
}

impl LocalPower {
    /// Nothing is announced yet.
    ///
    /// # Errors
    /// Out of file descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            event: EventFd::new()?,
            pending: Mutex::default(),
        })
    }

    /// Announces a step, in place of one that nobody has acknowledged.
    ///
    /// # Errors
    /// The kernel's word.
    pub fn announce(&self, event: PowerEvent) -> io::Result<()> {
        *self.lock() = Some(event);
        self.event.raise()
    }

    /// What waits to be acknowledged.
    pub fn pending(&self) -> Option<PowerEvent> {
        *self.lock()
    }

    pub(super) fn acknowledge(&self, event: PowerEvent) {
        let mut pending = self.lock();
        if *pending == Some(event) {
            *pending = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<PowerEvent>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
