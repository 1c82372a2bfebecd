//! Counters: one meaning each, whoever counts.

mod counter;

pub use counter::{Cell, CounterSink, RxCounters, TxCounters};
