//! The memory of rings between threads.

use super::index::Shape;
#[cfg(loom)]
use super::sync::{AtomicU32, Ordering, UnsafeCell};
#[cfg(not(loom))]
use crossbeam::utils::CachePadded;
#[cfg(not(loom))]
use std::alloc::Layout;
use std::mem::MaybeUninit;
#[cfg(not(loom))]
use std::ptr::NonNull;

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
