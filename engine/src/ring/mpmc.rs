//! A bounded ring between any number of threads, in batches.

use super::index::Shape;
use super::slots::Slots;
use crate::pool::{Batch, Packet};
use ends::{Ends, Forever};
use std::fmt;

mod ends;
#[cfg(not(loom))]
mod shared;

#[cfg(not(loom))]
pub use shared::{SharedRing, Stalled, Word};

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
