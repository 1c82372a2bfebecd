//! PCI addresses, ids, configuration space and capabilities: pure parsing, no access.

mod caps;
mod config;
mod id;

pub use caps::{CapError, Capability, Msix, PciExpress, PowerManagement, Walk};
pub use config::{BarKind, BarRegister, Command, ConfigError, ConfigImage, Status};
pub use id::{AddressError, PciAddress, PciId};
