use super::VfioError;
use super::container::Container;
use super::group::Group;
use super::info::{DeviceInfo, RegionInfo};
use super::irq::{self, Msix};
use super::options::PassedFds;
use super::token::VfToken;
use super::uapi::{self, Query};
use crate::bus::access;
use crate::bus::region::Region;
use crate::bus::{BusError, Claim, PciFunction};
use crate::mem::DmaDomain;
use crate::pci::{BarKind, Command, ConfigImage, PciAddress, PciId};
use crate::wait::EventFd;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use vfio_bindings::bindings::vfio::*;

mod errors;
mod function;

/// A PCI function that VFIO has given to this process.
///
/// Dropping it stops the device: bus master off, interrupts off, reset. BARs that are still held keep the kernel's
/// device open, so that the host cannot have it back; let go of them too.
#[derive(Debug)]
pub struct VfioFunction {
    address: PciAddress,
    id: PciId,
    numa: Option<u32>,
    resettable: bool,
    io_bars: u8, // bit n: BAR n is one of ports
    config: Region,
    msix: Msix,
    error: Option<EventFd>,
    request: Option<EventFd>,
    device: Arc<File>,
    /// Another process has it now: dropping leaves it as it is.
    passed_on: bool,
    claim: Claim,
    // Dropped after the device; the group stays attached while the container lives.
    group: Arc<Group>,
    container: Arc<Container>,
    dma: Arc<dyn DmaDomain>,
}

/// `PCI_COMMAND` (linux/pci_regs.h).
const COMMAND: u16 = 0x04;

impl VfioFunction {
    pub(super) fn new(
        container: Arc<Container>,
        group: Arc<Group>,
        device: OwnedFd,
        address: PciAddress,
        numa: Option<u32>,
    ) -> Result<Self, VfioError> {
        let device = Arc::new(File::from(device));
        let info = device_info(device.as_fd())?;
        let config = region(&device, VFIO_PCI_CONFIG_REGION_INDEX)?;
        let header = header(&config)?;
        let image =
            ConfigImage::new(&header).map_err(|_| VfioError::BadAnswer("the device reads as all ones"))?;
        let io_bars = image.bars().into_iter().filter(|bar| bar.kind == BarKind::Io);
        let event = |index| {
            (index < info.irqs)
                .then(|| irq::event(device.as_fd(), index))
                .flatten()
        };
        let function = Self {
            address,
            id: image.id(),
            numa,
            resettable: info.flags & VFIO_DEVICE_FLAGS_RESET != 0,
            io_bars: io_bars.fold(0, |bits, bar| bits | 1 << bar.index),
            config,
            msix: Msix::new(device.as_fd(), address)?,
            error: event(VFIO_PCI_ERR_IRQ_INDEX),
            request: event(VFIO_PCI_REQ_IRQ_INDEX),
            device,
            passed_on: false,
            claim: Claim::default(),
            group,
            dma: container.clone(),
            container,
        };
        // The kernel opens it with memory on; a launcher could have left it otherwise.
        function
            .change_command(|command| command | Command::MEMORY)
            .map_err(open_failed)?;
        if function.error.is_some() {
            function.tell("error reporting on", function.report_errors());
        }
        Ok(function)
    }

    /// The address space it lives in; opens further devices there.
    pub fn container(&self) -> &Arc<Container> {
        &self.container
    }

    /// Lets the kernel raise an MSI-X vector's eventfd as if the device had: a test of the way from there on.
    ///
    /// # Errors
    /// The kernel's word: the vector is not on.
    pub fn fire_msix(&self, vector: u16) -> Result<(), BusError> {
        self.has_vector(vector)?;
        Ok(self.msix.fire(self.device.as_fd(), vector)?)
    }

    /// Sets the token that whoever opens a VF of this PF must give ([`OpenOptions::vf_token`](super::OpenOptions::vf_token)),
    /// from now on; what is open already stays open. Until this is called it is one that nobody knows. The kernel keeps
    /// it when the PF is closed.
    ///
    /// # Errors
    /// [`VfioError::NoVfs`]: the device cannot have VFs. Else the kernel's word.
    pub fn set_vf_token(&self, token: &VfToken) -> Result<(), VfioError> {
        let set = uapi::set_feature(
            self.device.as_fd(),
            VFIO_DEVICE_FEATURE_PCI_VF_TOKEN,
            token.bytes(),
        );
        set.map_err(|source| match source.raw_os_error() {
            Some(nix::libc::ENOTTY) => VfioError::NoVfs {
                address: self.address,
            },
            _ => VfioError::os("set the VF token")(source),
        })
    }

    /// Hands the device over, for a process without the right to open it ([`Container::from_device_fd`]). MSI-X is
    /// switched off; nothing else about the device changes.
    ///
    /// # Errors
    /// Out of file descriptors, or the kernel's word; the device is then closed as on a drop.
    pub fn into_fds(mut self) -> Result<PassedFds, VfioError> {
        self.msix.off(self.device.as_fd())?;
        let copy = |fd: BorrowedFd<'_>| {
            fd.try_clone_to_owned()
                .map_err(VfioError::os("duplicate a descriptor"))
        };
        let fds = PassedFds {
            container: copy(self.container.fd())?,
            group: copy(self.group.fd())?,
            device: copy(self.device.as_fd())?,
        };
        self.passed_on = true;
        Ok(fds)
    }

    fn has_vector(&self, vector: u16) -> Result<(), BusError> {
        access::has_vector(self.address, vector, self.msix.vectors())
    }

    fn change_command(&self, change: impl FnOnce(Command) -> Command) -> Result<(), BusError> {
        let mut bytes = [0; 2];
        self.config_read(COMMAND, &mut bytes)?;
        let old = u16::from_le_bytes(bytes);
        if old == u16::MAX {
            return Err(BusError::Removed {
                address: self.address,
            });
        }
        let new = change(Command::from_bits_retain(old)).bits();
        if new == old {
            Ok(())
        } else {
            self.config_write(COMMAND, &new.to_le_bytes())
        }
    }

    fn reset_device(&self) -> Result<(), VfioError> {
        if !self.resettable {
            return Err(VfioError::NotResettable {
                address: self.address,
            });
        }
        uapi::device_reset(self.device.as_fd()).map_err(VfioError::os("reset the device"))
    }

    /// Stops the device, in the order in which it can do the least harm; a step that fails is told, the rest done.
    fn quiesce(&self) {
        let fd = self.device.as_fd();
        self.tell("bus master off", self.set_bus_master(false));
        self.tell("MSI-X off", self.msix.off(fd));
        if self.request.is_some() {
            self.tell("unplug request off", irq::forget(fd, VFIO_PCI_REQ_IRQ_INDEX));
        }
        if self.error.is_some() {
            self.tell("error event off", irq::forget(fd, VFIO_PCI_ERR_IRQ_INDEX));
        }
        match self.reset_device() {
            // The host is unbinding the device and holds its lock: the kernel resets it once it is closed.
            Err(VfioError::Os { source, .. }) if source.raw_os_error() == Some(nix::libc::EAGAIN) => {}
            Err(VfioError::NotResettable { .. }) => {}
            done => self.tell("reset", done),
        }
    }

    fn tell<E: std::fmt::Display>(&self, step: &str, done: Result<(), E>) {
        if let Err(error) = done {
            tracing::warn!(address = %self.address, step, %error, "a step with a device failed");
        }
    }
}

fn device_info(device: BorrowedFd<'_>) -> Result<DeviceInfo, VfioError> {
    let answer = uapi::query(device, Query::Device).map_err(VfioError::os("ask what the device is"))?;
    let info = DeviceInfo::parse(&answer)?;
    let is_pci = info.flags & VFIO_DEVICE_FLAGS_PCI != 0 && info.regions > VFIO_PCI_CONFIG_REGION_INDEX;
    if is_pci {
        Ok(info)
    } else {
        Err(VfioError::BadAnswer("not a PCI device"))
    }
}

/// Asks for region `index`.
fn region(device: &Arc<File>, index: u32) -> Result<Region, VfioError> {
    let answer = uapi::query(device.as_fd(), Query::Region(index));
    let info = RegionInfo::parse(&answer.map_err(VfioError::os("ask for a region of the device"))?)?;
    Region::new(device, info.place()).ok_or(VfioError::BadAnswer("a region lies outside the device file"))
}

fn header(config: &Region) -> Result<[u8; 0x40], VfioError> {
    let header = config.header();
    header
        .ok_or(VfioError::BadAnswer("configuration space is too short"))?
        .map_err(VfioError::os("read configuration space"))
}

fn open_failed(error: BusError) -> VfioError {
    match error {
        BusError::Vfio(error) => error,
        other => VfioError::Os {
            step: "switch the device's memory on",
            source: io::Error::other(other),
        },
    }
}

impl Drop for VfioFunction {
    fn drop(&mut self) {
        if !self.passed_on {
            self.quiesce();
        }
    }
}
