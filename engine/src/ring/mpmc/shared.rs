//! The same ring over memory that processes share.

use super::ends::{Ends, Patience, Reserved};
use crate::ring::index::Shape;
use crate::ring::sync::Wait;
use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a slot of shared memory holds: plain numbers, for any bit pattern may be found there.
pub trait Word: Copy + sealed::Sealed + 'static {
    /// The same in memory that another process may write to at any time.
    #[doc(hidden)]
    type Cell: Sync;
    #[doc(hidden)]
    fn load(cell: &Self::Cell) -> Self;
    #[doc(hidden)]
    fn store(cell: &Self::Cell, word: Self);
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for u32 {}
    impl Sealed for u64 {}
}

macro_rules! word {
    ($word:ty, $cell:ty) => {
        impl Word for $word {
            type Cell = $cell;

            // Relaxed: the tails order the slots; atomic, because a hostile peer may write at any time, and that
            // must be a wrong number here, not undefined behaviour.
            #[inline(always)]
            fn load(cell: &$cell) -> $word {
                cell.load(Ordering::Relaxed)
            }

            #[inline(always)]
            fn store(cell: &$cell, word: $word) {
                cell.store(word, Ordering::Relaxed);
            }
        }
    };
}

word!(u32, AtomicU32);
word!(u64, AtomicU64);

/// Another process holds up the ring: killed, stopped or malicious between reserving slots and publishing them.
/// The ring is of no use any more; the values of the call are lost in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("another process reserved slots of the shared ring and never published them; make a new ring")]
pub struct Stalled;

/// An [`Mpmc`](super::Mpmc) of words over memory that the caller gives and other processes may map too.
///
/// In the memory there are indices and words, no pointer and no capacity: both sides agree on the capacity by
/// other means. All indices are `u32`: the producers' head at offset 0, what they have seen of the consumers' tail at 4,
/// their tail at 128; the consumers' at 256, 260 and 384. The slots start at 512. Numbers are in the machine's byte
/// order.
///
/// A peer that breaks the rules can make values be lost, doubled or invented, and can make the ring stall
/// ([`Stalled`]); it cannot make this side touch anything outside the memory, or wait for longer than its
/// patience.
pub struct SharedRing<'m, W: Word> {
    ends: &'m Ends,
    slots: NonNull<W::Cell>,
    shape: Shape,
    patience: Duration,
    _memory: PhantomData<&'m [W::Cell]>,
}

// SAFETY: the memory is only touched by atomics, from any thread and process.
unsafe impl<W: Word> Send for SharedRing<'_, W> {}
// SAFETY: as above.
unsafe impl<W: Word> Sync for SharedRing<'_, W> {}

/// Where the slots start.
const SLOTS: usize = size_of::<Ends>();

const _: () = assert!(SLOTS == 512 && align_of::<Ends>() == 128);

impl<'m, W: Word> SharedRing<'m, W> {
    /// Where the memory has to start: at a multiple of this.
    pub const ALIGN: usize = align_of::<Ends>();

    /// Bytes of memory that a ring of `capacity` slots takes; `None` unless that is a power of two and at most
    /// [`MAX_CAPACITY`](crate::ring::index::MAX_CAPACITY).
    pub fn bytes(capacity: usize) -> Option<usize> {
        Shape::new(capacity)?;
        capacity.checked_mul(size_of::<W>())?.checked_add(SLOTS)
    }

    /// A view of a ring of `capacity` slots that somebody has made in `memory`; all zeroes are an empty ring.
    ///
    /// `None` for a wrong capacity, or memory that does not start at a multiple of [`SharedRing::ALIGN`].
    ///
    /// # Safety
    /// For all of `'m` there are [`SharedRing::bytes`] mapped, writable bytes, and this process touches them
    /// through `SharedRing`s of the same word only. What other processes do there does not matter.
    pub unsafe fn attach(memory: NonNull<u8>, capacity: usize) -> Option<Self> {
        let shape = Shape::new(capacity)?;
        Self::bytes(capacity)?;
        if !memory.as_ptr().addr().is_multiple_of(Self::ALIGN) {
            return None;
        }
        Some(Self {
            // SAFETY: mapped for 'm, aligned, made of atomics, for which every bit pattern is good.
            ends: unsafe { memory.cast().as_ref() },
            // SAFETY: within the mapped bytes.
            slots: unsafe { memory.add(SLOTS).cast() },
            shape,
            patience: Duration::from_millis(100),
            _memory: PhantomData,
        })
    }

    /// How long a call waits at the most for another process to publish (default 100 ms).
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Slots in all.
    pub fn capacity(&self) -> usize {
        self.shape.capacity() as usize
    }

    /// Words in it: exact when nobody else uses it meanwhile and nobody lies.
    pub fn len(&self) -> usize {
        self.ends.len(self.shape)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline(always)]
    fn cell(&self, batch: Reserved, i: usize) -> &W::Cell {
        let at = self.shape.position(batch.at.wrapping_add(i as u32));
        // SAFETY: masked to the capacity, which `attach` was promised to be there.
        unsafe { self.slots.add(at).as_ref() }
    }

    fn put(&self, words: &[W], exact: bool) -> Result<usize, Stalled> {
        let patience = &mut Until::new(self.patience);
        let batch = self
            .ends
            .to_fill(self.shape, words.len(), exact, patience)
            .ok_or(Stalled)?;
        for (i, word) in words.iter().enumerate().take(batch.n as usize) {
            W::store(self.cell(batch, i), *word);
        }
        if batch.n > 0 && !self.ends.producers.publish(batch, patience) {
            return Err(Stalled);
        }
        Ok(batch.n as usize)
    }

    fn take(&self, to: &mut [W], exact: bool) -> Result<usize, Stalled> {
        let patience = &mut Until::new(self.patience);
        let batch = self
            .ends
            .to_empty(self.shape, to.len(), exact, patience)
            .ok_or(Stalled)?;
        for (i, word) in to.iter_mut().enumerate().take(batch.n as usize) {
            *word = W::load(self.cell(batch, i));
        }
        if batch.n > 0 && !self.ends.consumers.publish(batch, patience) {
            return Err(Stalled);
        }
        Ok(batch.n as usize)
    }

    /// Copies words in from the front, as many as fit; returns how many.
    ///
    /// # Errors
    /// [`Stalled`].
    pub fn push_slice(&self, words: &[W]) -> Result<usize, Stalled> {
        self.put(words, false)
    }

    /// Copies all the words in, or none; says whether they are in.
    ///
    /// # Errors
    /// [`Stalled`].
    pub fn push_exact(&self, words: &[W]) -> Result<bool, Stalled> {
        Ok(self.put(words, true)? == words.len())
    }

    /// Copies the oldest words to the front of `to`, as many as there are and fit; returns how many.
    ///
    /// # Errors
    /// [`Stalled`].
    pub fn pop_slice(&self, to: &mut [W]) -> Result<usize, Stalled> {
        self.take(to, false)
    }

    /// Fills all of `to`, or takes nothing; says whether it is filled.
    ///
    /// # Errors
    /// [`Stalled`].
    pub fn pop_exact(&self, to: &mut [W]) -> Result<bool, Stalled> {
        Ok(self.take(to, true)? == to.len())
    }
}

impl<W: Word> fmt::Debug for SharedRing<'_, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedRing({} of {})", self.len(), self.capacity())
    }
}

/// Patience with an end: the clock starts when the first wait is over.
struct Until {
    patience: Duration,
    wait: Wait,
    lost: u32,
    end: Option<Instant>,
}

impl Until {
    #[inline(always)]
    fn new(patience: Duration) -> Self {
        Self {
            patience,
            wait: Wait::default(),
            lost: 0,
            end: None,
        }
    }

    #[cold]
    fn in_time(&mut self) -> bool {
        let now = Instant::now();
        match self.end {
            Some(end) => now < end,
            None => {
                self.end = now.checked_add(self.patience);
                true
            }
        }
    }
}

impl Patience for Until {
    fn wait(&mut self) -> bool {
        self.wait.step();
        self.in_time()
    }

    fn lost(&mut self) -> bool {
        self.lost = self.lost.wrapping_add(1);
        // The clock costs more than a try: look at it now and then.
        !self.lost.is_multiple_of(256) || self.in_time()
    }
}
