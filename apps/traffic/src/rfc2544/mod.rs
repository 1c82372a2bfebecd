//! RFC 2544: throughput, latency, frame loss and back-to-back frames of what is between a sender and a receiver.
//!
//! A [`Bench`] carries out one trial: it rises to the rate, sends, stops, waits until what is on its way has come, and only
//! then reads what came. (Counters that are read while frames are on their way made others' searches go wrong.)

mod page;
mod report;
mod run;
mod search;

pub use page::page;
pub use report::{Latency, Loss, Report, SizeReport, Throughput};
pub use run::{Plan, Progress, Test, run};
pub use search::{Goal, Search, binary, longest_burst, mlr};

use crate::latency::Summary;
use serde::Serialize;

/// What is offered in a trial. Sizes are with FCS.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// So many packets a second, for so long.
    Rate {
        /// Packets a second.
        pps: f64,
        /// Seconds.
        seconds: f64,
    },
    /// So many frames at the line's rate.
    Burst(u64),
}

/// What came of a trial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Outcome {
    /// Frames sent.
    pub sent: u64,
    /// Frames that came, each once.
    pub received: u64,
    /// Seconds of sending, as they were.
    pub seconds: f64,
    /// Nanoseconds on the way.
    pub latency_ns: Summary,
    /// The sender itself was too slow for the rate.
    pub behind: bool,
}

impl Outcome {
    /// Frames that did not come.
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }

    /// The lost ones' share; of nothing, all.
    pub fn loss(&self) -> f64 {
        match self.sent {
            0 => 1.0,
            sent => self.lost() as f64 / sent as f64,
        }
    }
}

/// Something that can be tested.
pub trait Bench {
    /// Why a trial cannot be carried out.
    type Error;
    /// Packets a second of this size that the line takes at the most.
    fn line(&mut self, size: usize) -> f64;
    /// Carries out one trial.
    ///
    /// # Errors
    /// It could not be, and neither can others.
    fn trial(&mut self, size: usize, load: Load) -> Result<Outcome, Self::Error>;
}
