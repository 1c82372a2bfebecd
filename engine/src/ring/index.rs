//! Index arithmetic of the rings: pure functions, no memory.
//!
//! Indices run freely through all of `u32` and wrap; an index becomes a position only by masking. The differences
//! are therefore right as long as the capacity is at most half of the range, and full and empty are distinct
//! without a wasted slot. Everything here is total: whatever indices come in (another process may have written
//! them), positions stay inside the ring and counts stay at most the capacity.

/// The most slots a ring can have: half of what a `u32` counts.
pub const MAX_CAPACITY: usize = 1 << 31;

/// A ring's capacity: a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    mask: u32,
}

/// Where `n` slots from an index on lie: `first` of them from `start` on, the rest from position 0 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runs {
    /// Position of the first slot.
    pub start: usize,
    /// Slots before the end of the ring.
    pub first: usize,
    /// Slots from position 0 on.
    pub second: usize,
}

impl Shape {
    /// A ring of `capacity` slots; `None` unless that is a power of two and at most [`MAX_CAPACITY`].
    pub const fn new(capacity: usize) -> Option<Self> {
        if !capacity.is_power_of_two() || capacity > MAX_CAPACITY {
            return None;
        }
        Some(Self {
            mask: (capacity - 1) as u32,
        })
    }

    /// Slots.
    #[inline(always)]
    pub const fn capacity(self) -> u32 {
        self.mask + 1
    }

    /// The position of an index.
    #[inline(always)]
    pub const fn position(self, index: u32) -> usize {
        (index & self.mask) as usize
    }

    /// Slots in use between `head` (oldest) and `tail` (one past the newest).
    ///
    /// `None` when no state of a ring has this pair: the two were not read at one moment, or somebody lies.
    #[inline(always)]
    pub const fn used(self, head: u32, tail: u32) -> Option<u32> {
        let used = tail.wrapping_sub(head);
        if used <= self.capacity() { Some(used) } else { None }
    }

    /// Slots free when the oldest in use is `head` and the next to fill is `tail`; `None` as in [`Shape::used`].
    #[inline(always)]
    pub const fn free(self, head: u32, tail: u32) -> Option<u32> {
        match self.used(head, tail) {
            Some(used) => Some(self.capacity() - used),
            None => None,
        }
    }

    /// The positions of `n` slots (at most the capacity; more are cut off) from `index` on.
    #[inline(always)]
    pub const fn runs(self, index: u32, n: u32) -> Runs {
        let n = if n <= self.capacity() { n } else { self.capacity() };
        let start = index & self.mask;
        let room = self.capacity() - start;
        let first = if n < room { n } else { room };
        Runs {
            start: start as usize,
            first: first as usize,
            second: (n - first) as usize,
        }
    }
}
