//! What the kernel answers to a process that uses a function, as both of its drivers have it: VFIO and the module.

use super::region::Region;
use super::{BusError, DeviceEvents};
use crate::mmio::Bar;
use crate::pci::PciAddress;
use crate::wait::EventFd;
use std::io;

/// Highest BAR of a function.
const LAST_BAR: u8 = 5;

/// The kernel's answer, a device that was taken away told apart; `told` makes a driver's error of others.
pub(super) fn done<T, E: Into<BusError>>(
    address: PciAddress,
    answer: io::Result<T>,
    told: impl FnOnce(io::Error) -> E,
) -> Result<T, BusError> {
    answer.map_err(|error| match error.raw_os_error() {
        Some(nix::libc::ENODEV) => BusError::Removed { address },
        _ => told(error).into(),
    })
}

/// The outcome of an access to configuration space; none is one out of range.
pub(super) fn config<E: Into<BusError>>(
    address: PciAddress,
    (offset, len): (u16, usize),
    answer: Option<io::Result<()>>,
    told: impl FnOnce(io::Error) -> E,
) -> Result<(), BusError> {
    done(
        address,
        answer.ok_or(BusError::Config { address, offset, len })?,
        told,
    )
}

/// Maps memory BAR `index`, of which `region` tells the region if it is not one of ports.
pub(super) fn bar<E: Into<BusError>>(
    address: PciAddress,
    index: u8,
    region: impl FnOnce(u32) -> Result<Option<Region>, E>,
    told: impl FnOnce(io::Error) -> E,
) -> Result<Bar, BusError> {
    let found = if index > LAST_BAR {
        None
    } else {
        region(index.into()).map_err(Into::into)?
    };
    match found.filter(|region| region.size() > 0) {
        Some(region) => done(address, region.bar(), told),
        None => Err(BusError::NoBar { address, index }),
    }
}

/// Whether there is such a vector.
pub(super) fn has_vector(address: PciAddress, vector: u16, vectors: u16) -> Result<(), BusError> {
    if vector < vectors {
        return Ok(());
    }
    Err(BusError::NoVector {
        address,
        vector,
        vectors,
    })
}

/// Copies of the eventfds. Out of file descriptors: the event is lost to the caller, as where the bus cannot tell.
pub(super) fn events(
    request: &Option<EventFd>,
    error: &Option<EventFd>,
    power: &Option<EventFd>,
) -> DeviceEvents {
    let copy = |event: &Option<EventFd>| event.as_ref().and_then(|event| event.duplicate().ok());
    DeviceEvents {
        unplug_request: copy(request),
        error: copy(error),
        power: copy(power),
    }
}
