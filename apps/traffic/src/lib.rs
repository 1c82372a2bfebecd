//! Traffic: made, sent at a rate, recognised and measured. What `pktgen` runs, and what an appliance or a test can embed.
//!
//! Nothing here opens a port or starts a thread; queues and pools are given to it, and so is the time.
//!
//! | piece | what it does |
//! |---|---|
//! | [`Template`], [`Frame`], [`Vary`], [`Program`] | headers as text to frames; fields that vary; a program that writes them |
//! | [`StreamConfig`], [`Stream`], [`Generator`] | templates with lengths and weights; packets of them in batches |
//! | [`Rate`], [`Pacer`], [`Clock`] | how fast, and when the next one is due |
//! | [`Mark`], [`Analyser`], [`Sequence`], [`Buckets`] | a mark in the payload; loss, duplicates, order, latency |
//! | [`Sender`], [`Receiver`] | the two sides of a poll loop |
#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]

mod clock;
mod error;
mod flow;
pub mod frame;
mod generator;
mod lane;
mod latency;
mod pace;
mod program;
mod rate;
mod replay;
pub mod rfc2544;
mod sequence;
mod sign;
mod size;
mod stream;
mod vary;

pub use clock::Clock;
pub use error::{Result, TrafficError, with_nearest};
pub use flow::{Analyser, FlowState, Snapshot};
pub use frame::{Frame, Template};
pub use generator::Generator;
pub use lane::{Receiver, Sender};
pub use latency::{Buckets, Jitter, Summary};
pub use pace::{Pacer, Shape};
pub use program::{BLOCK, MOST_FIELDS, Program, order};
pub use rate::{Cost, Rate};
pub use replay::Replay;
pub use sequence::{Order, Sequence, WINDOW};
pub use sign::{Found, MARK, Mark};
pub use size::{FCS, GAP, RFC2544, RFC2889, RFC8219, Sizes};
pub use stream::{DEFAULT_FRAME, Stream, StreamConfig};
pub use vary::{Values, Vary, Walk, mixed};
