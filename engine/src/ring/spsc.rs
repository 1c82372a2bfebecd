//! A bounded ring from one thread to one other, in batches.

mod consumer;
mod producer;

use super::index::Shape;
use super::slots::Slots;
use super::sync::{Arc, AtomicBool, AtomicU32, Ordering};
pub use consumer::Consumer;
use crossbeam::utils::CachePadded;
pub use producer::Producer;
use std::fmt;
use std::marker::PhantomData;

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
