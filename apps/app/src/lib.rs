//! What the programs share: options and their file, why one fails and with which exit code, what ports take, counts and their balance,
//! signals, standard output, and where memory comes from.
#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]

mod balance;
mod counts;
mod failure;
mod fits;
mod memory;
mod options;
mod print;
mod signals;
mod workers;

pub use balance::Balance;
pub use counts::{Counts, a_second, adding, count};
pub use failure::{Failure, exit};
pub use fits::{CACHE, Sizes, range, start};
pub use memory::{Huge, duration};
pub use options::{burst, read_file};
pub use print::{json, print, rated, tagged};
pub use signals::signals;
pub use workers::{at_least_one, workers};
