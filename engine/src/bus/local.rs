//! The in-process back end: a PCI function whose device side is a model in this process.

mod power;

use super::{BusError, Claim, DeviceEvents, PciFunction, PowerEvent};
use crate::mem::{DmaDomain, LocalDomain};
use crate::mmio::{Bar, Trap};
use crate::pci::{PciAddress, PciId};
use crate::wait::EventFd;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use power::LocalPower;

/// The device side: what a model in this process offers to the bus. Every method may be called from any thread.
pub trait LocalDevice: Send + Sync + std::fmt::Debug {
    /// Fills `buf` from configuration space (4,096 bytes; `offset + buf.len()` is inside).
    fn config_read(&self, offset: u16, buf: &mut [u8]);
    /// Writes configuration space, under the device's own masks.
    fn config_write(&self, offset: u16, buf: &[u8]);
    /// Length of a BAR in bytes, 0 where there is none.
    fn bar_len(&self, index: u8) -> usize;
    /// A 32-bit register read; `offset` is a multiple of 4 and inside the BAR.
    fn bar_read(&self, index: u8, offset: usize) -> u32;
    /// A 32-bit register write; likewise. May run the device on the caller's stack.
    fn bar_write(&self, index: u8, offset: usize, value: u32);
    /// A read of `bytes` (1, 2 or 4) at a multiple of that, inside the BAR. What it means is the device's matter: to some a
    /// narrow access is not a part of a wide one.
    fn bar_read_part(&self, index: u8, offset: usize, bytes: usize) -> u32;
    /// A write, likewise. May run the device on the caller's stack.
    fn bar_write_part(&self, index: u8, offset: usize, bytes: usize, value: u32);
    /// Number of MSI-X vectors.
    fn msix_vectors(&self) -> u16;
    /// Directs a vector to an eventfd (a duplicate, owned by the device), or switches it off.
    fn set_msix(&self, vector: u16, fd: Option<OwnedFd>);
    /// Function-level reset.
    fn reset(&self);
    /// The time that drivers wait by.
    fn now(&self) -> Instant {
        Instant::now()
    }
    /// Lets that time pass.
    fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// A [`PciFunction`] over a [`LocalDevice`].
#[derive(Clone, Debug)]
pub struct LocalFunction {
    device: Arc<dyn LocalDevice>,
    address: PciAddress,
    domain: Arc<dyn DmaDomain>,
    claim: Arc<Claim>, // a clone is the same function
    request: Option<Arc<EventFd>>,
    error: Option<Arc<EventFd>>,
    power: Option<Arc<LocalPower>>,
}

const CONFIG_LEN: usize = 4096;
/// COMMAND register and its bus-master bit (PCI 3.0, 6.2.2; `PCI_COMMAND` in linux/pci_regs.h).
const COMMAND: u16 = 0x04;
const COMMAND_MASTER: u8 = 1 << 2;

impl LocalFunction {
    /// A function at `address` whose DMA goes through `domain`.
    pub fn new(device: Arc<dyn LocalDevice>, address: PciAddress, domain: Arc<LocalDomain>) -> Self {
        Self {
            device,
            address,
            domain,
            claim: Arc::default(),
            request: None,
            error: None,
            power: None,
        }
    }

    /// Lets whoever holds these eventfds play the host that wants the device back, and the error of the bus.
    pub fn with_events(mut self, request: &Arc<EventFd>, error: &Arc<EventFd>) -> Self {
        (self.request, self.error) = (Some(request.clone()), Some(error.clone()));
        self
    }

    /// Lets whoever holds `power` play the machine that sleeps.
    pub fn with_power(mut self, power: &Arc<LocalPower>) -> Self {
        self.power = Some(power.clone());
        self
    }

    fn in_config(&self, offset: u16, len: usize) -> Result<(), BusError> {
        if offset as usize + len <= CONFIG_LEN {
            return Ok(());
        }
        Err(BusError::Config {
            address: self.address,
            offset,
            len,
        })
    }
}

impl PciFunction for LocalFunction {
    fn address(&self) -> PciAddress {
        self.address
    }

    fn id(&self) -> PciId {
        let mut header = [0; 0x40];
        self.device.config_read(0, &mut header);
        PciId::from_header(&header)
    }

    fn numa_node(&self) -> Option<u32> {
        None
    }

    fn config_read(&self, offset: u16, buf: &mut [u8]) -> Result<(), BusError> {
        self.in_config(offset, buf.len())?;
        self.device.config_read(offset, buf);
        Ok(())
    }

    fn config_write(&self, offset: u16, buf: &[u8]) -> Result<(), BusError> {
        self.in_config(offset, buf.len())?;
        self.device.config_write(offset, buf);
        Ok(())
    }

    fn bar(&self, index: u8) -> Result<Bar, BusError> {
        match self.device.bar_len(index) {
            0 => Err(BusError::NoBar {
                address: self.address,
                index,
            }),
            len => Ok(Bar::trapped(
                Arc::new(BarTrap {
                    device: self.device.clone(),
                    index,
                }),
                len,
            )),
        }
    }

    fn reset(&self) -> Result<(), BusError> {
        self.device.reset();
        Ok(())
    }

    fn set_bus_master(&self, on: bool) -> Result<(), BusError> {
        let mut command = [0; 2];
        self.config_read(COMMAND, &mut command)?;
        let address = self.address;
        let [old, high] = command;
        if old & high == 0xff {
            return Err(BusError::Removed { address });
        }
        self.config_write(
            COMMAND,
            &[if on {
                old | COMMAND_MASTER
            } else {
                old & !COMMAND_MASTER
            }],
        )
    }

    fn msix_vectors(&self) -> u16 {
        self.device.msix_vectors()
    }

    fn set_msix(&self, vector: u16, fd: Option<BorrowedFd<'_>>) -> Result<(), BusError> {
        let vectors = self.device.msix_vectors();
        if vector >= vectors {
            return Err(BusError::NoVector {
                address: self.address,
                vector,
                vectors,
            });
        }
        // Out of file descriptors: the vector stays off, which costs sleep, not packets.
        self.device
            .set_msix(vector, fd.and_then(|fd| fd.try_clone_to_owned().ok()));
        Ok(())
    }

    fn events(&self) -> DeviceEvents {
        // Out of file descriptors: as where the bus cannot tell.
        let copy = |event: &Option<Arc<EventFd>>| event.as_ref().and_then(|event| event.duplicate().ok());
        DeviceEvents {
            unplug_request: copy(&self.request),
            error: copy(&self.error),
            power: self.power.as_ref().and_then(|power| power.event.duplicate().ok()),
        }
    }

    fn power_event(&self) -> Result<Option<PowerEvent>, BusError> {
        Ok(self.power.as_ref().and_then(|power| power.pending()))
    }

    fn acknowledge(&self, event: PowerEvent) -> Result<(), BusError> {
        if let Some(power) = &self.power {
            power.acknowledge(event);
        }
        Ok(())
    }

    fn dma(&self) -> &Arc<dyn DmaDomain> {
        &self.domain
    }

    fn claim(&self) -> &Claim {
        &self.claim
    }
}

#[derive(Debug)]
struct BarTrap {
    device: Arc<dyn LocalDevice>,
    index: u8,
}

impl Trap for BarTrap {
    fn read32(&self, offset: usize) -> u32 {
        self.device.bar_read(self.index, offset)
    }

    fn write32(&self, offset: usize, value: u32) {
        self.device.bar_write(self.index, offset, value);
    }

    fn read_part(&self, offset: usize, bytes: usize) -> u32 {
        self.device.bar_read_part(self.index, offset, bytes)
    }

    fn write_part(&self, offset: usize, bytes: usize, value: u32) {
        self.device.bar_write_part(self.index, offset, bytes, value);
    }

    fn now(&self) -> Instant {
        self.device.now()
    }

    fn pause(&self, time: Duration) {
        self.device.pause(time);
    }
}
