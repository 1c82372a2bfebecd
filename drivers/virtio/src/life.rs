//! What happens to the device as a whole: the host wants it back, an error, it is gone, somebody reset it, a queue stands
//! still.

use crate::regs::Status;
use crate::{Virtio, caps, init};
use barline::port::{PortError, PortEvent};
use barline::wait::EventFd;
use std::os::fd::{AsFd, BorrowedFd};

fn raised(event: Option<&EventFd>) -> bool {
    matches!(event.map(EventFd::drain), Some(Ok(1..)))
}

impl Virtio {
    /// The bus's word first.
    pub(crate) fn look(&mut self) -> Option<PortEvent> {
        if let Some(event) = self.events.first(self.function.as_ref()) {
            return Some(event);
        }
        let failed = self.events.error();
        let running = self.running.as_ref();
        // What changed in the configuration is read when somebody asks; that something did is all it says.
        raised(running.and_then(|running| running.config.as_ref()));
        let status = init::status(&self.at);
        let broken = running.is_some_and(|running| running.health.is_broken());
        if self.is_gone() {
            Some(self.events.silent(self.function.as_ref()))
        } else if failed || broken || status.contains(Status::NEEDS_RESET) {
            Some(PortEvent::Error)
        } else if running.is_some() && !status.contains(Status::DRIVER_OK) {
            Some(PortEvent::Reset)
        } else {
            self.has_stalled().then_some(PortEvent::Stalled)
        }
    }

    /// A transmit ring that stays full says so. Receive rings do not: a device has no register that tells how far it is, so
    /// one that keeps buffers to itself is like one to which nothing comes.
    fn has_stalled(&mut self) -> bool {
        let (now, up) = (self.at.common.bar().now(), self.link_now().up);
        let running = self.running.as_mut();
        running.is_some_and(|running| running.progress.has_stalled(now, up, |_| None))
    }

    pub(crate) fn event_fds(&self) -> Vec<BorrowedFd<'_>> {
        let config = self.running.as_ref().and_then(|running| running.config.as_ref());
        let mut fds = self.events.fds();
        fds.extend(config.map(AsFd::as_fd));
        fds
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
