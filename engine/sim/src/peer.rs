//! What hangs at the other end of the cable.

use std::fmt::Debug;
use std::sync::{Arc, Weak};

/// Something that can be told that there is work for it.
pub trait Kick: Send + Sync + Debug {
    /// Runs the device, or makes whoever is running it right now look again. Never blocks on a device's lock.
    fn kick(&self);
}

/// The other end of a port's cable. Frames are without their FCS: 60 bytes is the shortest legal one.
///
/// Called with the device's lock held: it must not call back into a device. What it owes to another device it
/// gives out through [`Peer::owed_kick`] once the lock is released.
pub trait Peer: Send + Debug {
    /// Takes a frame that the device sent.
    fn transmit(&mut self, frame: &[u8]);

    /// Puts the next frame for the device into `frame` (whatever was in it is lost; its memory is reused).
    fn receive(&mut self, frame: &mut Vec<u8>) -> bool;

    /// Whether the frame that [`Peer::receive`] gave last was damaged on its way, so that its FCS is wrong.
    fn damaged(&self) -> bool {
        false
    }

    /// Whether frames may wait here until the device has a receive descriptor: true for a traffic source, which
    /// loses nothing that way. Frames of an end that is not patient arrive whether or not there is room for them.
    fn patient(&self) -> bool {
        false
    }

    /// Tells this end which device it is plugged into.
    fn attach(&mut self, device: Weak<dyn Kick>) {
        drop(device);
    }

    /// The device that has to hear of frames sent since the last call.
    fn owed_kick(&mut self) -> Option<Arc<dyn Kick>> {
        None
    }
}

/// An open cable end: takes every frame, sends none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl Peer for Nobody {
    fn transmit(&mut self, _frame: &[u8]) {}

    fn receive(&mut self, _frame: &mut Vec<u8>) -> bool {
        false
    }
}
