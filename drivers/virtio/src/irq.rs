//! MSI-X (4.1.5.1.2): vector 0 for configuration changes, one after it for each of the first receive queues.
//!
//! Nothing is masked in the device: whether a queue raises its interrupt is said in its ring.

use barline::bus::PciFunction;
use barline::port::Interrupt;
use barline::wait::EventFd;
use std::os::fd::{AsFd, BorrowedFd};

/// A receive queue's vector.
#[derive(Debug)]
pub struct Vector(EventFd);

impl Interrupt for Vector {
    fn event(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn unmask(&self) {}

    fn mask(&self) {}
}

/// Vectors that are directed to eventfds.
#[derive(Debug, Default)]
pub struct Vectors {
    /// Of configuration changes.
    pub config: Option<EventFd>,
    /// Of the first receive queues.
    pub queues: Vec<Vector>,
}

/// Directs a vector for configuration changes and one for each of the first `queues` receive queues, as many as there
/// are. The queues beyond get none: their cores nap in place of sleeping.
pub fn set_up(function: &dyn PciFunction, queues: u16) -> Vectors {
    let mut vectors = Vectors::default();
    let count = function.msix_vectors();
    if count == 0 {
        return vectors;
    }
    vectors.config = direct(function, 0);
    for vector in 1..=queues.min(count - 1) {
        match direct(function, vector) {
            Some(event) => vectors.queues.push(Vector(event)),
            None => break,
        }
    }
    vectors
}

fn direct(function: &dyn PciFunction, vector: u16) -> Option<EventFd> {
    let event = EventFd::new()
        .map_err(|error| error.to_string())
        .and_then(|event| {
            let directed = function.set_msix(vector, Some(event.as_fd()));
            directed.map(|()| event).map_err(|error| error.to_string())
        });
    let address = function.address();
    event
        .map_err(|error| tracing::warn!(%address, vector, %error, "a virtio device has one interrupt less"))
        .ok()
}

/// Takes the vectors back from the system; the device is quiet.
pub fn take_down(function: &dyn PciFunction, vectors: u16) {
    for vector in 0..vectors {
        // Only a device that is gone refuses, and that one sends nothing.
        let _ = function.set_msix(vector, None);
    }
}
