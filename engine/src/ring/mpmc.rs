//! A bounded ring between any number of threads, in batches.

use super::index::Shape;
use super::slots::Slots;
use super::sync::{AtomicU32, Ordering, Wait};
use crate::pool::{Batch, Packet};
use std::fmt;

#[cfg(not(loom))]
mod shared;

#[cfg(not(loom))]
pub use shared::{SharedRing, Stalled, Word};

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
struct End {
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
struct Ends {
    producers: End,
    consumers: End,
}

/// Slots that one caller has reserved.
#[derive(Clone, Copy)]
struct Reserved {
    at: u32,
    n: u32,
}

/// Who waits how long for the others.
trait Patience {
    /// Somebody else's batch must be complete first: waits a little; `false` to give up.
    fn wait(&mut self) -> bool;
    /// Somebody else was quicker to reserve: `false` to give up.
    fn lost(&mut self) -> bool;
}

/// Inside one process nobody dies between reserving and publishing (see [`Mpmc`]), and whoever loses a
/// compare-exchange loses it to somebody who got on.
#[derive(Default)]
struct Forever(Wait);

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
    fn publish(&self, batch: Reserved, patience: &mut impl Patience) -> bool {
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
    fn new(start: u32) -> Self {
        Self {
            producers: End::new(start),
            consumers: End::new(start),
        }
    }

    /// Reserves slots to write.
    #[inline(always)]
    fn to_fill(&self, shape: Shape, n: usize, exact: bool, patience: &mut impl Patience) -> Option<Reserved> {
        let room = |at, tail| shape.free(tail, at);
        self.producers.reserve(&self.consumers, n, exact, room, patience)
    }

    /// Reserves slots to read.
    #[inline(always)]
    fn to_empty(
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
    fn len(&self, shape: Shape) -> usize {
        let oldest = self.consumers.done.tail.load(Ordering::Acquire);
        let newest = self.producers.done.tail.load(Ordering::Acquire);
        // Between the two loads a whole ring may have passed through; then it is full or was just now.
        shape.used(oldest, newest).unwrap_or(shape.capacity()) as usize
    }
}

/// A bounded ring between any number of producers and any number of consumers.
///
/// A batch costs one compare-exchange, whatever its size: it reserves the slots; then they are copied; then the
/// batch is published, after those that were reserved before it. Where one side is a single thread,
/// [`Spsc`](super::Spsc) is cheaper.
///
/// Between reserving and publishing there is only a copy of plain memory: no caller's code runs there, so nothing
/// can panic there and leave the others waiting. A thread whose core is taken away there delays the others of its
/// end: they spin a little, then yield, then sleep in short naps, so that it gets a core however few there are.
pub struct Mpmc<T: Send> {
    ends: Ends,
    slots: Slots<T>,
}

impl<T: Send> Mpmc<T> {
    /// A ring of `capacity` slots, all of which can be used; `None` unless that is a power of two and at most
    /// [`MAX_CAPACITY`](super::index::MAX_CAPACITY).
    pub fn new(capacity: usize) -> Option<Self> {
        Self::with_start(capacity, 0)
    }

    /// A ring whose indices start at `start` instead of 0: so that tests reach the place where they wrap.
    #[doc(hidden)]
    pub fn with_start(capacity: usize, start: u32) -> Option<Self> {
        Some(Self {
            ends: Ends::new(start),
            slots: Slots::new(Shape::new(capacity)?)?,
        })
    }

    /// Slots in all.
    pub fn capacity(&self) -> usize {
        self.slots.shape.capacity() as usize
    }

    /// Values in it: exact when nobody else uses it meanwhile.
    pub fn len(&self) -> usize {
        self.ends.len(self.slots.shape)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// # Safety
    /// `from` points to `n` values; the caller gives up the first ones, as many as are returned.
    #[inline(always)]
    unsafe fn put(&self, from: *const T, n: usize, exact: bool) -> usize {
        let patience = &mut Forever::default();
        let Some(batch) = self.ends.to_fill(self.slots.shape, n, exact, patience) else {
            return 0; // cannot be: patience has no end
        };
        if batch.n > 0 {
            // SAFETY: the slots are free (the consumers' tail has passed them) and reserved for this caller alone
            // until they are published; the values are the caller's to give, and no more than `n`.
            unsafe { self.slots.write(batch.at, from, batch.n) };
            self.ends.producers.publish(batch, patience);
        }
        batch.n as usize
    }

    /// # Safety
    /// `to` has room for `n` values; as many as are returned are the caller's from then on.
    #[inline(always)]
    unsafe fn take(&self, to: *mut T, n: usize, exact: bool) -> usize {
        let patience = &mut Forever::default();
        let Some(batch) = self.ends.to_empty(self.slots.shape, n, exact, patience) else {
            return 0; // cannot be: patience has no end
        };
        if batch.n > 0 {
            // SAFETY: the slots hold values (the producers' tail has passed them) and are reserved for this
            // caller alone until they are published as free; there are no more than `n`.
            unsafe { self.slots.read(batch.at, to, batch.n) };
            self.ends.consumers.publish(batch, patience);
        }
        batch.n as usize
    }

    /// Puts one value in; gives it back when the ring is full.
    ///
    /// # Errors
    /// The value, when there is no room.
    #[inline]
    pub fn push(&self, value: T) -> Result<(), T> {
        let value = std::mem::ManuallyDrop::new(value);
        // SAFETY: one value, which is not dropped here when it was taken.
        let done = unsafe { self.put(&raw const *value, 1, true) };
        if done == 0 {
            return Err(std::mem::ManuallyDrop::into_inner(value));
        }
        Ok(())
    }

    /// Takes the oldest value.
    #[inline]
    pub fn pop(&self) -> Option<T> {
        let mut value = std::mem::MaybeUninit::uninit();
        // SAFETY: room for one, which is initialised when one came.
        unsafe { (self.take(value.as_mut_ptr(), 1, true) == 1).then(|| value.assume_init()) }
    }

    /// Copies values in from the front, as many as fit; returns how many. They stay together.
    #[inline]
    pub fn push_slice(&self, values: &[T]) -> usize
    where
        T: Copy,
    {
        // SAFETY: that many values, which are plain data.
        unsafe { self.put(values.as_ptr(), values.len(), false) }
    }

    /// Copies all the values in, or none; says whether they are in.
    #[inline]
    pub fn push_exact(&self, values: &[T]) -> bool
    where
        T: Copy,
    {
        // SAFETY: that many values, which are plain data.
        unsafe { self.put(values.as_ptr(), values.len(), true) == values.len() }
    }

    /// Moves values in from the front of `values`, as many as fit; returns how many. The rest moves to the front.
    pub fn push_vec(&self, values: &mut Vec<T>) -> usize {
        let len = values.len();
        // SAFETY: that many values; those taken are cut off below, without being dropped.
        unsafe {
            let done = self.put(values.as_ptr(), len, false);
            values.set_len(0);
            std::ptr::copy(values.as_ptr().add(done), values.as_mut_ptr(), len - done);
            values.set_len(len - done);
            done
        }
    }

    /// Copies the oldest values to the front of `to`, as many as there are and fit; returns how many.
    #[inline]
    pub fn pop_slice(&self, to: &mut [T]) -> usize
    where
        T: Copy,
    {
        // SAFETY: room for that many; what they overwrite is plain data.
        unsafe { self.take(to.as_mut_ptr(), to.len(), false) }
    }

    /// Fills all of `to`, or takes nothing; says whether it is filled.
    #[inline]
    pub fn pop_exact(&self, to: &mut [T]) -> bool
    where
        T: Copy,
    {
        // SAFETY: room for that many; what they overwrite is plain data.
        unsafe { self.take(to.as_mut_ptr(), to.len(), true) == to.len() }
    }

    /// Moves up to `n` of the oldest values to the back of `to`; returns how many there were.
    pub fn pop_into(&self, to: &mut Vec<T>, n: usize) -> usize {
        let n = n.min(self.capacity());
        to.reserve(n); // before anything is reserved in the ring: this may panic
        // SAFETY: the vector has room for `n` more; its length counts those that came.
        unsafe {
            let done = self.take(to.spare_capacity_mut().as_mut_ptr().cast(), n, false);
            to.set_len(to.len() + done);
            done
        }
    }
}

impl Mpmc<Packet> {
    /// Moves packets in from the front of the batch, as many as fit; returns how many. What is left is the
    /// caller's.
    #[inline]
    pub fn send(&self, batch: &mut Batch) -> usize {
        // SAFETY: that many packets; the batch forgets those that were taken.
        unsafe {
            let done = self.put(batch.as_slice().as_ptr(), batch.len(), false);
            batch.forget_front(done);
            done
        }
    }

    /// Moves the whole batch in, or nothing; says whether it is in.
    #[inline]
    pub fn send_exact(&self, batch: &mut Batch) -> bool {
        let len = batch.len();
        // SAFETY: as in `send`.
        unsafe {
            let done = self.put(batch.as_slice().as_ptr(), len, true);
            batch.forget_front(done);
            done == len
        }
    }

    /// Moves packets to the back of the batch, as many as there are and fit; returns how many.
    #[inline]
    pub fn receive(&self, batch: &mut Batch) -> usize {
        let spare = batch.spare();
        // SAFETY: `spare` is the batch's room; the batch owns those that came.
        unsafe {
            let done = self.take(spare.as_mut_ptr().cast(), spare.len(), false);
            batch.grow(done);
            done
        }
    }
}

impl<T: Send> Drop for Mpmc<T> {
    fn drop(&mut self) {
        if std::mem::needs_drop::<T>() {
            while let Some(value) = self.pop() {
                drop(value);
            }
        }
    }
}

impl<T: Send> fmt::Debug for Mpmc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mpmc({} of {})", self.len(), self.capacity())
    }
}
