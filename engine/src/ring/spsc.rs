//! A bounded ring from one thread to one other, in batches.

use super::index::Shape;
#[cfg(loom)]
use super::sync::UnsafeCell;
use super::sync::{Arc, AtomicBool, AtomicU32, Ordering};
use crate::pool::{Batch, Packet};
use crossbeam::utils::CachePadded;
#[cfg(not(loom))]
use std::alloc::Layout;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
#[cfg(not(loom))]
use std::ptr::NonNull;

/// A bounded ring between one producer and one consumer, made to be [split](Spsc::split).
///
/// The two sides share two cache lines, one written by each, and each keeps the last index it saw of the other:
/// a batch costs one store to the own line, and a load of the other's only when the remembered index does not
/// suffice. There is no locked instruction.
pub struct Spsc<T: Send> {
    shared: Shared<T>,
}

impl<T: Send> Spsc<T> {
    /// A ring of `capacity` slots, all of which can be used; `None` unless that is a power of two and at most
    /// [`MAX_CAPACITY`](super::index::MAX_CAPACITY).
    pub fn new(capacity: usize) -> Option<Self> {
        Self::with_start(capacity, 0)
    }

    /// A ring whose indices start at `start` instead of 0: so that tests reach the place where they wrap.
    #[doc(hidden)]
    pub fn with_start(capacity: usize, start: u32) -> Option<Self> {
        let shape = Shape::new(capacity)?;
        Some(Self {
            shared: Shared {
                tail: CachePadded::new(Side::new(start)),
                head: CachePadded::new(Side::new(start)),
                slots: Slots::new(shape)?,
            },
        })
    }

    /// The two sides, each for its own thread.
    pub fn split(self) -> (Producer<T>, Consumer<T>) {
        // Nobody else has the ring yet: what is read here is what `with_start` wrote.
        let start = self.shared.tail.index.load(Ordering::Relaxed);
        let ring = Arc::new(self.shared);
        let producer = Producer {
            ring: ring.clone(),
            tail: start,
            head: start,
            _not_sync: PhantomData,
        };
        let consumer = Consumer {
            ring,
            head: start,
            tail: start,
            _not_sync: PhantomData,
        };
        (producer, consumer)
    }
}

impl<T: Send> fmt::Debug for Spsc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spsc(0 of {})", self.shared.slots.shape.capacity())
    }
}

struct Shared<T> {
    /// Written by the producer only.
    tail: CachePadded<Side>,
    /// Written by the consumer only.
    head: CachePadded<Side>,
    /// Read-only after the start, on lines of its own.
    slots: Slots<T>,
}

struct Side {
    index: AtomicU32,
    gone: AtomicBool,
}

impl Side {
    fn new(start: u32) -> Self {
        Self {
            index: AtomicU32::new(start),
            gone: AtomicBool::new(false),
        }
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        if !std::mem::needs_drop::<T>() {
            return;
        }
        // Both sides are gone, and the reference count that said so ordered their stores before these loads.
        let mut head = self.head.index.load(Ordering::Relaxed);
        let tail = self.tail.index.load(Ordering::Relaxed);
        while head != tail {
            // SAFETY: from head to tail the slots hold values, and this is their only reader; each is read once.
            drop(unsafe { self.slots.take(head) });
            head = head.wrapping_add(1);
        }
    }
}

/// The memory of a ring: slots that are written and read by raw copies. Who owns which slot is the ring's affair.
///
/// It starts at a cache line: a batch then touches no more lines than it must, and no vector store of an aligned
/// batch straddles two.
#[cfg(not(loom))]
pub(super) struct Slots<T> {
    pub(super) shape: Shape,
    cells: NonNull<T>,
    layout: Layout,
}

/// The same for the models: loom watches every slot.
#[cfg(loom)]
pub(super) struct Slots<T> {
    pub(super) shape: Shape,
    /// Loaded before every copy. Loom's clocks tick at atomics only: without it, a copy right after a release would
    /// pass for one before it, and a missing ordering would go unseen.
    tick: AtomicU32,
    cells: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

// SAFETY: the slots are plain memory owned by this value; values in them move between threads.
unsafe impl<T: Send> Send for Slots<T> {}
// SAFETY: every access is an unsafe method whose caller promises that no other races with it.
unsafe impl<T: Send> Sync for Slots<T> {}

#[cfg(not(loom))]
impl<T> Drop for Slots<T> {
    fn drop(&mut self) {
        if self.layout.size() > 0 {
            // SAFETY: allocated in `new` with this layout.
            unsafe { std::alloc::dealloc(self.cells.as_ptr().cast(), self.layout) };
        }
    }
}

impl<T> Slots<T> {
    /// `None` when so much memory cannot be addressed.
    #[cfg(not(loom))]
    pub(super) fn new(shape: Shape) -> Option<Self> {
        let layout = Layout::array::<T>(shape.capacity() as usize).ok()?;
        let layout = layout.align_to(align_of::<CachePadded<u8>>()).ok()?;
        let cells = if layout.size() == 0 {
            NonNull::dangling()
        } else {
            // SAFETY: the size is not 0.
            NonNull::new(unsafe { std::alloc::alloc(layout) }.cast())
                .unwrap_or_else(|| std::alloc::handle_alloc_error(layout))
        };
        Some(Self { shape, cells, layout })
    }

    #[cfg(loom)]
    pub(super) fn new(shape: Shape) -> Option<Self> {
        let cells = (0..shape.capacity())
            .map(|_| UnsafeCell::new(MaybeUninit::uninit()))
            .collect();
        Some(Self {
            shape,
            tick: AtomicU32::new(0),
            cells,
        })
    }

    /// Moves `n` values from `from` on to the slots from `index` on.
    ///
    /// # Safety
    /// `n` is at most the capacity; `from` points to `n` values, which the caller gives up; nobody else reads or
    /// writes those slots meanwhile.
    #[inline(always)]
    pub(super) unsafe fn write(&self, index: u32, from: *const T, n: u32) {
        let runs = self.shape.runs(index, n);
        #[cfg(not(loom))]
        // SAFETY: `runs` lies within the `capacity` cells whatever the index; source and ring are different
        // memory, because nobody gets a pointer into the ring; the rest is the caller's promise.
        unsafe {
            let cells = self.cells.as_ptr();
            copy(from, cells.add(runs.start), runs.first);
            if runs.second > 0 {
                copy(from.add(runs.first), cells, runs.second);
            }
        }
        #[cfg(loom)]
        self.tick.load(Ordering::Relaxed);
        #[cfg(loom)]
        for i in 0..runs.first + runs.second {
            let at = self.shape.position(index.wrapping_add(i as u32));
            // SAFETY: the caller's promise, one value at a time.
            self.cells[at].with_mut(|cell| unsafe { (*cell).write(from.add(i).read()) });
        }
    }

    /// Moves `n` values from the slots from `index` on to `to`.
    ///
    /// # Safety
    /// `n` is at most the capacity; the slots hold values that are given up to the caller; nobody else writes
    /// them meanwhile; `to` has room for `n`.
    #[inline(always)]
    pub(super) unsafe fn read(&self, index: u32, to: *mut T, n: u32) {
        let runs = self.shape.runs(index, n);
        #[cfg(not(loom))]
        // SAFETY: as in `write`.
        unsafe {
            let cells = self.cells.as_ptr();
            copy(cells.add(runs.start), to, runs.first);
            if runs.second > 0 {
                copy(cells, to.add(runs.first), runs.second);
            }
        }
        #[cfg(loom)]
        self.tick.load(Ordering::Relaxed);
        #[cfg(loom)]
        for i in 0..runs.first + runs.second {
            let at = self.shape.position(index.wrapping_add(i as u32));
            // SAFETY: the caller's promise, one value at a time.
            self.cells[at].with(|cell| unsafe { to.add(i).write((*cell).assume_init_read()) });
        }
    }

    /// Puts one value into the slot of `index`.
    ///
    /// # Safety
    /// As for [`Slots::write`].
    #[inline(always)]
    pub(super) unsafe fn put(&self, index: u32, value: T) {
        let value = std::mem::ManuallyDrop::new(value);
        // SAFETY: the caller's promise; the value is given up: `ManuallyDrop` does not drop it.
        unsafe { self.write(index, &raw const *value, 1) };
    }

    /// Takes one value out of the slot of `index`.
    ///
    /// # Safety
    /// As for [`Slots::read`].
    #[inline(always)]
    pub(super) unsafe fn take(&self, index: u32) -> T {
        let mut value = MaybeUninit::uninit();
        // SAFETY: the caller's promise; the value is written by it.
        unsafe {
            self.read(index, value.as_mut_ptr(), 1);
            value.assume_init()
        }
    }
}

/// # Safety
/// As for `std::ptr::copy_nonoverlapping`.
#[cfg(not(loom))]
#[inline(always)]
unsafe fn copy<T>(from: *const T, to: *mut T, n: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        if n == 1 {
            std::ptr::copy_nonoverlapping(from, to, 1); // a move or two instead of a call
        } else {
            std::ptr::copy_nonoverlapping(from, to, n);
        }
    }
}

/// The side that puts values in. `Send`, not `Sync`, not `Clone`.
pub struct Producer<T: Send> {
    ring: Arc<Shared<T>>,
    /// Next index to fill: what `ring.tail` says.
    tail: u32,
    /// The consumer's index when it was last looked at: it may have moved on since.
    head: u32,
    _not_sync: PhantomData<Cell<()>>,
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

/// The side that takes values out. `Send`, not `Sync`, not `Clone`.
pub struct Consumer<T: Send> {
    ring: Arc<Shared<T>>,
    /// Oldest index in use: what `ring.head` says.
    head: u32,
    /// The producer's index when it was last looked at: it may have moved on since.
    tail: u32,
    _not_sync: PhantomData<Cell<()>>,
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
