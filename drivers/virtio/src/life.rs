//! What happens to the device as a whole: the host wants it back, an error, it is gone, somebody reset it.

use crate::regs::Status;
use crate::{Virtio, caps, init};
use barline::bus::DeviceEvents;
use barline::port::{PortError, PortEvent};
use barline::wait::EventFd;
use std::os::fd::{AsFd, BorrowedFd};

/// The bus's eventfds.
#[derive(Debug, Default)]
pub(crate) struct Events {
    request: Option<EventFd>,
    error: Option<EventFd>,
}

impl From<DeviceEvents> for Events {
    fn from(events: DeviceEvents) -> Self {
        Self {
            request: events.unplug_request.map(EventFd::from),
            error: events.error.map(EventFd::from),
        }
    }
}

fn raised(event: Option<&EventFd>) -> bool {
    matches!(event.map(EventFd::drain), Some(Ok(1..)))
}

impl Virtio {
    /// The bus's word first: a request must not wait for registers.
    pub(crate) fn look(&self) -> Option<PortEvent> {
        if raised(self.events.request.as_ref()) {
            return Some(PortEvent::UnplugRequested);
        }
        let failed = raised(self.events.error.as_ref());
        let running = self.running.as_ref();
        // What changed in the configuration is read when somebody asks; that something did is all it says.
        raised(running.and_then(|running| running.config.as_ref()));
        let status = init::status(&self.at);
        let broken = running.is_some_and(|running| running.health.is_broken());
        if self.is_gone() {
            Some(PortEvent::Gone)
        } else if failed || broken || status.contains(Status::NEEDS_RESET) {
            Some(PortEvent::Error)
        } else {
            (running.is_some() && !status.contains(Status::DRIVER_OK)).then_some(PortEvent::Reset)
        }
    }

    pub(crate) fn event_fds(&self) -> Vec<BorrowedFd<'_>> {
        let config = self.running.as_ref().and_then(|running| running.config.as_ref());
        let events = [self.events.request.as_ref(), self.events.error.as_ref(), config];
        events.into_iter().flatten().map(AsFd::as_fd).collect()
    }

    /// No status has all bits set: FAILED is never written together with DRIVER_OK.
    pub(crate) fn is_gone(&self) -> bool {
        init::status(&self.at).bits() == u8::MAX
    }

    /// Cuts the device off from memory. One that does not answer there either has no bus mastering to switch off.
    pub(crate) fn cut_off(&self) -> Result<(), PortError> {
        match self.function.set_bus_master(false) {
            Err(error) if !caps::is_removed(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }
}
