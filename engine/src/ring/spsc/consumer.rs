use super::Shared;
use crate::pool::{Batch, Packet};
use crate::ring::sync::{Arc, Ordering};
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

/// The side that takes values out. `Send`, not `Sync`, not `Clone`.
pub struct Consumer<T: Send> {
    pub(super) ring: Arc<Shared<T>>,
    /// Oldest index in use: what `ring.head` says.
    pub(super) head: u32,
    /// The producer's index when it was last looked at: it may have moved on since.
    pub(super) tail: u32,
    pub(super) _not_sync: PhantomData<Cell<()>>,
}

impl<T: Send> Consumer<T> {
    /// Slots in all.
    pub fn capacity(&self) -> usize {
        self.ring.slots.shape.capacity() as usize
    }

    /// Values in the ring now; the producer can only make it more.
    pub fn available(&mut self) -> usize {
        self.look();
        self.known() as usize
    }

    /// Whether the producer is gone. What it put in before can still be taken: a `pop` after this said `true`
    /// that finds nothing means that nothing will ever come.
    pub fn is_abandoned(&self) -> bool {
        // Acquire, pairs with the release in `Producer::drop`: its last `publish` comes before our next look.
        self.ring.tail.gone.load(Ordering::Acquire)
    }

    #[inline(always)]
    fn known(&self) -> u32 {
        // In range, because the producer's index is between `head` and `head + capacity`: no clamp needed.
        self.tail.wrapping_sub(self.head)
    }

    #[inline(always)]
    fn look(&mut self) {
        // Acquire, pairs with the release in `Producer::publish`: the producer's copies into those slots come
        // before our copies out of them.
        self.tail = self.ring.tail.index.load(Ordering::Acquire);
    }

    /// How many of `n` values are there.
    #[inline(always)]
    fn ready(&mut self, n: usize) -> u32 {
        if (self.known() as usize) < n {
            self.look();
        }
        n.min(self.known() as usize) as u32
    }

    /// Hands the `n` oldest slots, which have been read, back to the producer.
    #[inline(always)]
    fn release(&mut self, n: u32) {
        self.head = self.head.wrapping_add(n);
        // Release, pairs with the acquire in `Producer::look`: our copies out of the slots come before the
        // producer's copies into them.
        self.ring.head.index.store(self.head, Ordering::Release);
    }

    /// # Safety
    /// `ready` allowed `n`, and `to` has room for them; the values are the caller's from then on.
    #[inline(always)]
    unsafe fn take(&mut self, to: *mut T, n: u32) {
        if n == 0 {
            return; // no store: the line stays where it is
        }
        // SAFETY: the slots from head on hold values (`ready`), which the producer does not touch before
        // `release`; they are read once, because head moves past them.
        unsafe { self.ring.slots.read(self.head, to, n) };
        self.release(n);
    }

    /// Takes the oldest value.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.ready(1) == 0 {
            return None;
        }
        // SAFETY: the slot at head holds a value; head moves past it.
        let value = unsafe { self.ring.slots.take(self.head) };
        self.release(1);
        Some(value)
    }

    /// Copies the oldest values to the front of `to`, as many as there are and fit; returns how many.
    #[inline]
    pub fn pop_slice(&mut self, to: &mut [T]) -> usize
    where
        T: Copy,
    {
        let n = self.ready(to.len());
        // SAFETY: `n` are ready and fit; what they overwrite is plain data.
        unsafe { self.take(to.as_mut_ptr(), n) };
        n as usize
    }

    /// Fills all of `to`, or takes nothing; says whether it is filled.
    #[inline]
    pub fn pop_exact(&mut self, to: &mut [T]) -> bool
    where
        T: Copy,
    {
        let n = self.ready(to.len());
        if (n as usize) < to.len() {
            return false;
        }
        // SAFETY: as in `pop_slice`.
        unsafe { self.take(to.as_mut_ptr(), n) };
        true
    }

    /// Moves up to `n` of the oldest values to the back of `to`; returns how many there were.
    #[inline]
    pub fn pop_into(&mut self, to: &mut Vec<T>, n: usize) -> usize {
        let n = self.ready(n);
        to.reserve(n as usize);
        // SAFETY: the vector has room for `n` more, which `take` writes before the length counts them.
        unsafe {
            self.take(to.spare_capacity_mut().as_mut_ptr().cast(), n);
            to.set_len(to.len() + n as usize);
        }
        n as usize
    }

    /// Takes up to `n` of the oldest values, one by one; returns how many there were. The producer gets the slots
    /// back all at once. When `each` panics, the value it was given is gone and those after it stay.
    #[inline]
    pub fn pop_each(&mut self, n: usize, mut each: impl FnMut(T)) -> usize {
        let n = self.ready(n);
        let taking = &mut Taking { side: self, done: 0 };
        while taking.done < n {
            // SAFETY: the slot holds a value (`ready`), and `done` moves past it before anything can panic.
            let value = unsafe {
                taking
                    .side
                    .ring
                    .slots
                    .take(taking.side.head.wrapping_add(taking.done))
            };
            taking.done += 1;
            each(value);
        }
        n as usize
    }
}

/// Slots being read one by one; given back together, in a panic too.
struct Taking<'a, T: Send> {
    side: &'a mut Consumer<T>,
    done: u32,
}

impl<T: Send> Drop for Taking<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.done > 0 {
            self.side.release(self.done);
        }
    }
}

impl Consumer<Packet> {
    /// Moves packets to the back of the batch, as many as there are and fit; returns how many.
    #[inline]
    pub fn receive(&mut self, batch: &mut Batch) -> usize {
        let n = self.ready(batch.room());
        if n == 0 {
            return 0;
        }
        let spare = batch.spare();
        debug_assert!(spare.len() >= n as usize);
        // SAFETY: `spare` is all the room, at least `n`; `take` writes `n` packets there, which the batch then
        // owns.
        unsafe {
            self.take(spare.as_mut_ptr().cast(), n);
            batch.grow(n as usize);
        }
        n as usize
    }
}

impl<T: Send> Drop for Consumer<T> {
    fn drop(&mut self) {
        // Release, pairs with the acquire in `Producer::is_abandoned`: our last reads come before its look.
        self.ring.head.gone.store(true, Ordering::Release);
    }
}

impl<T: Send> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Consumer(at least {} of {})", self.known(), self.capacity())
    }
}
