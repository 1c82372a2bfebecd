use super::super::VfioError;
use super::{VfioFunction, region};
use crate::bus::{BusError, Claim, DeviceEvents, PciFunction};
use crate::mem::DmaDomain;
use crate::mmio::Bar;
use crate::pci::{Command, PciAddress, PciId};
use crate::wait::EventFd;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use vfio_bindings::bindings::vfio::VFIO_PCI_BAR5_REGION_INDEX;

impl VfioFunction {
    /// Sorts out an access to configuration space.
    fn config_done(&self, done: Option<io::Result<()>>, offset: u16, len: usize) -> Result<(), BusError> {
        let address = self.address;
        match done {
            None => Err(BusError::Config { address, offset, len }),
            Some(Err(error)) if error.raw_os_error() == Some(nix::libc::ENODEV) => {
                Err(BusError::Removed { address })
            }
            Some(done) => Ok(done.map_err(VfioError::os("access configuration space"))?),
        }
    }
}

impl PciFunction for VfioFunction {
    fn address(&self) -> PciAddress {
        self.address
    }

    fn id(&self) -> PciId {
        self.id
    }

    fn numa_node(&self) -> Option<u32> {
        self.numa // read once: sysfs must not be touched while an unplug request is pending
    }

    fn config_read(&self, offset: u16, buf: &mut [u8]) -> Result<(), BusError> {
        let len = buf.len();
        self.config_done(self.config.read(offset.into(), buf), offset, len)
    }

    fn config_write(&self, offset: u16, buf: &[u8]) -> Result<(), BusError> {
        self.config_done(self.config.write(offset.into(), buf), offset, buf.len())
    }

    fn bar(&self, index: u8) -> Result<Bar, BusError> {
        let none = BusError::NoBar {
            address: self.address,
            index,
        };
        if u32::from(index) > VFIO_PCI_BAR5_REGION_INDEX || self.io_bars >> index & 1 == 1 {
            return Err(none);
        }
        let region = region(&self.device, index.into())?;
        if region.size() == 0 {
            Err(none)
        } else {
            Ok(region.bar().map_err(VfioError::os("map a BAR"))?)
        }
    }

    fn reset(&self) -> Result<(), BusError> {
        Ok(self.reset_device()?)
    }

    fn set_bus_master(&self, on: bool) -> Result<(), BusError> {
        self.change_command(|mut command| {
            command.set(Command::MASTER, on);
            command
        })
    }

    fn msix_vectors(&self) -> u16 {
        self.msix.vectors()
    }

    fn set_msix(&self, vector: u16, fd: Option<BorrowedFd<'_>>) -> Result<(), BusError> {
        self.has_vector(vector)?;
        Ok(self.msix.set(self.device.as_fd(), vector, fd)?)
    }

    fn events(&self) -> DeviceEvents {
        // Out of file descriptors: the event is lost to the caller, as where the bus cannot tell.
        let copy = |event: &Option<EventFd>| event.as_ref().and_then(|event| event.duplicate().ok());
        DeviceEvents {
            unplug_request: copy(&self.request),
            error: copy(&self.error),
            power: None,
        }
    }

    fn dma(&self) -> &Arc<dyn DmaDomain> {
        &self.dma
    }

    fn claim(&self) -> &Claim {
        &self.claim
    }
}
