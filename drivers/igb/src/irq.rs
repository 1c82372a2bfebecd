//! MSI-X (data sheet 7.3): one vector a receive queue, masked while the queue is polled.
//!
//! Each message masks its own vector again (EIAM) and clears its cause (EIAC): one message a sleep, whatever comes.

use crate::regs::*;
use barline::bus::PciFunction;
use barline::mmio::Bar;
use barline::port::Interrupt;
use barline::wait::EventFd;
use std::os::fd::{AsFd, BorrowedFd};

/// Messages go out at once: throttling (EITR, 8.8.14) would only delay the wake-up, and there is one message a sleep.
const NO_THROTTLE: u32 = 0;

/// A receive queue's vector.
#[derive(Debug)]
pub struct Vector {
    bar: Bar,
    bit: u32,
    event: EventFd,
}

/// Sets up a vector for each of the first receive queues, as many as the device and the system have. The queues beyond
/// get none: their cores nap in place of sleeping.
pub fn set_up(function: &dyn PciFunction, bar: &Bar, queues: u16) -> Vec<Vector> {
    let count = queues.min(function.msix_vectors()).min(EITR.len() as u16);
    let mut vectors = Vec::new();
    for vector in 0..count {
        match direct(function, bar, vector) {
            Ok(directed) => vectors.push(directed),
            Err(error) => {
                let address = function.address();
                tracing::warn!(%address, vector, %error, "a receive queue has no interrupt");
                break;
            }
        }
    }
    if !vectors.is_empty() {
        route(bar, vectors.len());
    }
    vectors
}

fn direct(function: &dyn PciFunction, bar: &Bar, vector: u16) -> Result<Vector, String> {
    let event = EventFd::new().map_err(|error| error.to_string())?;
    let directed = function.set_msix(vector, Some(event.as_fd()));
    directed.map_err(|error| error.to_string())?;
    Ok(Vector {
        bar: bar.clone(),
        bit: 1 << vector,
        event,
    })
}

/// Receive queue N raises vector N (8.8.15: queues 0 to 7 in bits 7:0, 8 to 15 in bits 23:16), transmit queues none.
fn route(bar: &Bar, vectors: usize) {
    bar.write(GPIE, gpie::MULTIPLE_MSIX | gpie::EIAME | gpie::NSICR);
    for register in 0..IVAR.len() {
        let entry = |queue: usize| match queue < vectors {
            true => IVAR_VALID | queue as u32,
            false => 0,
        };
        bar.write(IVAR.at(register), entry(register) | entry(register + 8) << 16);
    }
    let all = (1 << vectors) - 1;
    bar.write(EIAC, all);
    bar.write(EIAM, all);
    (0..vectors).for_each(|vector| bar.write(EITR.at(vector), NO_THROTTLE));
}

/// Takes the vectors back from the system; the device is quiet.
pub fn take_down(function: &dyn PciFunction, vectors: usize) {
    for vector in 0..vectors {
        // Only a device that is gone refuses, and that one sends nothing.
        let _ = function.set_msix(vector as u16, None);
    }
}

impl Interrupt for Vector {
    fn event(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    /// The cause collects while it is masked: without clearing it the first sleep would end at once. A frame between
    /// the two writes is one whose descriptor the caller's look finds: the read returns behind everything that the
    /// device wrote before it took the writes (PCI Express 2.4.1: a completion does not pass posted requests).
    fn unmask(&self) {
        self.bar.write(EICR, self.bit);
        self.bar.write(EIMS, self.bit);
        self.bar.read(STATUS);
    }

    fn mask(&self) {
        self.bar.write(EIMC, self.bit);
    }
}
