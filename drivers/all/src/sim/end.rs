use super::Device;
use crate::pace::Times;
use barline::bus::PowerEvent;
use barline::bus::local::LocalPower;
use barline::wait::EventFd;
use barline_sim::Sink;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The far end of a simulated port's cable.
#[derive(Clone, Debug)]
pub struct SimEnd {
    /// What the port has sent.
    pub sink: Sink,
    /// When frames went past the plug of a port that has a rate.
    pub times: Times,
    pub(super) device: Arc<dyn Device>,
    pub(super) request: Arc<EventFd>,
    pub(super) error: Arc<EventFd>,
    pub(super) power: Arc<LocalPower>,
    pub(super) dry: Arc<AtomicBool>,
}

impl SimEnd {
    /// Whether the feed has come to its end.
    pub fn is_dry(&self) -> bool {
        self.dry.load(Ordering::Relaxed)
    }

    pub(crate) fn dry(&self) -> Arc<AtomicBool> {
        self.dry.clone()
    }

    /// Pulls the device out: it does not answer any more.
    pub fn remove(&self) {
        self.device.remove();
    }

    /// Pulls the cable, or plugs it in.
    pub fn set_link(&self, up: bool) {
        self.device.set_link(up);
    }

    /// Resets it, as somebody could who shares the machine.
    pub fn reset(&self) {
        self.device.reset();
    }

    /// Plays the host that wants the device back.
    ///
    /// # Errors
    /// The kernel's word.
    pub fn request_unplug(&self) -> io::Result<()> {
        self.request.raise()
    }

    /// Plays the machine that goes to sleep, or wakes up and has reset the device.
    ///
    /// # Errors
    /// The kernel's word.
    pub fn announce(&self, event: PowerEvent) -> io::Result<()> {
        if event == PowerEvent::Resume {
            self.device.reset();
        }
        self.power.announce(event)
    }

    /// What of that the port has not acknowledged.
    pub fn unacknowledged(&self) -> Option<PowerEvent> {
        self.power.pending()
    }

    /// Plays the bus that reports an uncorrectable error.
    ///
    /// # Errors
    /// The kernel's word.
    pub fn report_error(&self) -> io::Result<()> {
        self.error.raise()
    }
}
