use super::super::VfioError;
use super::{VfioFunction, region};
use crate::bus::access;
use crate::bus::{BusError, Claim, DeviceEvents, PciFunction};
use crate::mem::DmaDomain;
use crate::mmio::Bar;
use crate::pci::{Command, PciAddress, PciId};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// A step that can fail.
const CONFIG: &str = "access configuration space";

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
        let place = (offset, buf.len());
        access::config(
            self.address,
            place,
            self.config.read(offset.into(), buf),
            VfioError::os(CONFIG),
        )
    }

    fn config_write(&self, offset: u16, buf: &[u8]) -> Result<(), BusError> {
        let place = (offset, buf.len());
        access::config(
            self.address,
            place,
            self.config.write(offset.into(), buf),
            VfioError::os(CONFIG),
        )
    }

    fn bar(&self, index: u8) -> Result<Bar, BusError> {
        let memory = |index| match self.io_bars >> index & 1 {
            1 => Ok(None),
            _ => region(&self.device, index).map(Some),
        };
        access::bar(self.address, index, memory, VfioError::os("map a BAR"))
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
        access::events(&self.request, &self.error, &None)
    }

    fn dma(&self) -> &Arc<dyn DmaDomain> {
        &self.dma
    }

    fn claim(&self) -> &Claim {
        &self.claim
    }
}
