//! Reads of memory that the other side may write to at any time, told right behind each, so that a test can count them and play
//! a peer that rewrites what was read. A driver tells them in its own unit tests (`#[cfg(test)]`): elsewhere nobody watches.

use std::cell::RefCell;

/// Gets the place of what was read, in this process, and its length in bytes.
type Watcher = Box<dyn FnMut(usize, usize)>;

thread_local! {
    static WATCHER: RefCell<Option<Watcher>> = const { RefCell::new(None) };
}

/// Has `watcher` told of this thread's reads while `work` runs: their places in this process, and bytes.
pub fn watched<R>(watcher: impl FnMut(usize, usize) + 'static, work: impl FnOnce() -> R) -> R {
    WATCHER.set(Some(Box::new(watcher)));
    let result = work();
    WATCHER.set(None);
    result
}

/// Tells that `len` bytes were read at the address `at` of this process.
pub fn tell(at: usize, len: usize) {
    WATCHER.with_borrow_mut(|watcher| {
        if let Some(watcher) = watcher {
            watcher(at, len);
        }
    });
}
