//! Benchmarks: what they measure with. See `engine/docs/rings.md` for how to read the numbers.

pub mod cores;
pub mod tsc;
