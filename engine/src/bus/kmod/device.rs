use super::ioas::Ioas;
use super::uapi::{self, IRQ_ERR, IRQ_MSIX, IRQ_PM, IRQ_REQ, REGION_CONFIG, REGION_IO};
use super::{KmodError, irq};
use crate::bus::access;
use crate::bus::region::Region;
use crate::bus::{BusError, Claim, DeviceEvents, PciFunction, PowerEvent};
use crate::mem::DmaDomain;
use crate::mmio::Bar;
use crate::pci::{ConfigImage, PciAddress, PciId};
use crate::wait::EventFd;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// A PCI function that barline.ko has given to this process.
///
/// Dropping it stops the device: bus master off, interrupts off, reset. BARs that are still held keep the kernel's
/// device open until they go, or until the kernel revokes it: they read as all ones then.
#[derive(Debug)]
pub struct KmodFunction {
    address: PciAddress,
    id: PciId,
    numa: Option<u32>,
    vectors: u16,
    config: Region,
    error: Option<EventFd>,
    request: Option<EventFd>,
    power: Option<EventFd>,
    device: Arc<File>,
    ioas: Arc<Ioas>,
    dma: Arc<dyn DmaDomain>,
    claim: Claim,
}

/// `BARLINE_PM_SUSPEND`, `BARLINE_PM_RESUME`.
const POWER_EVENTS: [(u32, PowerEvent); 2] = [(1, PowerEvent::Suspend), (2, PowerEvent::Resume)];

/// A step that can fail.
const CONFIG: &str = "access configuration space";

impl KmodFunction {
    pub(super) fn new(
        ioas: Arc<Ioas>,
        device: File,
        address: PciAddress,
        numa: Option<u32>,
    ) -> Result<Self, KmodError> {
        let device = Arc::new(device);
        let fd = device.as_fd();
        let (_, config) = region(&device, REGION_CONFIG)?;
        let header = config.header();
        let header = header
            .ok_or(KmodError::BadAnswer("configuration space is too short"))?
            .map_err(KmodError::os("read configuration space"))?;
        let image =
            ConfigImage::new(&header).map_err(|_| KmodError::BadAnswer("the device reads as all ones"))?;
        let vectors =
            uapi::irq_count(fd, IRQ_MSIX).map_err(KmodError::os("ask for the device's interrupts"))?;
        Ok(Self {
            address,
            id: image.id(),
            numa,
            vectors: u16::try_from(vectors).unwrap_or(u16::MAX),
            config,
            error: irq::event(fd, IRQ_ERR),
            request: irq::event(fd, IRQ_REQ),
            power: irq::event(fd, IRQ_PM),
            device,
            dma: ioas.clone(),
            ioas,
            claim: Claim::default(),
        })
    }

    /// The address space it lives in; opens further devices there.
    pub fn ioas(&self) -> &Arc<Ioas> {
        &self.ioas
    }

    /// The kernel's answer to `step`.
    fn done<T>(&self, step: &'static str, done: io::Result<T>) -> Result<T, BusError> {
        access::done(self.address, done, KmodError::os(step))
    }

    /// Stops the device, in the order in which it can do the least harm; a step that fails is told, the rest done.
    fn quiesce(&self) {
        let fd = self.device.as_fd();
        let steps = [
            ("bus master off", self.set_bus_master(false)),
            ("MSI-X off", irq::off(fd).map_err(BusError::from)),
            ("reset", self.reset()),
        ];
        for (step, done) in steps {
            match done {
                // The kernel has done all this already.
                Ok(()) | Err(BusError::Removed { .. }) => {}
                Err(error) => tracing::warn!(address = %self.address, step, %error, "closing a device"),
            }
        }
    }
}

/// Region `index` with its flags.
fn region(device: &Arc<File>, index: u32) -> Result<(u32, Region), KmodError> {
    let info = uapi::region_info(device.as_fd(), index);
    let (flags, place) = info.map_err(KmodError::os("ask for a region of the device"))?;
    let region = Region::new(device, place);
    Ok((
        flags,
        region.ok_or(KmodError::BadAnswer("a region lies outside the device file"))?,
    ))
}

impl PciFunction for KmodFunction {
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
            KmodError::os(CONFIG),
        )
    }

    fn config_write(&self, offset: u16, buf: &[u8]) -> Result<(), BusError> {
        let place = (offset, buf.len());
        access::config(
            self.address,
            place,
            self.config.write(offset.into(), buf),
            KmodError::os(CONFIG),
        )
    }

    fn bar(&self, index: u8) -> Result<Bar, BusError> {
        let memory = |index| {
            let (flags, region) = region(&self.device, index)?;
            Ok((flags & REGION_IO == 0).then_some(region))
        };
        access::bar(self.address, index, memory, KmodError::os("map a BAR"))
    }

    fn reset(&self) -> Result<(), BusError> {
        self.done("reset the device", uapi::reset(self.device.as_fd()))
    }

    fn set_bus_master(&self, on: bool) -> Result<(), BusError> {
        self.done("switch bus mastering", uapi::bus_master(self.device.as_fd(), on))
    }

    fn msix_vectors(&self) -> u16 {
        self.vectors
    }

    fn set_msix(&self, vector: u16, fd: Option<BorrowedFd<'_>>) -> Result<(), BusError> {
        access::has_vector(self.address, vector, self.vectors)?;
        Ok(irq::direct(self.device.as_fd(), self.address, vector, fd)?)
    }

    fn events(&self) -> DeviceEvents {
        access::events(&self.request, &self.error, &self.power)
    }

    fn power_event(&self) -> Result<Option<PowerEvent>, BusError> {
        let info = self.done("ask for the power event", uapi::dev_info(self.device.as_fd()))?;
        let found = POWER_EVENTS.iter().find(|(number, _)| *number == info.pm_event);
        Ok(found.map(|(_, event)| *event))
    }

    /// A suspend that nobody acknowledges comes a second later all the same.
    fn acknowledge(&self, event: PowerEvent) -> Result<(), BusError> {
        let found = POWER_EVENTS.iter().find(|(_, known)| *known == event);
        let number = found.map_or(0, |(number, _)| *number);
        self.done(
            "acknowledge a power event",
            uapi::pm_ack(self.device.as_fd(), number),
        )
    }

    fn dma(&self) -> &Arc<dyn DmaDomain> {
        &self.dma
    }

    fn claim(&self) -> &Claim {
        &self.claim
    }
}

impl Drop for KmodFunction {
    fn drop(&mut self) {
        self.quiesce();
    }
}
