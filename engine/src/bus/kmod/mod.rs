//! barline.ko: address spaces and devices as two kinds of file (`kmod/include/uapi/barline.h`).
//!
//! An [`Ioas`] is one I/O address space; [`Ioas::open`] puts a device into it. Order: open the devices, map pools,
//! bus master on. What it has that VFIO has not: the kernel takes a device back whatever its process does, and BARs
//! read as all ones from then on; a suspend is announced ([`PciFunction::power_event`](super::PciFunction::power_event)).

mod device;
mod error;
mod ioas;
mod irq;
#[allow(unsafe_code)] // ioctls, and the DMA contract with the caller
mod uapi;

pub use device::KmodFunction;
pub use error::KmodError;
pub use ioas::Ioas;

/// The kernel driver's name.
const DRIVER: &str = "barline";
