//! What happens to the interface and its program while a port is open.

use crate::AfXdp;
use barline::port::PortEvent;
use barline_netif::LinkWatch;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// How often the program is looked for: the kernel tells nobody that a link was detached (bpftool link detach).
pub(crate) const LOOK: Duration = Duration::from_millis(500);

/// What is known so far.
#[derive(Debug)]
pub(crate) struct News {
    watch: LinkWatch,
    gone: bool,
    /// Another program is attached than ours, or none: what is to be said of it, and when that was last looked at.
    displaced: Option<String>,
    pub looked: Instant,
}

impl News {
    /// Nothing yet.
    pub fn new(watch: LinkWatch) -> Self {
        Self {
            watch,
            gone: false,
            displaced: None,
            looked: Instant::now(),
        }
    }

    /// As [`barline::port::Port::reason`].
    pub fn reason(&self) -> Option<String> {
        self.displaced.clone().filter(|_| !self.gone)
    }
}

impl AsFd for News {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}

impl AfXdp {
    pub(crate) fn is_gone(&self) -> bool {
        self.news.gone || !self.interface.is_there()
    }

    /// The gravest news about our interface.
    pub(crate) fn look(&mut self) -> Option<PortEvent> {
        if self.news.watch.look() || self.news.looked.elapsed() >= LOOK {
            self.news.looked = Instant::now();
            self.news.gone = self.is_gone();
            if !self.news.gone && self.news.displaced.is_none() {
                self.news.displaced = self.redirect.displaced().map(|error| error.to_string());
            }
        }
        if self.news.gone {
            return Some(PortEvent::Gone);
        }
        let running = self.running.as_ref()?;
        if self.news.displaced.is_some() {
            return Some(PortEvent::Taken);
        }
        running.health.is_broken().then_some(PortEvent::Error)
    }
}
