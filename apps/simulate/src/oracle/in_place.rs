//! A ring whose device writes over the descriptors.

use super::{Limits, Oracle, Seen};
use barline::mem::{Iova, LocalDomain};
use std::fmt::{self, Debug};

/// Where a ring of descriptors of 16 bytes stands.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The first descriptor.
    pub base: u64,
    /// Descriptors.
    pub size: u32,
    /// One past the last that the device may use.
    pub tail: u32,
}

/// What a receive descriptor says to whoever reads it by the data sheet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// Nothing yet.
    Pending,
    /// A buffer is full, and its frame goes on in the next.
    Part,
    /// A frame ends here.
    End {
        /// Bytes in the last buffer.
        len: u32,
        /// The frame is damaged.
        damaged: bool,
    },
}

/// A receive queue of such a device.
pub struct InPlace<F> {
    /// Where the ring is now; `None` where there is none.
    pub place: F,
    /// Reads a write-back.
    pub completion: fn([u64; 2]) -> Completion,
    /// The next descriptor.
    head: u32,
    /// Parts of a frame came before it.
    within: bool,
}

impl<F> InPlace<F> {
    /// From the first descriptor on.
    pub fn new(place: F, completion: fn([u64; 2]) -> Completion) -> Self {
        Self {
            place,
            completion,
            head: 0,
            within: false,
        }
    }
}

impl<F> Debug for InPlace<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InPlace(at {})", self.head)
    }
}

impl<F: Fn() -> Option<Place> + Clone + 'static> Oracle for InPlace<F> {
    fn look(&mut self, domain: &LocalDomain, limits: Limits) -> Option<Seen> {
        let ring = (self.place)()?;
        let mut seen = Seen::default();
        while self.head != ring.tail && seen.packets < limits.room {
            let at = Iova::new(ring.base + u64::from(self.head) * 16);
            let words = [domain.load(at).ok()?, domain.load(at.offset(8)).ok()?];
            match (self.completion)(words) {
                Completion::Pending => break,
                Completion::Part => self.within = true,
                Completion::End { len, damaged } => {
                    if damaged {
                        seen.errors += 1;
                    } else if self.within || len == 0 || len > limits.buffer {
                        seen.lengths += 1;
                    } else {
                        seen.packets += 1;
                        seen.bytes += u64::from(len);
                    }
                    self.within = false;
                }
            }
            self.head = (self.head + 1) % ring.size;
        }
        Some(seen)
    }

    fn copy(&self) -> Box<dyn Oracle> {
        Box::new(Self {
            place: self.place.clone(),
            ..*self
        })
    }
}
