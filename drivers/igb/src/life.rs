//! What happens to the device as a whole: the host wants it back, an error on the bus, it is gone, somebody reset it, a queue stands still.

use crate::desc::Rx;
use crate::regs::status;
use crate::{Igb, regs};
use barline::bus::BusError;
use barline::mem::{Desc16, DmaSlice};
use barline::mmio::Bar;
use barline::pool::Verdict;
use barline::port::{PortError, PortEvent, Withheld};
use barline::ring::RxFormat;
use std::sync::atomic::Ordering::Relaxed;

/// The first receive descriptor that the device has passed, by its head, and not completed: it still holds the address of
/// a buffer. (One that was never used holds none; one that was taken and not given back is still marked as done.)
fn withheld(bar: &Bar, queue: usize, ring: &DmaSlice<Desc16>) -> Option<u32> {
    let (head, tail) = (bar.read(regs::RDH.at(queue)), bar.read(regs::RDT.at(queue)));
    let passed = head.wrapping_sub(tail) & ring.mask();
    // With all passed, the two are the same.
    let passed = if passed == 0 { ring.len() } else { passed };
    (1..passed)
        .map(|further| tail.wrapping_add(further) & ring.mask())
        .find(|index| {
            let desc = ring.at(*index);
            Rx::done(desc) == Verdict::Pending && desc[0].load(Relaxed) != 0
        })
}

impl Igb {
    /// The bus's word first.
    pub(crate) fn look(&mut self) -> Option<PortEvent> {
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
            if self.running.is_some() && !loaded {
                return Some(PortEvent::Reset);
            }
            self.has_stalled().then_some(PortEvent::Stalled)
        }
    }

    fn has_stalled(&mut self) -> bool {
        let rings = self.running.iter().flat_map(|running| &running.rx_rings);
        let places: Vec<_> = rings
            .enumerate()
            .map(|(queue, ring)| withheld(&self.bar, queue, ring))
            .collect();
        if places.iter().any(Option::is_some) {
            self.count();
        }
        let Some(running) = &mut self.running else {
            return false;
        };
        let link = self.bar.read(regs::STATUS) & (status::LU | status::TXOFF);
        let lost = self.counters.lost();
        running
            .progress
            .has_stalled(self.bar.now(), link == status::LU, |queue| {
                let place = (*places.get(queue)?)?;
                Some(Withheld { place, lost })
            })
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
