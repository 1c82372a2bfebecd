use std::time::Duration;

/// How long a core without work polls, and how long it sleeps. Durations add up: first it spins, then it rests between
/// polls, then it sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdlePolicy {
    /// Polls at full speed for so long.
    pub spin: Duration,
    /// Then polls with a rest of a few microseconds in between for so long, and then sleeps.
    pub pause: Duration,
    /// Longest sleep when some source cannot wake the core: what arrives meanwhile must fit its ring.
    pub nap: Duration,
    /// Longest sleep when every source wakes the core. It bounds what a lost interrupt costs.
    pub sleep: Duration,
}

/// Bits of the shortest frame on the wire: 64 bytes, preamble and gap (IEEE 802.3, 4.4.2).
const SHORTEST_BITS: u64 = 672;
/// Mbit/s of a link whose speed is not known.
const UNKNOWN_SPEED: u32 = 10_000;
/// What a sleep costs at least, on a timer: below this there is no point in one.
const SHORTEST_NAP: Duration = Duration::from_micros(50);
const LONGEST_SLEEP: Duration = Duration::from_millis(100);

impl IdlePolicy {
    /// For rings of `ring` descriptors on links of `mbit` Mbit/s (0: unknown): spins for the time in which the link
    /// could fill a quarter of a ring with the shortest frames, rests between polls for four times that, and naps no
    /// longer than the same quarter.
    pub fn for_link(ring: u32, mbit: u32) -> Self {
        let mbit = if mbit == 0 { UNKNOWN_SPEED } else { mbit };
        let bits = u64::from(ring) * SHORTEST_BITS / 4;
        let quarter = Duration::from_nanos(bits * 1000 / u64::from(mbit));
        Self {
            spin: quarter,
            pause: quarter * 4,
            nap: quarter.max(SHORTEST_NAP),
            sleep: LONGEST_SLEEP,
        }
    }

    /// Polls for ever.
    pub const fn busy() -> Self {
        Self {
            spin: Duration::MAX,
            pause: Duration::ZERO,
            nap: Duration::ZERO,
            sleep: Duration::ZERO,
        }
    }

    /// Whether a core ever stops polling.
    pub fn sleeps(&self) -> bool {
        self.spin < Duration::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_a_ring_is_waited_for() {
        // 128 frames of 672 ns.
        let gigabit = IdlePolicy::for_link(512, 1000);
        assert_eq!(gigabit.spin, Duration::from_nanos(86_016));
        assert_eq!((gigabit.nap, gigabit.pause), (gigabit.spin, gigabit.spin * 4));
        let fast = IdlePolicy::for_link(512, 100_000);
        assert_eq!((fast.spin, fast.nap), (Duration::from_nanos(860), SHORTEST_NAP));
        assert_eq!(IdlePolicy::for_link(512, 0), IdlePolicy::for_link(512, 10_000));
        assert!(gigabit.sleeps() && !IdlePolicy::busy().sleeps());
    }
}
