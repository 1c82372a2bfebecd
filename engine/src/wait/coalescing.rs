use super::cpu::ticks;
use super::pace::is_ahead;

/// When to look again at a ring that another core fills so fast that it is better left alone for a moment: lines that both
/// write to cost less when many packets are taken at a time. What a NIC does with its interrupts, for polls.
///
/// A ring is left alone for as long as half of it takes to fill, `LONGEST` at most, and only where `FEWEST` packets come in that time.
/// Slower ones are looked at all the time, so that only a queue that is near its limit anyway has a delay.
#[derive(Debug, Default)]
pub struct Coalescing {
    /// None: look at any time.
    until: Option<u64>,
    /// When a look last found less than was wanted, and what was found since.
    since: u64,
    found: u64,
}

/// In ticks of the time-stamp counter: some 6 microseconds.
const LONGEST: u64 = 16_000;
/// Packets in [`LONGEST`]: about ten million a second.
const FEWEST: u64 = 64;

impl Coalescing {
    /// Whether it is too early. Never where there is no time-stamp counter that is cheap to read.
    #[inline(always)]
    pub fn holds(&self) -> bool {
        is_ahead(self.until)
    }

    /// What a look found, of so many that were wanted, in a ring of so many positions.
    #[inline(always)]
    pub fn found(&mut self, packets: usize, wanted: usize, positions: u32) {
        self.found += packets as u64;
        if packets >= wanted {
            // There may be more at once.
            self.until = None;
        } else if let Some(now) = ticks() {
            let pause = pause(self.found, now.wrapping_sub(self.since), positions / 2);
            self.until = pause.map(|pause| now.wrapping_add(pause));
            (self.since, self.found) = (now, 0);
        }
    }
}

/// How long to wait for `goal` packets, when those that were `found` took so many ticks to come.
#[inline(always)]
fn pause(found: u64, ticks: u64, goal: u32) -> Option<u64> {
    let fast = ticks.saturating_mul(FEWEST) <= LONGEST.saturating_mul(found);
    let pause = || ticks.saturating_mul(goal.into()).checked_div(found);
    fast.then(pause)?.map(|pause| pause.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn half_a_ring_is_waited_for_where_it_comes_soon() {
        // 100 ticks a packet.
        assert_eq!(pause(32, 3_200, 128), Some(12_800));
        assert_eq!(pause(32, 3_200, 32), Some(3_200));
        assert_eq!(pause(32, 3_200, 2048), Some(LONGEST));
        // One packet in 250 ticks is the slowest that is waited for.
        assert_eq!(pause(4, 1_000, 128), Some(LONGEST));
        assert_eq!(pause(4, 1_001, 128), None);
        assert_eq!(pause(0, 0, 128), None);
        assert_eq!(pause(0, 10, 128), None);
    }

    proptest! {
        #[test]
        fn no_pause_is_longer_than_the_longest(found: u64, ticks: u64, goal: u32) {
            prop_assert!(pause(found, ticks, goal).is_none_or(|pause| pause <= LONGEST));
        }
    }

    #[test]
    fn a_ring_that_fills_fast_is_left_alone_and_then_looked_at() {
        let mut coalescing = Coalescing::default();
        assert!(!coalescing.holds(), "nothing is known of it yet");
        coalescing.found(1, 32, 256);
        assert!(!coalescing.holds(), "one packet since the beginning of time");
        // As many as nobody can send, so that this thread may lose the processor in between.
        coalescing.found(1 << 40, usize::MAX, 256);
        assert_eq!(coalescing.until.is_some(), ticks().is_some());
        coalescing.until = ticks().map(|now| now + (1 << 40));
        assert_eq!(coalescing.holds(), ticks().is_some());
        coalescing.found(32, 32, 256);
        assert!(!coalescing.holds(), "all that was wanted: there may be more");
        coalescing.found(0, 32, 256);
        coalescing.found(0, 32, 256);
        assert!(!coalescing.holds(), "nothing comes");
    }
}
