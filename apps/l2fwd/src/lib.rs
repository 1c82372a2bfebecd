//! Layer-2 forwarding between port pairs, as a library: what the `l2fwd` program runs, and what a larger program can
//! embed. It has no global state, installs no signal handler and never ends the process; the program adds those.
//!
//! [`forward`] is the packet path, [`Forwarder`] the set-up and the account, [`Options`] the command line and the
//! configuration file.
#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]

mod advice;
mod cores;
pub mod forward;
mod life;
mod member;
mod options;
mod report;
mod run;
mod settings;
mod shape;
mod table;

pub use barline_app::{Failure, Huge};
pub use life::Incident;
pub use options::{IdleOptions, Options};
pub use report::{Account, CoreReport, PortReport};
pub use run::{Forwarder, LINK_WAIT};
pub use settings::Settings;
pub use table::table;
