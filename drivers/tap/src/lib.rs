//! `tap:NAME`: a port whose cable ends in the kernel's network stack, at an interface of that name. The interface comes with
//! the port and goes with the process.
//!
//! See `drivers/tap/README.md`.
#![deny(unsafe_code)]
#![warn(missing_debug_implementations)]

mod attach;
mod error;
mod kernel;
mod port;
mod rx;
mod shared;
mod sys;
mod tx;

pub use error::TapError;
pub use port::Tap;
pub use rx::TapRx;
pub use tx::TapTx;
