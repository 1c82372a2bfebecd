//! Where both ends of the ring stand: how slots are reserved, and batches published.

use crate::ring::index::Shape;
use crate::ring::sync::{AtomicU32, Ordering, Wait};

/// One end of a ring: the producers' or the consumers'.
///
/// `head` is where the next batch starts; whoever moves it on by compare-exchange has reserved the slots between.
/// `tail` is how far batches are complete. It moves in the order of the reservations: a batch that is complete
/// waits for those before it. `seen` remembers the other end's tail as somebody of this end read it last: as long
/// as it suffices, the other end's line stays where it is.
///
/// Two pairs of lines (CPUs fetch lines in pairs): the other end looks at `tail` only, and does not disturb the
/// compare-exchange on `head`.
#[repr(C)]
pub(super) struct End {
    next: Next,
    done: Done,
}

#[repr(C, align(128))]
struct Next {
    head: AtomicU32,
    seen: AtomicU32,
}

#[repr(C, align(128))]
struct Done {
    tail: AtomicU32,
}

/// Both ends.
#[repr(C)]
pub(super) struct Ends {
    pub producers: End,
    pub consumers: End,
}

/// Slots that one caller has reserved.
#[derive(Clone, Copy)]
pub(super) struct Reserved {
    pub at: u32,
    pub n: u32,
}

/// Who waits how long for the others.
pub(super) trait Patience {
    /// Somebody else's batch must be complete first: waits a little; `false` to give up.
    fn wait(&mut self) -> bool;
    /// Somebody else was quicker to reserve: `false` to give up.
    fn lost(&mut self) -> bool;
}

/// Inside one process nobody dies between reserving and publishing (see [`super::Mpmc`]), and whoever loses a
/// compare-exchange loses it to somebody who got on.
#[derive(Default)]
pub(super) struct Forever(Wait);

impl Patience for Forever {
    fn wait(&mut self) -> bool {
        self.0.step();
        true
    }

    #[inline(always)]
    fn lost(&mut self) -> bool {
        true
    }
}

impl End {
    fn new(start: u32) -> Self {
        let index = || AtomicU32::new(start);
        Self {
            next: Next {
                head: index(),
                seen: index(),
            },
            done: Done { tail: index() },
        }
    }

    /// Reserves `n` slots, or with `exact` unset as many of `n` as there are; `room` tells how many there are
    /// from our head and the other end's tail. Nothing is reserved when the result has no slots. `None` when
    /// patience is at its end.
    #[inline(always)]
    fn reserve(
        &self,
        other: &Self,
        n: usize,
        exact: bool,
        room: impl Fn(u32, u32) -> Option<u32>,
        patience: &mut impl Patience,
    ) -> Option<Reserved> {
        let Next { head, seen } = &self.next;
        // Acquire, here and where the compare-exchange fails; pairs with the release of the compare-exchange that
        // wrote it: the acquire of the other end's tail by whoever reserved up to `at` comes before what we do.
        // So our own load of that tail cannot be older than what `at` rests on, and `seen` can be trusted.
        let mut at = head.load(Ordering::Acquire);
        loop {
            // Relaxed: whoever stored this had acquired the tail before its compare-exchange, which comes before
            // `at` in the order of the head, or ours fails. So `at`, which is an acquire, brings what we need.
            let mut known = room(at, seen.load(Ordering::Relaxed));
            let mut news = None;
            if known.is_none_or(|room| (room as usize) < n) {
                // Acquire, pairs with the release in `publish` of the other end: the other end's copies in those
                // slots come before ours.
                let tail = other.done.tail.load(Ordering::Acquire);
                known = room(at, tail);
                news = Some(tail);
            }
            if let Some(room) = known {
                let take = n.min(room as usize) as u32;
                if take == 0 || (exact && (take as usize) < n) {
                    return Some(Reserved { at, n: 0 });
                }
                let (then, now) = (Ordering::Release, Ordering::Acquire);
                match head.compare_exchange_weak(at, at.wrapping_add(take), then, now) {
                    Ok(_) => {
                        if let Some(tail) = news {
                            // Relaxed, see above. To overwrite what somebody else saw later does no harm: it
                            // promises less.
                            seen.store(tail, Ordering::Relaxed);
                        }
                        return Some(Reserved { at, n: take });
                    }
                    Err(head) => at = head,
                }
            } else {
                // The other end has passed our head since we read it; or another process wrote nonsense.
                let again = head.load(Ordering::Acquire);
                if again == at {
                    return Some(Reserved { at, n: 0 });
                }
                at = again;
            }
            if !patience.lost() {
                return None;
            }
        }
    }

    /// Completes a batch, after those before it; `false` when patience is at its end.
    #[inline(always)]
    pub fn publish(&self, batch: Reserved, patience: &mut impl Patience) -> bool {
        // Acquire, pairs with the release below of the batch before: its copies come before our release, and so
        // before whatever the other end does in its slots after it has seen only our tail.
        if self.done.tail.load(Ordering::Acquire) != batch.at && !self.await_turn(batch.at, patience) {
            return false;
        }
        // Release, pairs with the acquire of the other end's tail in `reserve`: our copies come before the other
        // end's in the same slots.
        self.done
            .tail
            .store(batch.at.wrapping_add(batch.n), Ordering::Release);
        true
    }

    #[cold]
    #[inline(never)]
    fn await_turn(&self, at: u32, patience: &mut impl Patience) -> bool {
        while self.done.tail.load(Ordering::Acquire) != at {
            if !patience.wait() {
                return false;
            }
        }
        true
    }
}

impl Ends {
    pub fn new(start: u32) -> Self {
        Self {
            producers: End::new(start),
            consumers: End::new(start),
        }
    }

    /// Reserves slots to write.
    #[inline(always)]
    pub fn to_fill(
        &self,
        shape: Shape,
        n: usize,
        exact: bool,
        patience: &mut impl Patience,
    ) -> Option<Reserved> {
        let room = |at, tail| shape.free(tail, at);
        self.producers.reserve(&self.consumers, n, exact, room, patience)
    }

    /// Reserves slots to read.
    #[inline(always)]
    pub fn to_empty(
        &self,
        shape: Shape,
        n: usize,
        exact: bool,
        patience: &mut impl Patience,
    ) -> Option<Reserved> {
        let room = |at, tail| shape.used(at, tail);
        self.consumers.reserve(&self.producers, n, exact, room, patience)
    }

    /// Values in the ring: at some moment, when nobody else moves.
    pub fn len(&self, shape: Shape) -> usize {
        let oldest = self.consumers.done.tail.load(Ordering::Acquire);
        let newest = self.producers.done.tail.load(Ordering::Acquire);
        // Between the two loads a whole ring may have passed through; then it is full or was just now.
        shape.used(oldest, newest).unwrap_or(shape.capacity()) as usize
    }
}
