//! Ports without a device: [`Null`], and [`Loopback`], which receives what it sends.
#![forbid(unsafe_code)]

mod loopback;
mod null;

pub use loopback::{Loopback, LoopbackRx, LoopbackTx};
pub use null::{Null, NullRx, NullTx};
