//! What the programs share: why one fails and with which exit code, what ports take, signals, standard output, and where memory
//! comes from.
#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]

mod failure;
mod fits;
mod memory;
mod print;
mod signals;
mod workers;

pub use failure::Failure;
pub use fits::{Sizes, range};
pub use memory::{Huge, duration};
pub use print::{json, print};
pub use signals::signals;
pub use workers::{at_least_one, workers};
