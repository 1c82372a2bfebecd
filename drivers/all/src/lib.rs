//! All drivers behind one door: which there are, how a port is named, and how it is opened.
//!
//! An application that embeds one driver depends on that driver's crate alone; one that takes any port a user names
//! uses this. Nothing here is global: an [`Opener`] is a value, and two of them know nothing of each other.
#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]

mod error;
mod guess;
mod kinds;
mod list;
mod near;
mod open;
mod opened;
mod pace;
mod sim;
mod spec;
mod wraps;

pub use error::{Fault, OpenError, fault_of_memory, fault_of_port};
pub use kinds::{KINDS, Kind, SimSpec, help};
pub use list::{ALL, Driver, OpenFn, driver_for};
pub use open::Opener;
pub use opened::{Input, Opened};
pub use pace::Times;
pub use sim::{Feed, SimEnd};
pub use spec::{Bus, PortSpec, SpecError};
pub use wraps::{WRAPS, Wrap};

#[cfg(test)]
mod tests {
    #[test]
    fn the_readme_shows_the_example_that_compiles() {
        let readme = include_str!("../../../README.md");
        assert!(
            readme.contains(include_str!("../examples/forward.rs")),
            "copy drivers/all/examples/forward.rs into README.md"
        );
    }
}
