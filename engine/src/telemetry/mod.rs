//! Counters: one meaning each, whoever counts.

mod counter;
mod idle;
mod tally;

pub use counter::{Cell, CounterDoc, CounterSink, DEVICE_COUNTERS, RxCounters, TxCounters};
pub use idle::{Histogram, IdleStats};
pub use tally::RxTally;
