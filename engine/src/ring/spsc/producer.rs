use super::Shared;
use crate::pool::{Batch, Packet};
use crate::ring::sync::{Arc, Ordering};
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

/// The side that puts values in. `Send`, not `Sync`, not `Clone`.
pub struct Producer<T: Send> {
    pub(super) ring: Arc<Shared<T>>,
    /// Next index to fill: what `ring.tail` says.
    pub(super) tail: u32,
    /// The consumer's index when it was last looked at: it may have moved on since.
    pub(super) head: u32,
    pub(super) _not_sync: PhantomData<Cell<()>>,
}

impl<T: Send> Producer<T> {
    /// Slots in all.
    pub fn capacity(&self) -> usize {
        self.ring.slots.shape.capacity() as usize
    }

    /// Slots that are free now; the consumer can only make it more.
    pub fn room(&mut self) -> usize {
        self.look();
        self.known_room() as usize
    }

    /// Whether the consumer is gone: what is pushed will never be taken, only dropped.
    pub fn is_abandoned(&self) -> bool {
        // Acquire: the consumer's last reads come before what this side does with that knowledge.
        self.ring.head.gone.load(Ordering::Acquire)
    }

    #[inline(always)]
    fn known_room(&self) -> u32 {
        // In range, because the consumer's index is between `tail - capacity` and `tail`: no clamp needed.
        self.ring.slots.shape.capacity() - self.tail.wrapping_sub(self.head)
    }

    #[inline(always)]
    fn look(&mut self) {
        // Acquire, pairs with the release in `Consumer::release`: the consumer's copies out of those slots come
        // before our copies into them.
        self.head = self.ring.head.index.load(Ordering::Acquire);
    }

    /// How many of `n` values fit.
    #[inline(always)]
    fn fit(&mut self, n: usize) -> u32 {
        if (self.known_room() as usize) < n {
            self.look();
        }
        n.min(self.known_room() as usize) as u32
    }

    /// Hands the next `n` slots, which have been written, to the consumer.
    #[inline(always)]
    fn publish(&mut self, n: u32) {
        self.tail = self.tail.wrapping_add(n);
        // Release, pairs with the acquire in `Consumer::look`: our copies into the slots come before the
        // consumer's copies out of them.
        self.ring.tail.index.store(self.tail, Ordering::Release);
    }

    /// # Safety
    /// `fit` allowed `n`, and `from` points to `n` values that the caller gives up.
    #[inline(always)]
    unsafe fn put(&mut self, from: *const T, n: u32) {
        if n == 0 {
            return; // no store: the line stays where it is
        }
        // SAFETY: the slots from tail on are free (`fit`), so only this side touches them; the values are the
        // caller's to give.
        unsafe { self.ring.slots.write(self.tail, from, n) };
        self.publish(n);
    }

    /// Puts one value in; gives it back when the ring is full.
    ///
    /// # Errors
    /// The value, when there is no room.
    #[inline]
    pub fn push(&mut self, value: T) -> Result<(), T> {
        if self.fit(1) == 0 {
            return Err(value);
        }
        // SAFETY: the slot at tail is free, so only this side touches it.
        unsafe { self.ring.slots.put(self.tail, value) };
        self.publish(1);
        Ok(())
    }

    /// Copies values in from the front, as many as fit; returns how many.
    #[inline]
    pub fn push_slice(&mut self, values: &[T]) -> usize
    where
        T: Copy,
    {
        let n = self.fit(values.len());
        // SAFETY: `n` fits and is at most the number of values, which are plain data.
        unsafe { self.put(values.as_ptr(), n) };
        n as usize
    }

    /// Copies all the values in, or none; says whether they are in.
    #[inline]
    pub fn push_exact(&mut self, values: &[T]) -> bool
    where
        T: Copy,
    {
        let n = self.fit(values.len());
        if (n as usize) < values.len() {
            return false;
        }
        // SAFETY: as in `push_slice`.
        unsafe { self.put(values.as_ptr(), n) };
        true
    }

    /// Puts up to `n` values in, as many as fit, which `make` gives in order (0, 1, ...); returns how many. The
    /// consumer sees them all at once. When `make` panics, those made before are in.
    #[inline]
    pub fn push_from(&mut self, n: usize, mut make: impl FnMut(usize) -> T) -> usize {
        let n = self.fit(n) as usize;
        let mut filling = Filling { side: self, done: 0 };
        while (filling.done as usize) < n {
            filling.add(make(filling.done as usize));
        }
        n
    }

    /// Moves values in from an iterator until the ring is full or the iterator ends; returns how many. Nothing is
    /// taken from the iterator that does not fit. When the iterator panics, what it gave before is in.
    #[inline]
    pub fn push_iter(&mut self, values: impl IntoIterator<Item = T>) -> usize {
        let room = self.room();
        let mut filling = Filling { side: self, done: 0 };
        for value in values.into_iter().take(room) {
            filling.add(value);
        }
        filling.done as usize
    }
}

/// Slots being written one by one; published together, in a panic too.
struct Filling<'a, T: Send> {
    side: &'a mut Producer<T>,
    done: u32,
}

impl<T: Send> Filling<'_, T> {
    /// Callers add no more than `fit` or `room` allowed.
    #[inline(always)]
    fn add(&mut self, value: T) {
        let index = self.side.tail.wrapping_add(self.done);
        // SAFETY: the slot is free, by the check of the callers, so only this side touches it.
        unsafe { self.side.ring.slots.put(index, value) };
        self.done += 1;
    }
}

impl<T: Send> Drop for Filling<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.done > 0 {
            self.side.publish(self.done);
        }
    }
}

impl Producer<Packet> {
    /// Moves packets in from the front of the batch, as many as fit; returns how many. What is left is the
    /// caller's.
    #[inline]
    pub fn send(&mut self, batch: &mut Batch) -> usize {
        let n = self.fit(batch.len());
        // SAFETY: `n` fits and is at most the length of the batch, which forgets those packets right after.
        unsafe {
            self.put(batch.as_slice().as_ptr(), n);
            batch.forget_front(n as usize);
        }
        n as usize
    }

    /// Moves the whole batch in, or nothing; says whether it is in.
    #[inline]
    pub fn send_exact(&mut self, batch: &mut Batch) -> bool {
        let whole = self.fit(batch.len()) as usize == batch.len();
        if whole {
            self.send(batch);
        }
        whole
    }
}

impl<T: Send> Drop for Producer<T> {
    fn drop(&mut self) {
        // Release, pairs with the acquire in `Consumer::is_abandoned`: the last `publish` comes before its look.
        self.ring.tail.gone.store(true, Ordering::Release);
    }
}

impl<T: Send> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let used = self.capacity() - self.known_room() as usize;
        write!(f, "Producer(at most {used} of {})", self.capacity())
    }
}
