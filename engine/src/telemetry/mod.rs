//! Counters: one meaning each, whoever counts.

mod counter;
mod idle;

pub use counter::{Cell, CounterSink, RxCounters, TxCounters};
pub use idle::{Histogram, IdleStats};
