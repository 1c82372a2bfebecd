//! What happens to the device as a whole: the host wants it back, an error on the bus, it is gone, somebody reset it.

use crate::{Igb, regs};
use barline::bus::{BusError, DeviceEvents};
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

impl Events {
    pub fn fds(&self) -> Vec<BorrowedFd<'_>> {
        let events = [&self.request, &self.error];
        events.into_iter().flatten().map(AsFd::as_fd).collect()
    }
}

fn raised(event: &Option<EventFd>) -> bool {
    let count = event.as_ref().map(EventFd::drain);
    matches!(count, Some(Ok(1..)))
}

impl Igb {
    /// The bus's word first: a request must not wait for registers.
    pub(crate) fn look(&self) -> Option<PortEvent> {
        if raised(&self.events.request) {
            return Some(PortEvent::UnplugRequested);
        }
        let failed = raised(&self.events.error);
        if self.is_gone() {
            Some(PortEvent::Gone)
        } else if failed {
            Some(PortEvent::Error)
        } else {
            // Start sets it, every reset clears it (8.2.3).
            let loaded = self.bar.read(regs::CTRL_EXT) & regs::CTRL_EXT_DRV_LOAD != 0;
            (self.running.is_some() && !loaded).then_some(PortEvent::Reset)
        }
    }

    /// STATUS has reserved bits that read as zero (8.2.2).
    pub(crate) fn is_gone(&self) -> bool {
        self.bar.read(regs::STATUS) == u32::MAX
    }

    /// Cuts the device off from memory. One that does not answer there either has no bus mastering to switch off: it is
    /// out of its slot, without power, or in a reset that clears the bit.
    pub(crate) fn cut_off(&self) -> Result<(), PortError> {
        match self.function.set_bus_master(false) {
            Ok(()) | Err(BusError::Removed { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
