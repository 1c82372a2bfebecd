//! Benchmarks: what they measure with, and the work that is measured. See `README.md` here for the side-by-side
//! comparison, and `engine/docs/rings.md` for how to read the criterion numbers.
#![warn(missing_debug_implementations)]

pub mod cores;
pub mod device;
pub mod tsc;
pub mod window;
pub mod work;
