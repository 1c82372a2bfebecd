use super::cpu::ticks;

/// When to look again at a ring that another core fills: leaving it alone for a moment lets more come at a time.
#[derive(Debug)]
pub struct Pace {
    pause: u64,
    /// None: at any time.
    until: Option<u64>,
}

impl Pace {
    /// `pause` in ticks of the processor's time-stamp counter; where it has none that is cheap to read, there is no pause.
    pub fn new(pause: u32) -> Self {
        Self {
            pause: pause.into(),
            until: None,
        }
    }

    /// Whether it is too early.
    #[inline(always)]
    pub fn holds(&self) -> bool {
        is_ahead(self.until)
    }

    /// What the last look found: all that was wanted, or less.
    #[inline(always)]
    pub fn found(&mut self, all: bool) {
        self.until = match all {
            true => None,
            false => ticks().map(|now| now.wrapping_add(self.pause)),
        };
    }
}

/// Whether a moment of the time-stamp counter, if there is one, is still to come.
#[inline(always)]
pub(super) fn is_ahead(moment: Option<u64>) -> bool {
    moment.is_some_and(|moment| ticks().is_some_and(|now| moment.wrapping_sub(now).cast_signed() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_ring_is_looked_at_again_after_a_while_and_a_full_one_at_once() {
        let mut pace = Pace::new(2000);
        assert!(!pace.holds());
        pace.until = ticks().map(|now| now + (1 << 40));
        assert_eq!(pace.holds(), ticks().is_some());
        pace.found(true);
        assert!(!pace.holds());
        pace.found(false);
        while pace.holds() {}
    }
}
