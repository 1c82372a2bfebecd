//! Waiting: what an idle core sleeps on, and when.
//!
//! See `engine/docs/idle.md`.

mod alarm;
pub(crate) mod clock;
mod coalescing;
#[allow(unsafe_code)] // instructions that rest a core: TPAUSE, UMWAIT, MWAITX
mod cpu;
mod eventfd;
mod idle;
mod pace;
mod policy;
mod sleeper;
mod source;
mod sync;

pub use alarm::{Alarm, Raise};
pub use coalescing::Coalescing;
pub use cpu::Cpu;
pub use eventfd::EventFd;
pub use idle::Idle;
pub use pace::Pace;
pub use policy::IdlePolicy;
pub use sleeper::Watch;
pub use source::{Armed, Source};
