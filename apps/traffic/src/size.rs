//! How long frames are. Lengths are with FCS here, as RFC 2544 counts: 64 is the shortest frame of Ethernet.

use crate::error::{Result, TrafficError};
use crate::vary::mixed;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Bytes of the frame check sequence.
pub const FCS: usize = 4;
/// Preamble, start of frame and the shortest gap between frames, in bytes.
pub const GAP: usize = 20;
/// Possible lengths.
const POSSIBLE: RangeInclusive<usize> = 64..=9604;
/// Frames until a mix repeats, at the most.
const LONGEST_CYCLE: u64 = 4096;

/// The lengths of RFC 2544, section 9.1, for Ethernet.
pub const RFC2544: &[usize] = &[64, 128, 256, 512, 1024, 1280, 1518];
/// Those of RFC 2889, section 5.1.1: its VLAN-tagged longest one too.
pub const RFC2889: &[usize] = &[64, 128, 256, 512, 1024, 1280, 1518, 1522];
/// Those of RFC 8219, section 8 (RFC 5180, section 5.1): 84 is what a header of IPv6 needs.
pub const RFC8219: &[usize] = &[84, 128, 256, 512, 768, 1024, 1280, 1518];

/// Lengths of a stream's frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// All alike.
    Fixed(usize),
    /// Each of these equally often, in a drawn order.
    Range(usize, usize),
    /// Each with its weight, evenly mixed.
    Mix(Vec<(usize, u32)>),
}

impl Sizes {
    /// Seven of 64, four of 594, one of 1518: the simple IMIX.
    pub fn imix() -> Self {
        Self::Mix(vec![(64, 7), (594, 4), (1518, 1)])
    }

    /// The lengths that occur.
    pub fn all(&self) -> Vec<usize> {
        match self {
            Self::Fixed(size) => vec![*size],
            Self::Range(least, most) => (*least..=*most).collect(),
            Self::Mix(mix) => mix.iter().map(|(size, _)| *size).collect(),
        }
    }

    /// The mean, in bytes.
    pub fn mean(&self) -> f64 {
        match self {
            Self::Fixed(size) => *size as f64,
            Self::Range(least, most) => (least + most) as f64 / 2.0,
            Self::Mix(mix) => {
                let weight: f64 = mix.iter().map(|(_, weight)| f64::from(*weight)).sum();
                let bytes: f64 = mix
                    .iter()
                    .map(|(size, weight)| *size as f64 * f64::from(*weight))
                    .sum();
                bytes / weight
            }
        }
    }

    /// The order in which they come, as indices into [`Sizes::all`]; then from the start.
    pub(crate) fn order(&self, seed: u64) -> Vec<u16> {
        match self {
            Self::Fixed(_) => vec![0],
            Self::Range(least, most) => {
                let mut order: Vec<u16> = (0..=(most - least) as u16).collect();
                // Fisher and Yates, drawn from the seed.
                for last in (1..order.len()).rev() {
                    order.swap(last, (mixed(seed, last as u64) % (last as u64 + 1)) as usize);
                }
                order
            }
            Self::Mix(mix) => spread(&mix.iter().map(|(_, weight)| *weight).collect::<Vec<_>>()),
        }
    }
}

/// Indices, each as often as its weight says, as evenly as can be.
pub(crate) fn spread(weights: &[u32]) -> Vec<u16> {
    let divisor = weights.iter().fold(0, |a, b| gcd(a, u64::from(*b))).max(1);
    let sum: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    let scale = (sum / divisor).div_ceil(LONGEST_CYCLE).max(1);
    let weight = |weight: &u32| (u64::from(*weight) / divisor / scale).max(u64::from(*weight > 0)) as i64;
    let weights: Vec<i64> = weights.iter().map(weight).collect();
    let sum: i64 = weights.iter().sum();
    let mut owed = vec![0; weights.len()];
    let mut order = Vec::new();
    for _ in 0..sum {
        owed.iter_mut()
            .zip(&weights)
            .for_each(|(owed, weight)| *owed += weight);
        let most = (0..owed.len())
            .max_by_key(|at| (owed[*at], usize::MAX - at))
            .unwrap_or(0);
        owed[most] -= sum;
        order.push(most as u16);
    }
    order
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl FromStr for Sizes {
    type Err = TrafficError;

    fn from_str(text: &str) -> Result<Self> {
        const FORMS: &str = "write 64 (with FCS, to 9604), 64-1518, imix, or 64:7,594:4,1518:1";
        let wrong = || TrafficError::wrong(format!("size {text}: {FORMS}"));
        let size = |text: &str| text.trim().parse().ok().filter(|size| POSSIBLE.contains(size));
        if text.trim() == "imix" {
            return Ok(Self::imix());
        }
        if text.contains([':', ',']) {
            let part = |part: &str| {
                let (bytes, weight) = part.split_once(':').unwrap_or((part, "1"));
                let weight = weight
                    .trim()
                    .parse()
                    .ok()
                    .filter(|weight| (1..=1_000_000).contains(weight));
                Some((size(bytes)?, weight?))
            };
            let mix: Option<Vec<_>> = text.split(',').map(part).collect();
            return mix.map(Self::Mix).ok_or_else(wrong);
        }
        match text.split_once('-') {
            None => size(text).map(Self::Fixed),
            Some((least, most)) => match (size(least), size(most)) {
                (Some(least), Some(most)) if least < most => Some(Self::Range(least, most)),
                _ => None,
            },
        }
        .ok_or_else(wrong)
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "{size}"),
            Self::Range(least, most) => write!(f, "{least}-{most}"),
            Self::Mix(mix) => {
                let parts: Vec<String> = mix
                    .iter()
                    .map(|(size, weight)| format!("{size}:{weight}"))
                    .collect();
                f.write_str(&parts.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for text in ["64", "64-1518", "64:7,594:4,1518:1"] {
            assert_eq!(text.parse::<Sizes>().unwrap().to_string(), text);
        }
        assert_eq!("imix".parse::<Sizes>().unwrap().mean().round(), 362.0);
        for text in ["63", "9605", "100-64", "64:0,65:1", "x", ""] {
            assert!(text.parse::<Sizes>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_size_comes_as_often_as_its_weight_says() {
        let order = Sizes::imix().order(1);
        let count = |index| order.iter().filter(|at| **at == index).count();
        assert_eq!([count(0), count(1), count(2)], [7, 4, 1]);
        assert!(order.windows(3).all(|three| three != [0, 0, 0]), "{order:?}");
        let mut range = Sizes::Range(64, 1518).order(7);
        assert_ne!(range, Sizes::Range(64, 1518).order(8));
        range.sort_unstable();
        assert!(range.iter().copied().eq(0..1455));
        assert!(spread(&[1_000_000, 999_999, 1]).len() <= 4100);
    }
}
