//! Leaving a ring alone for a moment.

use crate::sys::ticks;

/// Ticks for which a ring that was found short is left alone: below a microsecond. A peer that gives buffers one by one is
/// slowed down by who takes each of them at once, because both then fight for the lines of the ring; after a pause there
/// are many. 500 ticks do not suffice, 2,000 bring 57 cycles a frame of 64 bytes down to 31.
const PAUSE: u64 = 2000;

/// When to look at a ring again.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// None: at any time.
    until: Option<u64>,
}

impl Pace {
    /// Whether it is too early.
    #[inline(always)]
    pub fn holds(&self) -> bool {
        self.until
            .is_some_and(|until| ticks().is_some_and(|now| until.wrapping_sub(now).cast_signed() > 0))
    }

    /// What the last look found: all that was wanted, or less.
    #[inline(always)]
    pub fn found(&mut self, all: bool) {
        self.until = match all {
            true => None,
            false => ticks().map(|now| now.wrapping_add(PAUSE)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_ring_is_looked_at_again_after_a_while_and_a_full_one_at_once() {
        let mut pace = Pace::default();
        assert!(!pace.holds());
        pace.until = ticks().map(|now| now + (1 << 40));
        assert_eq!(pace.holds(), ticks().is_some());
        pace.found(true);
        assert!(!pace.holds());
        pace.found(false);
        while pace.holds() {}
    }
}
