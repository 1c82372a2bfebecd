//! Fields that vary from packet to packet.

use crate::error::{Result, TrafficError};
use crate::frame::value;
use crate::frame::{Frame, Place};

/// How the value of a field follows from the number of its packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Values {
    /// `first`, `first + step`, ... `n` values, then from the start.
    Steps {
        /// The first.
        first: u64,
        /// From one to the next; may wrap to go down.
        step: u64,
        /// How many there are.
        n: u64,
    },
    /// One after the other, then from the start.
    List(Vec<u64>),
    /// Drawn for each packet; the same seed gives the same values.
    Random {
        /// The least.
        first: u64,
        /// How many there are; 0 stands for 2^64.
        n: u64,
        /// Of the draws.
        seed: u64,
    },
}

/// A field and its values.
#[derive(Clone, Debug)]
pub struct Vary {
    /// As it was named.
    pub path: String,
    /// Where it is: 64 bits at the most.
    pub place: Place,
    /// The rest of a field that is wider than 64 bits.
    pub high: Option<(usize, u64)>,
    /// What it becomes.
    pub values: Values,
}

const FORMS: &str =
    "write count, FIRST..LAST, FIRST..LAST..STEP, A|B|C, random, random:SEED or random(FIRST..LAST)";

impl Vary {
    /// Reads `ipv4.src=10.0.0.1..10.0.0.254`, and the other forms, of a field of `frame`.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub fn parse(text: &str, frame: &Frame) -> Result<Self> {
        let (path, how) = text
            .split_once('=')
            .ok_or_else(|| TrafficError::wrong(format!("{text}: write FIELD=VALUES; {FORMS}")))?;
        let (path, how) = (path.trim(), how.trim());
        let place = frame.place(path)?;
        let mut high = None;
        let mut one = |text: &str| -> Result<u64> {
            let value = value::parse(&place.field, text)?;
            let top = (value >> 64) as u64;
            if place.field.bits > 64 && *high.get_or_insert(top) != top {
                return Err(TrafficError::wrong(format!(
                    "{path}: only the last 64 bits can vary"
                )));
            }
            Ok(value as u64)
        };
        let most = value::most(&place.field) as u64;
        let values = read(how, most, &mut one).map_err(|error| match error {
            TrafficError::Wrong(text) => TrafficError::wrong(format!("{path}: {text}")),
            other => other,
        })?;
        let mut vary = Self {
            path: path.to_owned(),
            place,
            high: high.map(|top| (place.at, top)),
            values,
        };
        if place.field.bits > 64 {
            vary.place.at += place.field.bits - 64;
            vary.place.field.bits = 64;
        } else {
            vary.high = None;
        }
        if vary.place.at % 8 + vary.place.field.bits > 64 {
            return Err(TrafficError::wrong(format!(
                "{path}: the field is spread over more than 8 bytes"
            )));
        }
        Ok(vary)
    }
}

fn read(how: &str, most: u64, one: &mut impl FnMut(&str) -> Result<u64>) -> Result<Values> {
    if how == "count" {
        return Ok(Values::Steps {
            first: 0,
            step: 1,
            n: most.wrapping_add(1),
        });
    }
    if let Some(rest) = how.strip_prefix("random") {
        return random(rest, most, one);
    }
    if how.contains('|') {
        return how.split('|').map(one).collect::<Result<_>>().map(Values::List);
    }
    let mut parts = how.split("..");
    let (Some(first), Some(last), step, None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(TrafficError::wrong(FORMS));
    };
    let (first, last) = (one(first)?, one(last)?);
    let step = step.map_or(Ok(1), |step| step.trim().parse::<u64>());
    let step = step.ok().filter(|step| *step > 0);
    let step =
        step.ok_or_else(|| TrafficError::wrong("a step is a number from 1 on; write FIRST..LAST..STEP"))?;
    let n = (first.abs_diff(last) / step).wrapping_add(1);
    let step = if first <= last { step } else { step.wrapping_neg() };
    Ok(Values::Steps { first, step, n })
}

fn random(rest: &str, most: u64, one: &mut impl FnMut(&str) -> Result<u64>) -> Result<Values> {
    let (range, seed) = match rest.strip_prefix('(') {
        None => (None, rest),
        Some(inner) => {
            let (range, seed) = inner.split_once(')').ok_or_else(|| TrafficError::wrong(FORMS))?;
            (Some(range), seed)
        }
    };
    let seed = match seed.strip_prefix(':') {
        None if seed.is_empty() => Ok(1),
        Some(seed) => seed
            .parse()
            .map_err(|_| TrafficError::wrong("a seed is a number: write random:7")),
        None => Err(TrafficError::wrong(FORMS)),
    }?;
    let (first, last) = match range.map(|range| range.split_once("..")) {
        None => (0, most),
        Some(Some((first, last))) => (one(first)?, one(last)?),
        Some(None) => return Err(TrafficError::wrong(FORMS)),
    };
    if first > last {
        return Err(TrafficError::wrong(
            "write the lesser value first: random(FIRST..LAST)",
        ));
    }
    Ok(Values::Random {
        first,
        n: (last - first).wrapping_add(1),
        seed,
    })
}

/// A number that looks random and follows from `index` alone (SplitMix64): packets can be made on any core in any order.
#[inline(always)]
pub fn mixed(seed: u64, index: u64) -> u64 {
    let mut x = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The place in a field's values: goes on packet by packet without a division. With `stride` cores, each starts at its own
/// number and leaves out what the others make.
#[derive(Clone, Debug)]
pub struct Walk {
    values: Values,
    /// Values there are; 0 stands for 2^64.
    n: u64,
    index: u64,
    stride: u64,
}

impl Walk {
    /// From packet number `first` on, every `stride`-th.
    pub fn new(values: &Values, first: u64, stride: u64) -> Self {
        let n = match values {
            Values::Steps { n, .. } => *n,
            Values::List(list) => list.len() as u64,
            Values::Random { .. } => 0,
        };
        let within = |number: u64| if n == 0 { number } else { number % n };
        Self {
            values: values.clone(),
            n,
            index: within(first),
            stride: within(stride),
        }
    }

    /// The value for the next packet.
    #[inline(always)]
    pub fn step(&mut self) -> u64 {
        self.steps::<1>()[0]
    }

    /// The values for the next packets.
    #[inline(always)]
    pub fn steps<const N: usize>(&mut self) -> [u64; N] {
        let at = self.places();
        match &self.values {
            Values::Steps { first, step, .. } => at.map(|at| first.wrapping_add(at.wrapping_mul(*step))),
            Values::List(list) => at.map(|at| list.get(at as usize).copied().unwrap_or(0)),
            Values::Random { first, n: 0, seed } => at.map(|at| first.wrapping_add(mixed(*seed, at))),
            Values::Random { first, n, seed } => at.map(|at| {
                let share = (u128::from(mixed(*seed, at)) * u128::from(*n)) >> 64;
                first.wrapping_add(share as u64)
            }),
        }
    }

    /// The next places, each `stride` behind the one before, and from the start again at the end.
    #[inline(always)]
    fn places<const N: usize>(&mut self) -> [u64; N] {
        let behind = |by: usize| self.index.wrapping_add(self.stride.wrapping_mul(by as u64));
        // Neither is above 2^64 while N places do not reach so far.
        let far = u64::MAX / (N as u64 + 1);
        if self.n == 0 || (self.n <= far && behind(N) < self.n) {
            let all = std::array::from_fn(behind);
            self.index = behind(N);
            return all;
        }
        std::array::from_fn(|_| {
            let at = self.index;
            let next = at.wrapping_add(self.stride);
            // Beyond 2^64 it is beyond the end too.
            self.index = if next >= self.n || next < at {
                next.wrapping_sub(self.n)
            } else {
                next
            };
            at
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Template;

    fn frame() -> Frame {
        Frame::new(&Template::parse("ethernet/vlan/ipv4/udp").unwrap())
    }

    fn first(text: &str, n: usize) -> Vec<u64> {
        let vary = Vary::parse(text, &frame()).unwrap();
        let mut walk = Walk::new(&vary.values, 0, 1);
        (0..n).map(|_| walk.step()).collect()
    }

    #[test]
    fn every_form_gives_its_values() {
        assert_eq!(first("vlan.id=count", 3), [0, 1, 2]);
        assert_eq!(first("vlan.id=5..7", 5), [5, 6, 7, 5, 6]);
        assert_eq!(first("vlan.id=5..1..2", 4), [5, 3, 1, 5]);
        assert_eq!(first("udp.src=9|7|8", 4), [9, 7, 8, 9]);
        assert_eq!(
            first("ipv4.src=1.0.0.0..1.0.0.2..2", 3),
            [0x0100_0000, 0x0100_0002, 0x0100_0000]
        );
        let drawn = first("udp.dst=random(10..19):3", 1000);
        assert!((10..20).all(|value| drawn.contains(&value)) && drawn.iter().all(|v| (10..20).contains(v)));
        assert_eq!(drawn, first("udp.dst=random(10..19):3", 1000));
        assert_ne!(drawn, first("udp.dst=random(10..19):4", 1000));
        assert!(first("udp.dst=random", 9000).iter().any(|value| *value > 60000));
    }

    #[test]
    fn slips_are_answered() {
        let why = |text: &str| Vary::parse(text, &frame()).unwrap_err().to_string();
        for (text, near) in [
            ("ipv4.src", "FIELD=VALUES"),
            ("ipv4.scr=count", "did you mean src?"),
            ("ipv6.src=count", "did you mean ipv4?"),
            ("ipv4#2.src=count", "no such layer"),
            ("ipv4.src=1.2.3.4", "FIRST..LAST"),
            ("ipv4.src=1.2.3.4..5", "198.18.0.1"),
            ("udp.src=1..5..0", "a step"),
            ("udp.src=random(5..1)", "lesser value first"),
            ("udp.src=random:x", "a seed"),
            ("@30=count", "@30:4"),
        ] {
            assert!(why(text).contains(near), "{text}: {}", why(text));
        }
    }

    proptest::proptest! {
        /// Also where few values are left until the end, and where the end is that of 64 bits.
        #[test]
        fn several_values_are_those_that_come_one_by_one(
            n in proptest::prop_oneof![0u64..1, 1u64..200, u64::MAX - 100..=u64::MAX, proptest::num::u64::ANY],
            first: u64, stride in 1u64..40, kind in 0u8..3
        ) {
            let values = match kind {
                0 => Values::Steps { first: 3, step: 7, n },
                1 => Values::List((0..n % 64 + 1).collect()),
                _ => Values::Random { first: 5, n, seed: 9 },
            };
            let mut one = Walk::new(&values, first, stride);
            let mut many = one.clone();
            for _ in 0..40 {
                proptest::prop_assert_eq!(many.steps::<8>(), std::array::from_fn(|_| one.step()));
            }
        }

        #[test]
        fn cores_share_the_values_of_one(n in 1u64..50, lanes in 1u64..5) {
            let values = Values::Steps { first: 3, step: 7, n };
            let mut one = Walk::new(&values, 0, 1);
            let mut many: Vec<Walk> = (0..lanes).map(|lane| Walk::new(&values, lane, lanes)).collect();
            for number in 0..200 {
                proptest::prop_assert_eq!(many[(number % lanes) as usize].step(), one.step());
            }
        }
    }
}
