use super::KmodError;
use super::uapi::{self, IRQ_MSIX};
use crate::bus::trigger::Trigger;
use crate::pci::PciAddress;
use crate::wait::EventFd;
use nix::errno::Errno;
use std::os::fd::{AsFd, BorrowedFd};

/// Directs an MSI-X vector to an eventfd, or to nothing. The module sets all vectors up at the first one.
pub(super) fn direct(
    device: BorrowedFd<'_>,
    address: PciAddress,
    vector: u16,
    fd: Option<BorrowedFd<'_>>,
) -> Result<(), KmodError> {
    let done = uapi::set_irqs(device, IRQ_MSIX, Trigger::EventFds(vector.into(), &[fd]));
    done.map_err(|source| match source.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOSPC) => KmodError::FewerVectors { address, vector },
        _ => KmodError::os("direct an MSI-X vector")(source),
    })
}

/// Switches MSI-X off; no error where it was not on.
pub(super) fn off(device: BorrowedFd<'_>) -> Result<(), KmodError> {
    uapi::set_irqs(device, IRQ_MSIX, Trigger::Off).map_err(KmodError::os("switch MSI-X off"))
}

/// An eventfd for one of the events of the device as a whole; none where the device has no such event. The engine
/// works without, so a failure is only told.
pub(super) fn event(device: BorrowedFd<'_>, index: u32) -> Option<EventFd> {
    let register = || {
        if uapi::irq_count(device, index)? == 0 {
            return Ok(None);
        }
        let event = EventFd::new()?;
        uapi::set_irqs(device, index, Trigger::EventFds(0, &[Some(event.as_fd())])).map(|()| Some(event))
    };
    register()
        .inspect_err(
            |error: &std::io::Error| tracing::warn!(index, %error, "the kernel will not tell of this device's events"),
        )
        .ok()
        .flatten()
}
