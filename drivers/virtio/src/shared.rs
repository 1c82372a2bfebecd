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
        let value = self.0.at(at)[WORD].load(order);
        #[cfg(test)]
        witness::tell(self.place::<WORD>(at), size_of::<A>());
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

    #[cfg(test)]
    fn place<const WORD: usize>(&self, at: u32) -> Iova {
        let group = (at & self.mask()) as usize * size_of::<[A; N]>();
        self.iova().offset((group + WORD * size_of::<A>()) as u64)
    }
}

/// Tells tests of every read, right behind it.
#[cfg(test)]
pub(crate) mod witness {
    use barline::mem::Iova;
    use std::cell::RefCell;

    /// Gets the device's address of what was read, and its length in bytes.
    type Watcher = Box<dyn FnMut(Iova, usize)>;

    thread_local! {
        static WATCHER: RefCell<Option<Watcher>> = const { RefCell::new(None) };
    }

    /// Has `watcher` told of this thread's reads while `work` runs.
    pub fn watched<R>(watcher: impl FnMut(Iova, usize) + 'static, work: impl FnOnce() -> R) -> R {
        WATCHER.set(Some(Box::new(watcher)));
        let result = work();
        WATCHER.set(None);
        result
    }

    pub(super) fn tell(at: Iova, len: usize) {
        WATCHER.with_borrow_mut(|watcher| {
            if let Some(watcher) = watcher {
                watcher(at, len);
            }
        });
    }
}
