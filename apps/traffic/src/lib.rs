//! Traffic: made, sent at a rate, recognised and measured. What `pktgen` runs, and what an appliance or a test can embed.
//!
//! Nothing here opens a port or starts a thread; queues and pools are given to it, and so is the time.
#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]

mod error;
pub mod frame;
mod program;
mod vary;

pub use error::{Result, TrafficError};
pub use frame::{Frame, Template};
pub use program::{BLOCK, MOST_FIELDS, Program, order};
pub use vary::{Values, Vary, Walk, mixed};
