//! Rings whose completions are told elsewhere than in the posted descriptor, in any order: virtio's split and packed
//! rings, and devices with a completion queue and ids.
//!
//! A driver supplies a [`Format`] (where words stand and what they mean) and a [`Notify`] (how its device is told). The
//! loops are here. Addresses come from the pool's and the ring's mappings, so neither knows what kind of bus it is.
//!
//! What a device writes is looked at before it is believed. An id that is not in flight, and more completions than there
//! are buffers, break the ring for good: it is counted, [`Health`] tells the port, and nothing is touched any more.

mod rx;
mod tx;

pub use rx::RxRing;
pub use tx::TxRing;

use crate::mem::Iova;
use crate::offload::{Offload, Offloads};
use crate::pool::Peek;
use crate::wait::Cpu;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How a device is told that a ring has something for it: a register, an eventfd.
pub trait Notify: Send + Debug + 'static {
    /// What was posted can be seen by the device. `tail` is the free-running position one past the newest.
    fn notify(&mut self, tail: u32);
}

/// What a look at a position brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// The device has not completed so many.
    Pending,
    /// It has: the buffer of this id, of which it wrote `len` bytes.
    Done {
        /// The id as the device wrote it.
        id: u32,
        /// Bytes, the prefix included; of a transmit ring it means nothing.
        len: u32,
    },
    /// The device claims to have completed more than there are.
    Overrun,
}

/// The words of one ring, shared with the device.
///
/// Positions run freely. Completions have positions too: the n-th completion is looked for at position n. Which id
/// stands at which position is kept by the ring; it is told when that changes, which a device that completes in order never
/// makes happen.
pub trait Format: Send + Debug + 'static {
    /// Bytes in front of each frame: written by the device on receive, zeros on transmit.
    const PREFIX: usize;
    /// Bytes that the device leaves free in front of a received frame, whatever the pool's headroom.
    const HEADROOM: usize = 0;
    /// The shortest packet that is sent; shorter ones are dropped and counted.
    const SHORTEST: u32 = 1;
    /// What the device does for packets; the rest is done in software before they get here.
    fn offloads(&self) -> Offloads {
        Offloads::empty()
    }
    /// Writes what a packet asks for to the prefix in front of it, which is zeros.
    fn request(offload: &Offload, prefix: &mut [u8]) {
        let _ = (offload, prefix);
    }
    /// What the device wrote to the prefix of a received packet of `len` bytes, where it was asked for
    /// [`Format::offloads`]; `None` where that cannot be.
    fn received(prefix: &[u8], len: usize) -> Option<Offload> {
        let _ = (prefix, len);
        Some(Offload::default())
    }
    /// Positions: a power of two, 32,768 at most.
    fn positions(&self) -> u32;
    /// Whether the device completes in the order of posting, and may tell only the last of several.
    fn in_order(&self) -> bool {
        false
    }
    /// Whether a received frame may stand in several buffers ([`Format::parts`]).
    fn merges(&self) -> bool {
        false
    }
    /// Writes a buffer of `len` bytes at `buffer`, prefix included.
    fn post(&mut self, at: u32, id: u16, buffer: Iova, len: u32);
    /// Lets the device see positions `from..to`, once a burst. Whether it wants to be told.
    fn publish(&mut self, from: u32, to: u32) -> bool;
    /// The completion at `at`; `tail` is one past the newest posted. What it announces must be seen after it (acquire).
    fn look(&mut self, at: u32, tail: u32) -> Look;
    /// Whether there is none yet, by a fresh look.
    fn is_pending(&self, at: u32) -> bool;
    /// From now on `id` stands at `at`, for the next post there.
    fn renumber(&mut self, at: u32, id: u16) {
        let _ = (at, id);
    }
    /// Buffers that the frame takes whose first one was completed at `at`; `first` shows it. `None`: the device has not
    /// completed all of them.
    fn parts(&mut self, at: u32, first: &dyn Fn() -> Peek) -> Option<u32> {
        let _ = (at, first);
        Some(1)
    }
    /// Whether the device rests until it is told (once more) of what was published. Asked when a call found nothing, or no
    /// room, or is made for the sake of what was sent.
    fn needs_wakeup(&self) -> bool {
        false
    }
    /// Has the completion at `at` raise the interrupt.
    fn wake_at(&mut self, at: u32) {
        let _ = at;
    }
    /// Keeps the interrupt silent; `at` is the next completion.
    fn hush(&mut self, at: u32) {
        let _ = at;
    }
    /// What stands at `at`, in words: in a receive ring the completion there, in a transmit ring what was posted.
    fn describe(&self, at: u32) -> Option<String> {
        let _ = at;
        None
    }
    /// Rests until something changes at `at`, a few microseconds at most.
    fn rest(&self, at: u32, cpu: Cpu) {
        let _ = at;
        cpu.pause();
    }
}

/// Whether the rings of a device still make sense. Its port keeps a clone.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<AtomicBool>);

impl Health {
    /// Whether a ring was broken by what its device wrote.
    pub fn is_broken(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn report(&self, ring: &'static str, fault: Fault) {
        self.0.store(true, Ordering::Relaxed);
        tracing::error!(
            ring,
            ?fault,
            "the device wrote nonsense into a ring; it is not used any more"
        );
    }
}

/// What cannot be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// An id that is not in flight.
    Id(u32),
    /// More completions than there are buffers.
    Overrun,
}

/// Why a burst stopped before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Halt {
    /// Nothing more, or no room.
    End,
    /// A completion out of turn.
    Turn(u32, u32),
    /// A frame in so many parts.
    Parts(u32),
    Overrun,
}
