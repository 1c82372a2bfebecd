//! What a receive call must find, worked out from memory as the device left it.

use crate::subject::{Completion, Device, Subject};
use barline::mem::{Iova, LocalDomain};
use barline::telemetry::RxCounters;

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

/// One receive queue, read a second time and in another way.
#[derive(Debug, Default)]
pub struct Oracle {
    /// The next descriptor.
    head: u32,
    /// Parts of a frame came before it.
    within: bool,
}

impl Oracle {
    /// Whether a call would find anything.
    pub fn pending(
        &self,
        subject: &Subject,
        device: &dyn Device,
        queue: usize,
        domain: &LocalDomain,
    ) -> bool {
        let (head, within) = (self.head, self.within);
        let seen = Self { head, within }.look(subject, device, queue, domain, (1, u32::MAX));
        seen.is_some_and(|seen| seen.frames() > 0)
    }

    /// What a call with room for `room` packets, whose buffers have `most` bytes, must find; `None` when the ring is
    /// nowhere.
    pub fn look(
        &mut self,
        subject: &Subject,
        device: &dyn Device,
        queue: usize,
        domain: &LocalDomain,
        (room, most): (u64, u32),
    ) -> Option<Seen> {
        let ring = device.receive_ring(queue)?;
        let mut seen = Seen::default();
        while self.head != ring.tail && seen.packets < room {
            let at = Iova::new(ring.base + u64::from(self.head) * 16);
            let words = [domain.load(at).ok()?, domain.load(at.offset(8)).ok()?];
            match (subject.completion)(words) {
                Completion::Pending => break,
                Completion::Part => self.within = true,
                Completion::End { len, damaged } => {
                    if damaged {
                        seen.errors += 1;
                    } else if self.within || len == 0 || len > most {
                        seen.lengths += 1;
                    } else {
                        seen.packets += 1;
                        seen.bytes += u64::from(len);
                    }
                    self.within = false;
                }
            }
            self.head = (self.head + 1) % ring.size;
        }
        Some(seen)
    }
}
