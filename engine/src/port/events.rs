use super::{PortError, PortEvent};
use crate::bus::{BusError, DeviceEvents, PciFunction, PowerEvent};
use crate::wait::EventFd;
use std::os::fd::{AsFd, BorrowedFd};

/// What the bus tells of a device, as a driver's [`Port::event`](super::Port::event) needs it.
#[derive(Debug)]
pub struct BusEvents {
    request: Option<EventFd>,
    error: Option<EventFd>,
    power: Option<EventFd>,
}

impl From<DeviceEvents> for BusEvents {
    fn from(events: DeviceEvents) -> Self {
        Self {
            request: events.unplug_request.map(EventFd::from),
            error: events.error.map(EventFd::from),
            power: events.power.map(EventFd::from),
        }
    }
}

impl BusEvents {
    /// All of them, for [`Port::event_fds`](super::Port::event_fds).
    pub fn fds(&self) -> Vec<BorrowedFd<'_>> {
        let events = [&self.request, &self.error, &self.power];
        events.into_iter().flatten().map(AsFd::as_fd).collect()
    }

    /// What must be told before a register is read: a request must not wait for one, and one of a device that has slept
    /// reads as all ones.
    pub fn first(&self, function: &dyn PciFunction) -> Option<PortEvent> {
        if raised(&self.request) {
            return Some(PortEvent::UnplugRequested);
        }
        raised(&self.power).then(|| power(function)).flatten()
    }

    /// Whether the bus has reported an uncorrectable error.
    pub fn error(&self) -> bool {
        raised(&self.error)
    }

    /// What it means that a device does not answer: it is gone, unless the machine has slept since [`BusEvents::first`].
    pub fn silent(&self, function: &dyn PciFunction) -> PortEvent {
        match power(function) {
            Some(event) if self.power.is_some() => event,
            _ => PortEvent::Gone,
        }
    }

    /// What [`Port::acknowledge`](super::Port::acknowledge) has to do.
    ///
    /// # Errors
    /// The bus's word.
    pub fn acknowledge(function: &dyn PciFunction, event: PortEvent) -> Result<(), PortError> {
        let event = match event {
            PortEvent::Suspend => PowerEvent::Suspend,
            PortEvent::Resume => PowerEvent::Resume,
            _ => return Ok(()),
        };
        Ok(function.acknowledge(event)?)
    }
}

fn raised(event: &Option<EventFd>) -> bool {
    let count = event.as_ref().map(EventFd::drain);
    matches!(count, Some(Ok(1..)))
}

fn power(function: &dyn PciFunction) -> Option<PortEvent> {
    match function.power_event() {
        Ok(event) => event.map(|event| match event {
            PowerEvent::Suspend => PortEvent::Suspend,
            PowerEvent::Resume => PortEvent::Resume,
        }),
        // Its registers will tell.
        Err(BusError::Removed { .. }) => None,
        Err(error) => {
            tracing::warn!(address = %function.address(), %error, "a power event is lost");
            None
        }
    }
}
