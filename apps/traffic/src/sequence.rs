//! What became of the packets of one flow: lost, twice, out of order.

use serde::Serialize;

/// Packets behind the newest for which is known whether they came. One that comes later still is `stale`.
pub const WINDOW: u64 = 1 << 13;
/// Arrivals that are looked back at.
const RECENT: usize = 32;

/// Counts of one flow. Reordering is that of RFC 4737; a packet that came twice counts once there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Order {
    /// Packets that came, each once.
    pub unique: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Packets with a lesser number than one that came before (section 3.3).
    pub reordered: u64,
    /// The greatest distance in arrivals from the first that had overtaken it (extent, section 4.2.1).
    pub extent_max: u64,
    /// The mean of all extents.
    pub extent_mean: f64,
    /// The greatest time that one came after the first that had overtaken it, in nanoseconds (late time, section 4.2.2).
    pub late_ns_max: u64,
    /// Reordered packets that three came directly before that are all newer: TCP takes these for lost (section 4.4).
    pub three_reordered: u64,
    /// Times that a number was greater than expected (discontinuities, section 3.4).
    pub gaps: u64,
    /// Packets so late that it is not known whether they came before.
    pub stale: u64,
    /// One above the greatest number that came.
    pub next: u64,
}

impl Order {
    /// Packets of the numbers so far that have not come.
    pub fn missing(&self) -> u64 {
        self.next.saturating_sub(self.unique + self.stale)
    }
}

/// What was expected when a number was passed over.
#[derive(Clone, Copy, Debug, Default)]
struct Jump {
    arrival: u64,
    time: u64,
}

/// Follows the numbers of one flow.
#[derive(Clone, Debug)]
pub struct Sequence {
    order: Order,
    extents: u64,
    seen: Box<[u64]>,
    jumps: Box<[Jump]>,
    recent: [u64; RECENT],
}

impl Default for Sequence {
    fn default() -> Self {
        Self::new()
    }
}

impl Sequence {
    /// Nothing has come; number 0 is expected.
    pub fn new() -> Self {
        Self {
            order: Order::default(),
            extents: 0,
            seen: vec![0; (WINDOW / 64) as usize].into_boxed_slice(),
            jumps: vec![Jump::default(); WINDOW as usize].into_boxed_slice(),
            recent: [0; RECENT],
        }
    }

    /// What became of them so far.
    pub fn order(&self) -> Order {
        let reordered = self.order.reordered.max(1);
        Order {
            extent_mean: self.extents as f64 / reordered as f64,
            ..self.order
        }
    }

    /// A packet whose number ends in these 32 bits has come, at `now` (nanoseconds).
    #[inline(always)]
    pub fn arrive(&mut self, low: u32, now: u64) {
        let next = self.order.next;
        let ahead = low.wrapping_sub(next as u32) as i32;
        if ahead == 0 {
            self.set(next);
            self.order.next = next + 1;
            self.note(next);
        } else if ahead > 0 {
            self.jump(next + ahead as u64, now);
        } else {
            // Before the first number there is none: such a packet is from an earlier run.
            self.late(next.checked_sub(u64::from(ahead.unsigned_abs())), now);
        }
    }

    #[cold]
    fn jump(&mut self, number: u64, now: u64) {
        let jump = Jump {
            arrival: self.order.unique,
            time: now,
        };
        self.order.gaps += 1;
        for missing in self.order.next.max(number.saturating_sub(WINDOW))..number {
            let (word, bit) = Self::place(missing);
            self.seen[word] &= !bit;
            self.jumps[(missing % WINDOW) as usize] = jump;
        }
        self.set(number);
        self.order.next = number + 1;
        self.note(number);
    }

    #[cold]
    fn late(&mut self, number: Option<u64>, now: u64) {
        let Some(number) = number.filter(|number| self.order.next - number <= WINDOW) else {
            self.order.stale += 1;
            return;
        };
        let (word, bit) = Self::place(number);
        if self.seen[word] & bit != 0 {
            self.order.duplicates += 1;
            return;
        }
        let jump = self.jumps[(number % WINDOW) as usize];
        let extent = self.order.unique - jump.arrival;
        let order = &mut self.order;
        order.reordered += 1;
        order.extent_max = order.extent_max.max(extent);
        order.late_ns_max = order.late_ns_max.max(now.saturating_sub(jump.time));
        self.extents += extent;
        let three = (1..=3).all(|back| {
            order.unique >= back && self.recent[((order.unique - back) % RECENT as u64) as usize] > number
        });
        order.three_reordered += u64::from(three);
        self.set(number);
        self.note(number);
    }

    #[inline(always)]
    fn place(number: u64) -> (usize, u64) {
        ((number % WINDOW / 64) as usize, 1 << (number % 64))
    }

    #[inline(always)]
    fn set(&mut self, number: u64) {
        let (word, bit) = Self::place(number);
        if let Some(word) = self.seen.get_mut(word) {
            *word |= bit;
        }
    }

    #[inline(always)]
    fn note(&mut self, number: u64) {
        self.recent[(self.order.unique % RECENT as u64) as usize] = number;
        self.order.unique += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    /// The definitions of RFC 4737, by the letter: quadratic, and with all of the past at hand.
    fn by_definition(arrivals: &[u64], times: &[u64]) -> Order {
        let mut order = Order::default();
        let (mut came, mut seen, mut extents) = (Vec::<(u64, u64)>::new(), HashSet::new(), 0);
        for (number, time) in arrivals.iter().zip(times) {
            if !seen.insert(*number) {
                order.duplicates += 1;
                continue;
            }
            let i = came.len() as u64;
            if *number < order.next {
                let (j, first) = came.iter().enumerate().find(|(_, one)| one.0 > *number).unwrap();
                order.reordered += 1;
                order.extent_max = order.extent_max.max(i - j as u64);
                extents += i - j as u64;
                order.late_ns_max = order.late_ns_max.max(time - first.1);
                let three = came.len() >= 3 && came[came.len() - 3..].iter().all(|one| one.0 > *number);
                order.three_reordered += u64::from(three);
            } else {
                order.gaps += u64::from(*number > order.next);
                order.next = number + 1;
            }
            order.unique += 1;
            came.push((*number, *time));
        }
        order.extent_mean = extents as f64 / order.reordered.max(1) as f64;
        order
    }

    proptest! {
        #[test]
        fn counts_are_those_of_the_definitions(
            // Lost, twice or held back by so many, for each packet.
            fates in proptest::collection::vec((0u8..20, 0u64..60, 1u64..500), 1..1500)
        ) {
            let mut keyed = Vec::new();
            for (number, (fate, by, _)) in fates.iter().enumerate() {
                let number = number as u64;
                match fate {
                    0 | 1 => (),
                    2 => keyed.extend([(number * 2, number), (number * 2 + by * 2 + 1, number)]),
                    3 | 4 => keyed.push((number * 2 + by * 2 + 1, number)),
                    _ => keyed.push((number * 2, number)),
                }
            }
            keyed.sort_unstable();
            let arrivals: Vec<u64> = keyed.iter().map(|(_, number)| *number).collect();
            let mut now = 0;
            let times: Vec<u64> = arrivals.iter().zip(&fates).map(|(_, (_, _, step))| { now += step; now }).collect();
            let arrivals = &arrivals[..times.len().min(arrivals.len())];
            let mut sequence = Sequence::new();
            for (number, time) in arrivals.iter().zip(&times) {
                sequence.arrive(*number as u32, *time);
            }
            let order = sequence.order();
            prop_assert_eq!(order, by_definition(arrivals, &times));
            let unique: HashSet<_> = arrivals.iter().collect();
            prop_assert_eq!(order.missing(), order.next - unique.len() as u64);
        }
    }

    #[test]
    fn numbers_go_on_beyond_32_bits_and_what_is_too_late_is_stale() {
        let mut sequence = Sequence::new();
        sequence.order.next = u64::from(u32::MAX) - 1;
        for low in [u32::MAX - 1, u32::MAX, 0, 1, 1, u32::MAX] {
            sequence.arrive(low, 0);
        }
        let order = sequence.order();
        assert_eq!((order.next, order.unique, order.duplicates), (1 << 32 | 2, 4, 2));
        let mut sequence = Sequence::new();
        sequence.arrive(10_000, 0);
        sequence.arrive(1, 0);
        sequence.arrive(u32::MAX, 0);
        assert_eq!((sequence.order().stale, sequence.order().gaps), (2, 1));
    }
}
