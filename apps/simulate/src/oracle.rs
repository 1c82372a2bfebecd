//! What a receive call must find, worked out from memory as the device left it.

pub mod in_place;
pub mod used;

use barline::mem::LocalDomain;
use barline::telemetry::RxCounters;
use std::fmt::Debug;

/// What a receive call counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// `rx_packets`.
    pub packets: u64,
    /// `rx_bytes`.
    pub bytes: u64,
    /// `rx_errors`.
    pub errors: u64,
    /// `rx_lengths`.
    pub lengths: u64,
}

impl Seen {
    /// What was counted so far.
    pub fn of(counters: &RxCounters) -> Self {
        Self {
            packets: counters.rx_packets.get(),
            bytes: counters.rx_bytes.get(),
            errors: counters.rx_errors.get(),
            lengths: counters.rx_lengths.get(),
        }
    }

    /// What was counted since.
    pub fn since(self, before: Self) -> Self {
        Self {
            packets: self.packets - before.packets,
            bytes: self.bytes - before.bytes,
            errors: self.errors - before.errors,
            lengths: self.lengths - before.lengths,
        }
    }

    /// Descriptors' frames, delivered or not.
    pub fn frames(self) -> u64 {
        self.packets + self.errors + self.lengths
    }
}

/// What bounds a receive call.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Packets that it has room for.
    pub room: u64,
    /// Bytes of a buffer.
    pub buffer: u32,
    /// Bytes of a frame at this MTU, with its tag and FCS.
    pub frame: u32,
}

/// One receive queue, read a second time and in another way than its driver reads it.
pub trait Oracle: Debug {
    /// What a call must find; `None` when there is no ring, or no telling.
    fn look(&mut self, domain: &LocalDomain, limits: Limits) -> Option<Seen>;
    /// Another one, at the same place.
    fn copy(&self) -> Box<dyn Oracle>;

    /// Whether a call would find anything.
    fn pending(&self, domain: &LocalDomain) -> bool {
        let limits = Limits {
            room: 1,
            buffer: u32::MAX,
            frame: u32::MAX,
        };
        let seen = self.copy().look(domain, limits);
        seen.is_some_and(|seen| seen.frames() > 0)
    }
}
