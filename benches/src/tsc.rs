//! Criterion's clock replaced by the CPU's time-stamp counter, so that results read as cycles an object.

use criterion::Throughput;
use criterion::measurement::{Measurement, ValueFormatter};

/// The time-stamp counter now. Not serialising: over the thousands of rounds of one sample it does not matter.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: `rdtsc` reads a counter; every x86-64 CPU has it, and no kernel forbids it to processes by default.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// Nanoseconds, where there is no time-stamp counter: results are then nanoseconds an object.
#[cfg(not(target_arch = "x86_64"))]
pub fn now() -> u64 {
    use std::sync::OnceLock;
    use std::time::Instant;
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// What [`now`] counts.
pub const UNIT: &str = if cfg!(target_arch = "x86_64") {
    "cycles"
} else {
    "ns"
};

/// Measures in counts of [`now`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Tsc;

impl Measurement for Tsc {
    type Intermediate = u64;
    type Value = u64;

    fn start(&self) -> u64 {
        now()
    }

    fn end(&self, start: u64) -> u64 {
        now().wrapping_sub(start)
    }

    fn add(&self, a: &u64, b: &u64) -> u64 {
        a + b
    }

    fn zero(&self) -> u64 {
        0
    }

    fn to_f64(&self, value: &u64) -> f64 {
        *value as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        &Cycles
    }
}

struct Cycles;

impl ValueFormatter for Cycles {
    fn scale_values(&self, _typical: f64, _values: &mut [f64]) -> &'static str {
        UNIT
    }

    fn scale_throughputs(&self, _typical: f64, throughput: &Throughput, values: &mut [f64]) -> &'static str {
        let (objects, unit) = match throughput {
            Throughput::Elements(n) => (*n, "cycles/object"),
            Throughput::Bytes(n) | Throughput::BytesDecimal(n) => (*n, "cycles/byte"),
            _ => (1, UNIT),
        };
        for value in values {
            *value /= objects as f64;
        }
        unit
    }

    fn scale_for_machines(&self, _values: &mut [f64]) -> &'static str {
        UNIT
    }
}
