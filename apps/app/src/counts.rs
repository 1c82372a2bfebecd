use std::collections::BTreeMap;

/// Counters by name.
pub type Counts = BTreeMap<&'static str, u64>;

/// What is counted under a name: 0 where nothing is.
pub fn count(counts: &Counts, name: &str) -> u64 {
    counts.get(name).copied().unwrap_or(0)
}

/// Takes counters, and adds those of one name up.
pub fn adding(counts: &mut Counts) -> impl FnMut(&'static str, u64) {
    |name, value| *counts.entry(name).or_default() += value
}

/// How many came a second, between two counts; 0 where no time has passed.
pub fn a_second(now: u64, before: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        now.saturating_sub(before) as f64 / seconds
    } else {
        0.0
    }
}
