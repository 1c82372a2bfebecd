//! Wrappers for any port. What is not asked for is not there: a port that is not wrapped costs nothing.
//!
//! | module | what it does |
//! |---|---|
//! | [`shell`] | a port whose queues are wrapped, the rest passed on |
//! | [`filter`] | classic BPF, as `tcpdump -ddd` writes it |
//! | [`impair`] | a bad line or a slow device: loss, delay, duplicates, order, damage, a ceiling |
//! | [`watch`] | frames as a pcapng file, or as text |
#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]

pub mod filter;
pub mod impair;
pub mod shell;
pub mod watch;

pub use filter::{Filter, FilterError};
pub use impair::{Impair, Impairment};
pub use shell::{Wrapped, Wrapper};
pub use watch::{Select, Watch};
