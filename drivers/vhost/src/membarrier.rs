//! For loom, which knows no barrier in all threads at once: what the kernel promises of one (membarrier(2)), and no more.
//!
//! The kernel interrupts each thread of the process that runs, anywhere between two of its accesses, has it do a full barrier there,
//! and waits for it; a thread that does not run has passed one when it was switched. So here a worker says between any two of its
//! accesses that it can be interrupted ([`point`]): if it is (loom tries both) it makes a fence there, in its own order. The caller
//! does not wait: a barrier that has not been answered when it looks is none, and of such an order of events nothing is said. To wait
//! would hide orders, since loom lets a thread that has yielded go on only when the others cannot.

use loom::sync::atomic::Ordering::{Relaxed, SeqCst};
use loom::sync::atomic::{AtomicU32, fence};
use std::cell::Cell;

/// Between the caller and the one thread that it interrupts. All orders are the fences': as by an interrupt, nothing else is promised.
struct Line {
    asked: AtomicU32,
    answered: AtomicU32,
    ended: AtomicU32,
}

loom::lazy_static! {
    static ref LINE: Line = Line {
        asked: AtomicU32::new(0),
        answered: AtomicU32::new(0),
        ended: AtomicU32::new(0),
    };
}

loom::thread_local! {
    /// What this thread has answered: not read from the line, since loom looks for another order of a store and the access right
    /// before it alone, and the caller's look is to be reordered with the answer.
    static ANSWERED: Cell<u32> = Cell::new(0);
}

/// The barrier. To be taken before the thread starts, which so knows what all this stands on without waiting for anybody.
pub(crate) fn barrier() -> fn() -> bool {
    LINE.ended.store(0, Relaxed);
    everywhere
}

fn everywhere() -> bool {
    fence(SeqCst);
    let number = LINE.asked.load(Relaxed) + 1;
    LINE.asked.store(number, Relaxed);
    let done = LINE.answered.load(Relaxed) == number || LINE.ended.load(Relaxed) != 0;
    fence(SeqCst);
    done
}

/// Here the thread can be interrupted.
pub(crate) fn point() {
    let number = LINE.asked.load(Relaxed);
    if ANSWERED.with(|answered| answered.replace(number)) != number {
        fence(SeqCst);
        LINE.answered.store(number, Relaxed);
    }
}

/// The thread ends.
pub(crate) fn end() {
    fence(SeqCst);
    LINE.ended.store(1, Relaxed);
}
