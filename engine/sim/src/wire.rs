//! A cable between two ports.

use crate::peer::{Kick, Peer};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

/// A cable between two ports: each direction is a bounded queue of frames.
#[derive(Debug)]
pub struct Wire;

impl Wire {
    /// Frames that a direction holds in [`Wire::pair`].
    pub const DEPTH: usize = 4096;

    /// A cable's two ends.
    pub fn pair() -> (WireEnd, WireEnd) {
        Self::with_depth(Self::DEPTH)
    }

    /// A cable that holds at most `depth` frames in each direction. A link has no back-pressure: what does not fit
    /// is lost and counted.
    pub fn with_depth(depth: usize) -> (WireEnd, WireEnd) {
        let (east, west) = (Arc::new(Lane::new(depth)), Arc::new(Lane::new(depth)));
        let a = WireEnd {
            out: east.clone(),
            inward: west.clone(),
            owed: false,
        };
        let b = WireEnd {
            out: west,
            inward: east,
            owed: false,
        };
        (a, b)
    }
}

/// One direction. Slots are reused: after the first round no frame allocates.
struct Lane {
    ring: Mutex<Ring>,
    listener: OnceLock<Weak<dyn Kick>>,
    dropped: AtomicU64,
}

struct Ring {
    slots: Vec<Vec<u8>>,
    first: usize,
    len: usize,
}

impl Lane {
    fn new(depth: usize) -> Self {
        let ring = Ring {
            slots: vec![Vec::new(); depth],
            first: 0,
            len: 0,
        };
        Self {
            ring: Mutex::new(ring),
            listener: OnceLock::new(),
            dropped: AtomicU64::new(0),
        }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, frame: &[u8]) -> bool {
        let mut ring = self.ring();
        let depth = ring.slots.len();
        if ring.len == depth {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let at = (ring.first + ring.len) % depth;
        ring.len += 1;
        let slot = &mut ring.slots[at];
        slot.clear();
        slot.extend_from_slice(frame);
        true
    }

    /// Swaps the oldest frame out: its memory for the caller's.
    fn pop(&self, frame: &mut Vec<u8>) -> bool {
        let mut ring = self.ring();
        if ring.len == 0 {
            return false;
        }
        let at = ring.first;
        ring.first = (at + 1) % ring.slots.len();
        ring.len -= 1;
        std::mem::swap(frame, &mut ring.slots[at]);
        true
    }

    fn listener(&self) -> Option<Arc<dyn Kick>> {
        self.listener.get().and_then(Weak::upgrade)
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lane({} lost)", self.dropped.load(Ordering::Relaxed))
    }
}

/// One end of a [`Wire`]: plugged into a device, or kept by a test to play the other port by hand.
#[derive(Debug)]
pub struct WireEnd {
    out: Arc<Lane>,
    inward: Arc<Lane>,
    owed: bool,
}

impl WireEnd {
    /// Sends a frame and kicks the device at the other end; false where the wire was full and the frame is lost.
    /// For ends that no device holds.
    pub fn send(&self, frame: &[u8]) -> bool {
        let sent = self.out.push(frame);
        if let Some(device) = self.out.listener() {
            device.kick();
        }
        sent
    }

    /// The next frame that arrived here.
    pub fn next_frame(&self) -> Option<Vec<u8>> {
        let mut frame = Vec::new();
        self.inward.pop(&mut frame).then_some(frame)
    }

    /// A handle that watches the direction out of this end.
    pub fn watch(&self) -> WireWatch {
        WireWatch(self.out.clone())
    }
}

impl Peer for WireEnd {
    fn transmit(&mut self, frame: &[u8]) {
        self.out.push(frame);
        self.owed = true;
    }

    fn receive(&mut self, frame: &mut Vec<u8>) -> bool {
        self.inward.pop(frame)
    }

    fn attach(&mut self, device: Weak<dyn Kick>) {
        // A cable is plugged in once.
        let _ = self.inward.listener.set(device);
    }

    fn owed_kick(&mut self) -> Option<Arc<dyn Kick>> {
        if !std::mem::take(&mut self.owed) {
            return None;
        }
        self.out.listener()
    }
}

/// Watches one direction of a [`Wire`] after its ends went into devices.
#[derive(Clone, Debug)]
pub struct WireWatch(Arc<Lane>);

impl WireWatch {
    /// Frames lost because the wire was full.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Frames on the wire.
    pub fn queued(&self) -> usize {
        self.0.ring().len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_cross_in_order_and_the_full_wire_counts() {
        let (mut a, b) = Wire::with_depth(2);
        let watch = a.watch();
        for byte in 1..=3 {
            a.transmit(&[byte; 60]);
        }
        assert_eq!((watch.dropped(), watch.queued()), (1, 2));
        assert_eq!(b.next_frame().unwrap(), [1; 60]);
        assert_eq!(b.next_frame().unwrap(), [2; 60]);
        assert!(b.next_frame().is_none());
        assert!(b.send(&[9; 64]));
        let mut frame = vec![0; 3];
        assert!(a.receive(&mut frame));
        assert_eq!(frame, [9; 64]);
        assert!(a.owed_kick().is_none(), "nobody is plugged in");
    }
}
