//! What a receive ring does when a completion is not the next one in order, or not a frame of its own.

use super::super::{Fault, Format, Halt, Look, Notify};
use super::RxRing;
use crate::pool::{Batch, PoolCache, Received, Verdict};

/// Positions up to `end` are completed; the last has `len` bytes, those before it are full.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    end: u32,
    len: u32,
}

impl Run {
    /// Bytes in the buffer at `at`, of which it has `room`; none where the run ends.
    fn len_at(self, at: u32, room: u32) -> Option<u32> {
        match self.end.wrapping_sub(at) {
            0 => None,
            1 => Some(self.len),
            _ => Some(room),
        }
    }
}

impl<F: Format, N: Notify> RxRing<F, N> {
    /// What stopped a burst; whether to go on.
    #[cold]
    #[inline(never)]
    pub(super) fn unusual(
        &mut self,
        halt: Halt,
        cache: &mut PoolCache,
        out: &mut Batch,
        got: &mut Received,
    ) -> bool {
        match halt {
            Halt::End => false,
            Halt::Overrun => self.give_up(Fault::Overrun),
            Halt::Parts(parts) => self.take_parts(parts, cache, out, got) && self.take_run(cache, out, got),
            Halt::Turn(id, len) => {
                let (head, tail) = (self.posted.head(), self.posted.tail());
                match self.order.find(id, head, tail) {
                    Some(at) if self.format.in_order() => {
                        self.run = Some(Run {
                            end: at.wrapping_add(1),
                            len,
                        });
                        self.take_run(cache, out, got)
                    }
                    Some(at) => {
                        self.exchange(head, at);
                        true
                    }
                    None => self.give_up(Fault::Id(id)),
                }
            }
        }
    }

    fn give_up(&mut self, fault: Fault) -> bool {
        self.broken = true;
        self.health.report("receive", fault);
        match fault {
            Fault::Id(_) => self.counters.rx_bad_ids.add(1),
            Fault::Overrun => self.counters.rx_overruns.add(1),
        }
        false
    }

    fn exchange(&mut self, a: u32, b: u32) {
        self.posted.swap(a, b);
        self.order.swap(a, b);
        for at in [a, b] {
            self.format.renumber(at, self.order.id(at));
        }
    }

    /// A frame whose first buffer says that there are more: taken when the device has completed all of them.
    fn take_parts(&mut self, parts: u32, cache: &mut PoolCache, out: &mut Batch, got: &mut Received) -> bool {
        let (head, in_flight) = (self.posted.head(), self.posted.len());
        if parts == 0 || parts > in_flight {
            // No such frame: the buffer that says so is a frame of an impossible length.
            return self.gather(&[u32::MAX], cache, out, got);
        }
        let (mut lens, before) = (std::mem::take(&mut self.lens), self.run);
        lens.clear();
        let whole = (0..parts).all(|part| {
            let prefix = if part == 0 { F::PREFIX as u32 } else { 0 };
            let len = self.part(head.wrapping_add(part));
            lens.extend(len.map(|len| len.checked_sub(prefix).unwrap_or(u32::MAX)));
            len.is_some()
        });
        let more = whole && self.gather(&lens, cache, out, got);
        if !more {
            // It is looked at again from its first buffer on.
            self.run = before;
        }
        self.lens = lens;
        more
    }

    /// Bytes in the buffer at `at`, which is brought into its turn; `None` where the device is not done with it.
    ///
    /// In order, one word may speak for several buffers (2.7.9, 2.8.9): all but the last of them are full, whichever frames
    /// they belong to.
    fn part(&mut self, at: u32) -> Option<u32> {
        if let Some(len) = self.run.and_then(|run| run.len_at(at, self.room)) {
            return Some(len);
        }
        self.run = None;
        let tail = self.posted.tail();
        match self.format.look(at, tail) {
            Look::Done { id, len } if id == u32::from(self.order.id(at)) => Some(len),
            Look::Done { id, len } => match self.order.find(id, at, tail) {
                Some(last) if self.format.in_order() => {
                    let end = last.wrapping_add(1);
                    self.run = Some(Run { end, len });
                    Some(self.room)
                }
                Some(other) => {
                    self.exchange(at, other);
                    Some(len)
                }
                None => {
                    self.give_up(Fault::Id(id));
                    None
                }
            },
            Look::Overrun => {
                self.give_up(Fault::Overrun);
                None
            }
            Look::Pending => None,
        }
    }

    fn gather(&mut self, lens: &[u32], cache: &mut PoolCache, out: &mut Batch, got: &mut Received) -> bool {
        let before = self.posted.head();
        let some = self.posted.gather(cache, out, self.most(), F::PREFIX, lens);
        add(got, some);
        before != self.posted.head()
    }

    /// Takes buffers that were completed without a word of their own; whether all of them were.
    #[cold]
    #[inline(never)]
    pub(super) fn take_run(&mut self, cache: &mut PoolCache, out: &mut Batch, got: &mut Received) -> bool {
        let (most, room, merges) = (self.most(), self.room, self.merges);
        while let Some(run) = self.run {
            let (format, mut parts) = (&mut self.format, None);
            let some = self.posted.receive_up_to(cache, out, most, |at, buffer| {
                let Some(len) = run.len_at(at, room) else {
                    return Verdict::Pending;
                };
                if merges {
                    parts = format.parts(at, buffer);
                    if parts != Some(1) {
                        return Verdict::Pending;
                    }
                }
                Verdict::Frame(len.wrapping_sub(F::PREFIX as u32))
            });
            add(got, some);
            if self.posted.head() == run.end {
                self.run = None;
            } else if !parts.is_some_and(|parts| self.take_parts(parts, cache, out, got)) {
                return false;
            }
        }
        true
    }
}

pub(super) fn add(sum: &mut Received, some: Received) {
    sum.packets += some.packets;
    sum.bytes += some.bytes;
    sum.errors += some.errors;
    sum.lengths += some.lengths;
}
