//! What the control thread tells the port.

use barline::port::PortEvent;
use barline::wait::EventFd;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, PoisonError};

/// Shared by the port, its control thread and its queues.
#[derive(Debug)]
pub(crate) struct Shared {
    up: AtomicBool,
    connects: AtomicU64,
    /// Packets that a back end had when it went.
    lost: AtomicU64,
    events: Mutex<VecDeque<PortEvent>>,
    told: EventFd,
}

/// Events that are kept for a port that nobody asks.
const MOST: usize = 64;

impl Shared {
    /// # Errors
    /// Out of file descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            up: AtomicBool::new(false),
            connects: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            events: Mutex::default(),
            told: EventFd::new()?,
        })
    }

    pub fn is_up(&self) -> bool {
        self.up.load(Acquire)
    }

    /// A back end has come, or gone.
    pub fn turn(&self, up: bool) {
        self.connects.fetch_add(up.into(), Relaxed);
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() == MOST {
            events.pop_front();
        }
        events.push_back(if up {
            PortEvent::PeerConnected
        } else {
            PortEvent::PeerGone
        });
        drop(events);
        // It fails for a descriptor that is none.
        let _ = self.told.raise();
        // Last: who sees the link finds the event.
        self.up.store(up, Release);
    }

    pub fn next(&self) -> Option<PortEvent> {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() <= 1 {
            let _ = self.told.drain();
        }
        events.pop_front()
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.told.as_fd()
    }

    /// So many packets were with a back end that is gone.
    pub fn lose(&self, packets: usize) {
        self.lost.fetch_add(packets as u64, Relaxed);
    }

    pub fn connects(&self) -> u64 {
        self.connects.load(Relaxed)
    }

    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}
