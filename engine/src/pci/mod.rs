//! PCI addresses, ids, configuration space and capabilities: pure parsing, no access.

mod id;

pub use id::{AddressError, PciAddress, PciId};
