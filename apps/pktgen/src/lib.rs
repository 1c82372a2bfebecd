//! Packet generator and RFC 2544 tester, as a library: what the `pktgen` program runs. Traffic itself is `barline-traffic`.
#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]

mod count;
mod drive;
mod make;
mod options;
mod report;
mod rig;
mod settings;
mod table;
mod tester;
pub mod work;

pub use barline_app::Failure;
pub use options::Options;
pub use report::{Account, FlowReport, PortReport};
pub use rig::Rig;
pub use settings::Settings;
pub use table::{rate, text};
pub use tester::Job;
