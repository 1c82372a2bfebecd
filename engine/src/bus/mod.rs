//! Ways to a PCI function: Linux VFIO, the kernel module of this project, or a device model in this process.
//!
//! Order of use: open, read the limits, map pools, bus master on, rings. Tear-down is the reverse: stop the queues,
//! bus master off, interrupts off, reset, unmap, free.

mod access;
mod bind;
mod claim;
pub mod kmod;
pub mod local;
mod region;
pub mod scan;
mod space;
mod trigger;
pub mod vfio;

use crate::mem::{DmaDomain, DmaError};
use crate::mmio::Bar;
use crate::pci::{PciAddress, PciId};
use std::fmt::Debug;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

pub use claim::{Claim, Claimed};

/// One PCI function that this process owns.
pub trait PciFunction: Send + Sync + Debug {
    /// Where it is.
    fn address(&self) -> PciAddress;
    /// What it is.
    fn id(&self) -> PciId;
    /// The memory node it hangs on, where the machine has several.
    fn numa_node(&self) -> Option<u32>;
    /// Reads configuration space.
    ///
    /// # Errors
    /// [`BusError`]: out of range, or the device is gone.
    fn config_read(&self, offset: u16, buf: &mut [u8]) -> Result<(), BusError>;
    /// Writes configuration space.
    ///
    /// # Errors
    /// As [`PciFunction::config_read`].
    fn config_write(&self, offset: u16, buf: &[u8]) -> Result<(), BusError>;
    /// Base-address region `index` (0 to 5).
    ///
    /// # Errors
    /// [`BusError::NoBar`], or what the kernel said to the mapping.
    fn bar(&self, index: u8) -> Result<Bar, BusError>;
    /// Resets the function; its registers and rings are lost, its mappings stay.
    ///
    /// # Errors
    /// The kernel's word.
    fn reset(&self) -> Result<(), BusError>;
    /// Lets the device reach memory, or stops it.
    ///
    /// # Errors
    /// As [`PciFunction::config_write`].
    fn set_bus_master(&self, on: bool) -> Result<(), BusError>;
    /// Number of MSI-X vectors.
    fn msix_vectors(&self) -> u16;
    /// Directs an MSI-X vector to an eventfd, or switches it off.
    ///
    /// # Errors
    /// [`BusError::NoVector`], or the kernel's word.
    fn set_msix(&self, vector: u16, fd: Option<BorrowedFd<'_>>) -> Result<(), BusError>;
    /// Eventfds for what happens to the device as a whole.
    fn events(&self) -> DeviceEvents;
    /// What is announced by [`DeviceEvents::power`] and waits for [`PciFunction::acknowledge`]; none while all is well, and
    /// where the bus cannot tell.
    ///
    /// # Errors
    /// [`BusError::Removed`], or the kernel's word.
    fn power_event(&self) -> Result<Option<PowerEvent>, BusError> {
        Ok(None)
    }
    /// Tells the kernel that this process is done with a power event.
    ///
    /// # Errors
    /// [`BusError::Removed`], or the kernel's word: it is not the event that waits.
    fn acknowledge(&self, _event: PowerEvent) -> Result<(), BusError> {
        Ok(())
    }
    /// The address space in which its DMA lands.
    fn dma(&self) -> &Arc<dyn DmaDomain>;
    /// Who drives it: see [`Claimed`].
    fn claim(&self) -> &Claim;
}

/// Eventfds for what happens to a device as a whole; absent where the bus cannot tell.
#[derive(Debug, Default)]
pub struct DeviceEvents {
    /// The host wants the device back. While this is pending, do not touch the device's sysfs.
    pub unplug_request: Option<OwnedFd>,
    /// An uncorrectable error (AER).
    pub error: Option<OwnedFd>,
    /// The machine is going to sleep, or woke up: [`PciFunction::power_event`] tells which.
    pub power: Option<OwnedFd>,
}

/// A step of the machine into sleep, or out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerEvent {
    /// It is about to sleep: stop the queues, then acknowledge.
    Suspend,
    /// It woke up and the device was reset: acknowledge, then set it up again. Until then its BARs read as all ones.
    Resume,
}

/// Why a function could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// Two drivers would write to one device's registers.
    #[error("{address} is driven by another port of this process; drop that port first")]
    Claimed {
        /// Device.
        address: PciAddress,
    },
    /// No such region, or not one of memory.
    #[error("{address} has no memory BAR {index}: not the device this driver is for")]
    NoBar {
        /// Device.
        address: PciAddress,
        /// Region.
        index: u8,
    },
    /// No such vector.
    #[error("{address} has {vectors} MSI-X vectors, vector {vector} was asked for; use fewer queues")]
    NoVector {
        /// Device.
        address: PciAddress,
        /// Vector asked for.
        vector: u16,
        /// Vectors there are.
        vectors: u16,
    },
    /// Configuration access out of range.
    #[error("{address}: configuration access at {offset:#x} (+{len}) is out of range")]
    Config {
        /// Device.
        address: PciAddress,
        /// Offset in bytes.
        offset: u16,
        /// Length in bytes.
        len: usize,
    },
    /// The device is gone.
    #[error("{address} was removed")]
    Removed {
        /// Device.
        address: PciAddress,
    },
    /// Linux VFIO refused.
    #[error(transparent)]
    Vfio(#[from] vfio::VfioError),
    /// barline.ko refused.
    #[error(transparent)]
    Kmod(#[from] kmod::KmodError),
    /// A mapping failed.
    #[error(transparent)]
    Dma(#[from] DmaError),
}
