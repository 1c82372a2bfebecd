//! What a peer can get wrong in its ring, and how often it did.

use barline::telemetry::CounterSink;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a queue was stopped until its peer sets it up anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The index says that there are more buffers than the ring is long.
    Index,
    /// The number of a descriptor that the ring or table does not have.
    Descriptor,
    /// A descriptor of memory that the peer has not shared.
    Address,
    /// Descriptors that do not make a buffer: without end, of the wrong direction, shorter than the header, or a table
    /// in a table.
    Chain,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Index => "an index further ahead than the ring is long",
            Self::Descriptor => "a descriptor that does not exist",
            Self::Address => "an address outside of its memory",
            Self::Chain => "descriptors that make no buffer",
        })
    }
}

/// What happened to the port since it was started. Several threads count, none of them often.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    index: AtomicU64,
    descriptor: AtomicU64,
    address: AtomicU64,
    chain: AtomicU64,
    connects: AtomicU64,
}

impl Counts {
    pub fn fault(&self, fault: Fault) {
        let counter = match fault {
            Fault::Index => &self.index,
            Fault::Descriptor => &self.descriptor,
            Fault::Address => &self.address,
            Fault::Chain => &self.chain,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub fn connected(&self) {
        self.connects.fetch_add(1, Ordering::Relaxed);
    }

    pub fn show(&self, out: &mut dyn CounterSink) {
        for (name, counter) in [
            ("peer_connects", &self.connects),
            ("peer_bad_index", &self.index),
            ("peer_bad_descriptor", &self.descriptor),
            ("peer_bad_address", &self.address),
            ("peer_bad_chain", &self.chain),
        ] {
            out.counter(name, counter.load(Ordering::Relaxed));
        }
    }
}
