//! A ring of either kind, with what is needed to use it.

use crate::chain::{Chain, Chains, Rules};
use crate::fault::Fault;
use crate::packed::Packed;
use crate::split::{Places, Split};
use crate::sys::{GuestMemory, Log, View};
use barline::offload::Offloads;
use barline::wait::{Cpu, EventFd};
use std::sync::Arc;

/// Ticks for which a ring that was found short is left alone: below a microsecond. A peer that gives buffers one by one is
/// slowed down by who takes each of them at once, because both then fight for the lines of the ring; after a pause there
/// are many. 500 ticks do not suffice, 4,000 are no better.
pub(crate) const PAUSE: u32 = 2000;

/// How a ring is to be used: made by the control thread, never changed; a change is another of these.
#[derive(Debug)]
pub(crate) struct Setup {
    pub memory: Arc<GuestMemory>,
    pub places: Places,
    pub size: u16,
    /// The next buffer's number (split), or its place and wrap counter (packed).
    pub base: u16,
    /// The ring was just started: its used index, where it has one, knows better than the base.
    pub fresh: bool,
    pub packed: bool,
    pub event_idx: bool,
    pub mergeable: bool,
    pub in_order: bool,
    /// What the peer and we do for each other.
    pub offloads: Offloads,
    pub rules: Rules,
    /// Raised when the peer wants to be told; none where it polls.
    pub call: Option<Arc<EventFd>>,
    /// Raised when the ring is found to be malformed.
    pub error: Option<Arc<EventFd>>,
    /// Whether the peer has an eventfd to kick with.
    pub kicks: bool,
    /// Where writes to buffers are logged.
    pub log: Option<Arc<Log>>,
    /// Whether those to the used ring are too.
    pub log_ring: bool,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Split(Split),
    Packed(Packed),
}

/// A ring in use by its worker.
#[derive(Debug)]
pub(crate) struct Ring {
    pub kind: Kind,
    pub view: View,
    pub setup: Arc<Setup>,
}

macro_rules! both {
    ($ring:expr, $inner:ident => $what:expr) => {
        match $ring {
            Kind::Split($inner) => $what,
            Kind::Packed($inner) => $what,
        }
    };
}

impl Ring {
    /// `None` where the memory does not have all of it.
    pub fn new(setup: &Arc<Setup>) -> Option<Self> {
        let Setup {
            memory,
            places,
            size,
            base,
            event_idx,
            ..
        } = &**setup;
        let kind = if setup.packed {
            let batches = setup.in_order && !setup.rules.write;
            Kind::Packed(Packed::new(memory, *places, *size, *base, *event_idx)?.in_batches(batches))
        } else {
            let mut split = Split::new(memory, *places, *size, *base, *event_idx)?;
            if setup.fresh {
                // A peer that outlives the back end before us does not know how far that one came: the ring does.
                split.go_on_at(split.used_index());
            }
            Kind::Split(split)
        };
        Some(Self {
            kind,
            view: View::new(memory),
            setup: setup.clone(),
        })
    }

    /// Where it goes on: as [`Setup::base`].
    #[inline(always)]
    pub fn next(&self) -> u16 {
        both!(&self.kind, ring => ring.next())
    }

    #[inline(always)]
    pub fn fetch(&mut self, chains: &mut Chains, most: usize) -> Result<(), Fault> {
        let Self { kind, view, setup } = self;
        both!(kind, ring => ring.fetch(view, chains, &setup.rules, most))
    }

    /// Gives buffers back, and tells the peer if it wants to know; whether it was told.
    #[inline(always)]
    pub fn publish(&mut self, done: &[Chain]) -> bool {
        if done.is_empty() {
            return false;
        }
        let old = self.next();
        let log = self.setup.log.as_deref().filter(|_| self.setup.log_ring);
        both!(&mut self.kind, ring => ring.publish(done, log));
        let Some(call) = &self.setup.call else {
            return false;
        };
        let wanted = both!(&self.kind, ring => ring.wants_call(old));
        if wanted {
            // It fails for a descriptor that is no eventfd: then the peer does not want to know.
            let _ = call.raise();
        }
        wanted
    }

    pub fn arm(&self) -> bool {
        both!(&self.kind, ring => ring.arm())
    }

    pub fn disarm(&self) {
        both!(&self.kind, ring => ring.disarm());
    }

    /// Rests until a buffer comes, a few microseconds at most.
    pub fn rest(&self, cpu: Cpu) {
        match &self.kind {
            Kind::Split(ring) => cpu.watch(ring.watched(), || ring.is_empty()),
            Kind::Packed(ring) => cpu.watch(ring.watched(), || ring.is_empty()),
        }
    }

    /// A burst's writes to a piece of a buffer, for the log.
    #[inline(always)]
    pub fn mark(&self, at: u64, len: usize) {
        if let Some(log) = &self.setup.log {
            log.mark(at, len as u64);
        }
    }
}
