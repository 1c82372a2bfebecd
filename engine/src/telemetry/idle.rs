use super::Cell;
use std::fmt;

/// What a core did when it had no work. One writer: the core.
#[derive(Debug, Default)]
pub struct IdleStats {
    /// Nanoseconds asleep; a sleep under way is added when it ends.
    pub asleep_ns: Cell,
    /// Sleeps.
    pub sleeps: Cell,
    /// Sleeps that a source ended.
    pub source_wakes: Cell,
    /// Sleeps that a message, or the order to stop, ended.
    pub alarm_wakes: Cell,
    /// Sleeps that their own bound ended.
    pub timer_wakes: Cell,
    /// Attempts to sleep that found something in the last look.
    pub refused: Cell,
    /// From the moment at which the core should have woken until it ran, in nanoseconds. Of sleeps that a message or
    /// the bound ended: when a device's interrupt was sent is not known here.
    pub wake_latency: Histogram,
}

/// Counts of values by size, in steps of a quarter of a power of two. One writer.
pub struct Histogram {
    counts: [Cell; BUCKETS],
    most: Cell,
}

/// Values of 2^35 and above (34 s in nanoseconds) share the last bucket.
const BUCKETS: usize = 136;

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: std::array::from_fn(|_| Cell::default()),
            most: Cell::default(),
        }
    }
}

impl Histogram {
    /// Counts a value.
    pub fn record(&self, value: u64) {
        self.counts[bucket(value)].add(1);
        self.most.add(value.saturating_sub(self.most.get()));
    }

    /// Values counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(Cell::get).sum()
    }

    /// The greatest value counted; 0 without any.
    pub fn max(&self) -> u64 {
        self.most.get()
    }

    /// A value that `share` of all values (0 to 1) do not exceed, less than a quarter above the least such; none without
    /// any.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let count = self.count();
        let rank = ((count as f64 * share).ceil() as u64).clamp(1, count.max(1));
        let mut below = 0;
        let reached = |cell: &Cell| {
            below += cell.get();
            below >= rank
        };
        let at = self.counts.iter().position(reached)?;
        Some(end(at).min(self.max()))
    }

    /// Buckets that are not empty: the greatest value in it that it could hold, and the count.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let all = self
            .counts
            .iter()
            .enumerate()
            .map(|(at, cell)| (end(at), cell.get()));
        all.filter(|(_, count)| *count > 0)
    }
}

fn bucket(value: u64) -> usize {
    if value < 4 {
        return value as usize;
    }
    let power = value.ilog2() as usize;
    let quarter = (value >> (power - 2)) as usize & 3;
    ((power - 1) * 4 + quarter).min(BUCKETS - 1)
}

/// The last value of a bucket.
fn end(bucket: usize) -> u64 {
    if bucket < 4 {
        return bucket as u64;
    }
    let (power, quarter) = (bucket / 4 + 1, bucket as u64 % 4);
    ((5 + quarter) << (power - 2)) - 1
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.buckets()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_a_quarter_of_a_power_wide_and_without_gaps() {
        for value in (0..100_000).chain([u64::from(u32::MAX), 1 << 34, u64::MAX]) {
            let at = bucket(value);
            assert!(at < BUCKETS && (value >= 1 << 35 || value <= end(at)), "{value}");
            assert!(at == 0 || end(at - 1) < value, "{value}");
            assert!(value >= 1 << 35 || end(at) - value <= value / 4, "{value}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let histogram = Histogram::default();
        assert_eq!((histogram.quantile(0.5), histogram.max()), (None, 0));
        for value in 1..=1000 {
            histogram.record(value);
        }
        assert_eq!((histogram.count(), histogram.max()), (1000, 1000));
        let median = histogram.quantile(0.5).unwrap();
        assert!((500..=625).contains(&median), "{median}");
        assert_eq!(histogram.quantile(1.0), Some(1000));
        assert_eq!(histogram.quantile(0.0), Some(1));
        assert_eq!(histogram.buckets().map(|(_, count)| count).sum::<u64>(), 1000);
    }
}
