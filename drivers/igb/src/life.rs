//! What happens to the device as a whole: the host wants it back, an error on the bus, it is gone, somebody reset it.

use crate::{Igb, regs};
use barline::bus::BusError;
use barline::port::{PortError, PortEvent};

impl Igb {
    /// The bus's word first.
    pub(crate) fn look(&self) -> Option<PortEvent> {
        if let Some(event) = self.events.first(self.function.as_ref()) {
            return Some(event);
        }
        let failed = self.events.error();
        if self.is_gone() {
            Some(self.events.silent(self.function.as_ref()))
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
