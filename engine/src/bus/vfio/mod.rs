//! Linux VFIO: groups and the type1 (version 2) IOMMU.
//!
//! A [`Container`] is one I/O address space; [`Container::open`] puts a device into it. Order: open the devices,
//! map pools, bus master on. A device's group stays attached as long as the container lives: when the last group
//! leaves, the kernel drops every mapping, and memory that the engine still takes for mapped would not be.

mod chain;
mod container;
mod device;
mod error;
mod group;
mod handover;
mod info;
mod irq;
mod options;
mod sysfs;
mod token;
#[allow(unsafe_code)] // ioctls, the mapping of device memory, and the DMA contract with the caller
mod uapi;

pub use super::bind::{Blocker, Holder};
pub use container::Container;
pub use device::VfioFunction;
pub use error::VfioError;
#[cfg(feature = "fuzzing")]
pub use info::decode_any;
pub use options::{OpenOptions, PassedFds};
pub use token::VfToken;
