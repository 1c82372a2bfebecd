//! For tests: every read of the peer's memory is told, right behind it, so that a test can count reads and play a peer that
//! rewrites what was read.

use super::GuestMemory;
use std::cell::RefCell;
use std::ops::Deref;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

/// Gets the place of what was read, in this process, and its length in bytes.
type Watcher = Box<dyn FnMut(usize, usize)>;

thread_local! {
    static WATCHER: RefCell<Option<Watcher>> = const { RefCell::new(None) };
}

/// Has `watcher` told of this thread's reads while `work` runs.
pub(crate) fn watched<R>(watcher: impl FnMut(usize, usize) + 'static, work: impl FnOnce() -> R) -> R {
    WATCHER.set(Some(Box::new(watcher)));
    let result = work();
    WATCHER.set(None);
    result
}

pub(super) fn tell(at: usize, len: usize) {
    WATCHER.with_borrow_mut(|watcher| {
        if let Some(watcher) = watcher {
            watcher(at, len);
        }
    });
}

/// Where the guest's memory is in this process: address there, address here, length.
pub(crate) fn places(memory: &GuestMemory) -> Vec<(u64, usize, u64)> {
    let place = |region: &std::sync::Arc<super::Region>| {
        let start = region.mapping.start.as_ptr() as usize;
        (region.guest, start, region.len())
    };
    memory.regions.iter().map(place).collect()
}

/// An atomic word whose reads are told.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Told<A>(A);

impl<A> Deref for Told<A> {
    type Target = A;

    fn deref(&self) -> &A {
        &self.0
    }
}

macro_rules! loads {
    ($($atomic:ident: $value:ident),*) => {$(
        impl Told<$atomic> {
            pub fn load(&self, order: Ordering) -> $value {
                let value = self.0.load(order);
                tell(self.0.as_ptr() as usize, size_of::<$value>());
                value
            }
        }
    )*};
}
loads!(AtomicU16: u16, AtomicU32: u32, AtomicU64: u64);
