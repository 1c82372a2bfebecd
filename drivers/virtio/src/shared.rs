//! Words that the device may write whenever it likes. Who reads one gets a value, not the word: a second read is a second
//! word in the source, and tests see it.

use barline::mem::{DescWords, DmaSlice, Iova, Mapping};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

/// An atomic.
pub(crate) trait Atomic {
    type Value: Copy;
    fn load(&self, order: Ordering) -> Self::Value;
    fn store(&self, value: Self::Value, order: Ordering);
}

macro_rules! atomics {
    ($($atomic:ident: $value:ident),*) => {$(
        impl Atomic for $atomic {
            type Value = $value;

            #[inline(always)]
            fn load(&self, order: Ordering) -> $value {
                self.load(order)
            }

            #[inline(always)]
            fn store(&self, value: $value, order: Ordering) {
                self.store(value, order);
            }
        }
    )*};
}
atomics!(AtomicU16: u16, AtomicU32: u32, AtomicU64: u64);

/// Groups of `N` words each.
#[derive(Debug)]
pub(crate) struct Shared<A: Atomic, const N: usize>(DmaSlice<[A; N]>)
where
    [A; N]: DescWords;

impl<A: Atomic, const N: usize> Shared<A, N>
where
    [A; N]: DescWords,
{
    /// As [`DmaSlice::new`].
    pub fn new(memory: &Arc<Mapping>, at: usize, len: u32) -> Option<Self> {
        DmaSlice::new(memory, at, len).map(Self)
    }

    /// Reads a word of the group at a free-running index.
    #[inline(always)]
    pub fn load<const WORD: usize>(&self, at: u32, order: Ordering) -> A::Value {
        let word = &self.0.at(at)[WORD];
        let value = word.load(order);
        tell(std::ptr::from_ref(word) as usize, size_of::<A>());
        value
    }

    #[inline(always)]
    pub fn store<const WORD: usize>(&self, at: u32, value: A::Value, order: Ordering) {
        self.0.at(at)[WORD].store(value, order);
    }

    /// The group itself, to wait for a change.
    pub fn watched(&self, at: u32) -> &[A; N] {
        self.0.at(at)
    }

    #[inline(always)]
    pub fn len(&self) -> u32 {
        self.0.len()
    }

    #[inline(always)]
    pub fn mask(&self) -> u32 {
        self.0.mask()
    }

    pub fn iova(&self) -> Iova {
        self.0.iova()
    }
}

/// So many bytes were read there: for tests.
#[inline(always)]
pub(crate) fn tell(at: usize, len: usize) {
    #[cfg(test)]
    barline_conformance::witness::tell(at, len);
    let _ = (at, len);
}
