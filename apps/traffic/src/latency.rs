//! Distributions of times: a fixed array that the poll path fills, and what is read from it.

use hdrhistogram::Histogram;

/// Buckets to a power of two: no value is further than 1/128 from the one it counts as.
const PARTS: u32 = 7;
/// Values from 2^40 ns (18 minutes) on share the last bucket.
const POWERS: u32 = 40;
const BUCKETS: usize = ((POWERS - PARTS + 1) as usize) << PARTS;

/// Counts of values by size, exact below 128.
#[derive(Clone, Debug)]
pub struct Buckets {
    counts: Box<[u64]>,
    count: u64,
    sum: u64,
    least: u64,
    most: u64,
}

impl Default for Buckets {
    fn default() -> Self {
        Self::new()
    }
}

/// What is told of a distribution, in the unit of its values.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Summary {
    /// Values.
    pub count: u64,
    /// The least.
    pub min: u64,
    /// The mean.
    pub mean: f64,
    /// Half of them are not above this; the quantiles are right to 1/128.
    pub p50: u64,
    /// 90 of 100.
    pub p90: u64,
    /// 99 of 100.
    pub p99: u64,
    /// 999 of 1,000.
    #[serde(rename = "p99.9")]
    pub p999: u64,
    /// 9,999 of 10,000.
    #[serde(rename = "p99.99")]
    pub p9999: u64,
    /// The greatest.
    pub max: u64,
}

impl Buckets {
    /// Without a value.
    pub fn new() -> Self {
        Self {
            counts: vec![0; BUCKETS].into_boxed_slice(),
            count: 0,
            sum: 0,
            least: u64::MAX,
            most: 0,
        }
    }

    /// Counts a value.
    #[inline(always)]
    pub fn record(&mut self, value: u64) {
        if let Some(count) = self.counts.get_mut(bucket(value)) {
            *count += 1;
        }
        self.count += 1;
        self.sum = self.sum.wrapping_add(value);
        self.least = self.least.min(value);
        self.most = self.most.max(value);
    }

    /// Values counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The greatest value counted.
    pub fn max(&self) -> u64 {
        self.most
    }

    /// Adds what another one has counted.
    pub fn add(&mut self, other: &Self) {
        self.counts
            .iter_mut()
            .zip(&other.counts)
            .for_each(|(to, from)| *to += from);
        self.count += other.count;
        self.sum = self.sum.wrapping_add(other.sum);
        self.least = self.least.min(other.least);
        self.most = self.most.max(other.most);
    }

    /// Takes what another one has: without allocating.
    pub fn copy_from(&mut self, other: &Self) {
        self.counts.copy_from_slice(&other.counts);
        (self.count, self.sum, self.least, self.most) = (other.count, other.sum, other.least, other.most);
    }

    /// Forgets all values.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        (self.count, self.sum, self.least, self.most) = (0, 0, u64::MAX, 0);
    }

    /// Buckets that have values: the least and the greatest value of each, and how many.
    pub fn filled(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        let all = self.counts.iter().enumerate();
        all.filter(|(_, count)| **count > 0)
            .map(|(at, count)| (start(at), start(at + 1) - 1, *count))
    }

    /// As an HDR histogram of three digits, each value as the greatest of its bucket.
    pub fn hdr(&self) -> Option<Histogram<u64>> {
        let mut histogram = Histogram::new_with_bounds(1, 1 << (POWERS + 1), 3).ok()?;
        for (_, last, count) in self.filled() {
            histogram.saturating_record_n(last.min(self.most).max(1), count);
        }
        Some(histogram)
    }

    /// What is told of it.
    pub fn summary(&self) -> Summary {
        let Some(histogram) = self.hdr().filter(|_| self.count > 0) else {
            return Summary::default();
        };
        let at = |share| histogram.value_at_quantile(share).clamp(self.least, self.most);
        Summary {
            count: self.count,
            min: self.least,
            mean: self.sum as f64 / self.count as f64,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: self.most,
        }
    }
}

#[inline(always)]
fn bucket(value: u64) -> usize {
    if value < 1 << PARTS {
        return value as usize;
    }
    let power = value.ilog2();
    let part = (value >> (power - PARTS)) as usize & ((1 << PARTS) - 1);
    ((((power - PARTS + 1) as usize) << PARTS) + part).min(BUCKETS - 1)
}

/// The least value of a bucket.
fn start(at: usize) -> u64 {
    let (power, part) = (at >> PARTS, (at & ((1 << PARTS) - 1)) as u64);
    match power {
        0 => part,
        power => (part | 1 << PARTS) << (power - 1),
    }
}

/// The jitter of RFC 3550, section 6.4.1, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Jitter {
    scaled: u64,
    last: Option<u64>,
}

impl Jitter {
    /// A packet that took `transit` nanoseconds.
    #[inline(always)]
    pub fn record(&mut self, transit: u64) {
        if let Some(last) = self.last.replace(transit) {
            // Appendix A.8: 16 times the value is kept, rounded.
            self.scaled = self
                .scaled
                .wrapping_add(transit.abs_diff(last))
                .wrapping_sub((self.scaled + 8) >> 4);
        }
    }

    /// The estimate now.
    pub fn get(&self) -> u64 {
        self.scaled >> 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_value_is_in_its_bucket(value in 0u64..1 << 40) {
            let at = bucket(value);
            prop_assert!(start(at) <= value && value < start(at + 1));
            prop_assert!(start(at + 1) - start(at) <= (value >> PARTS).max(1));
        }

        #[test]
        fn quantiles_are_those_of_the_sorted_values(mut values in proptest::collection::vec(0u64..10_000_000, 1..400)) {
            let mut buckets = Buckets::new();
            values.iter().for_each(|value| buckets.record(*value));
            values.sort_unstable();
            let summary = buckets.summary();
            prop_assert_eq!((summary.min, summary.max), (values[0], *values.last().unwrap()));
            let mean = values.iter().sum::<u64>() as f64 / values.len() as f64;
            prop_assert!((summary.mean - mean).abs() < 1e-6);
            for (share, got) in [(0.5, summary.p50), (0.9, summary.p90), (0.99, summary.p99), (0.999, summary.p999)] {
                let right = values[((values.len() as f64 * share).ceil() as usize).clamp(1, values.len()) - 1];
                // 1/128 of ours and 1/1000 of the other histogram's.
                prop_assert!(got >= right && got <= right + right / 110 + 2, "{} {} {}", share, got, right);
            }
        }
    }

    #[test]
    fn jitter_is_that_of_the_rfc() {
        let mut jitter = Jitter::default();
        let (mut last, mut right) = (None::<f64>, 0.0);
        for number in 0..2000u64 {
            let transit = 50_000 + crate::mixed(1, number) % 10_000;
            jitter.record(transit);
            if let Some(last) = last.replace(transit as f64) {
                let difference: f64 = transit as f64 - last;
                right += (difference.abs() - right) / 16.0;
            }
        }
        assert!(
            (jitter.get() as f64 - right).abs() < 2.0,
            "{} {right}",
            jitter.get()
        );
    }
}
