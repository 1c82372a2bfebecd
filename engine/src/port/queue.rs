use super::{Change, Link, MacAddress, PortCaps, PortConfig, PortError};
use crate::mmio::BarGuard;
use crate::pool::{Batch, PoolCache};
use crate::telemetry::{CounterSink, RxCounters, TxCounters};
use crate::wait::{Armed, Cpu};
use crossbeam::utils::CachePadded;
use std::fmt::Debug;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// A receive queue's interrupt, as its driver reaches it. It is masked unless the queue's core sleeps.
pub trait Interrupt: Send + Sync + Debug {
    /// The eventfd that it raises.
    fn event(&self) -> BorrowedFd<'_>;
    /// Forgets what happened so far and lets the next thing that happens through, once. It returns when the device has
    /// taken both: then whatever it wrote to memory before can be seen, and the caller looks. It costs a register
    /// read.
    fn unmask(&self);
    /// Holds it back. Costs a register write.
    fn mask(&self);
}

/// One receive queue: owned by one core, `Send`, never shared.
pub trait RxQueue: Send + Debug {
    /// Puts received packets at the back of `out`, as many as there are and fit; returns how many. Gives the
    /// device new buffers from `cache`. Never waits.
    ///
    /// `cache` should be of the pool the port was started with; one of another pool works, slowly.
    fn receive(&mut self, cache: &mut PoolCache, out: &mut Batch) -> usize;
    /// What happened so far.
    fn counters(&self) -> &RxCounters;
    /// The same, to keep when the queue moves to its core.
    fn shared_counters(&self) -> Arc<CachePadded<RxCounters>>;
    /// Looks for the last time before the core sleeps: lets the queue's interrupt through, then looks whether there
    /// is a packet after all. A queue without an interrupt says [`Armed::Silent`].
    fn arm(&mut self) -> Armed {
        Armed::Silent
    }
    /// Holds the interrupt back again. While a queue is polled it is never let through.
    fn disarm(&mut self) {}
    /// The eventfd that the interrupt raises; none where [`RxQueue::arm`] says [`Armed::Silent`].
    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
    /// Rests for a few microseconds at most, less if a packet comes and the processor can tell.
    fn pause(&self, cpu: Cpu) {
        cpu.pause();
    }
    /// Whether the port was stopped or its device is gone: nothing comes any more, and the port wants the queue back.
    /// What is received from such a queue are packets that were there before.
    fn has_ended(&self) -> bool {
        false
    }
    /// For people who look for a fault, not for the packet path: what the device wrote for the frame that is received next,
    /// in words. None where there is no such frame, or the queue has no descriptors to show.
    fn describe(&self) -> Option<String> {
        None
    }
}

/// One transmit queue: owned by one core, `Send`, never shared.
pub trait TxQueue: Send + Debug {
    /// Takes packets from the front of `packets` as long as the ring has room; what is left is the caller's to
    /// keep, retry or drop. Returns how many were handed to the device. Never waits.
    ///
    /// What a packet leaves to the device ([`crate::offload::Offload`]) and this one does not do is done in software. A long one that is
    /// cut counts once, when the last of it is handed over; until then the rest of it stays in front.
    fn transmit(&mut self, cache: &mut PoolCache, packets: &mut Batch) -> usize;
    /// Takes back buffers that the device has sent; returns how many. An idle loop calls it, so that nothing
    /// stays held.
    fn reclaim(&mut self, cache: &mut PoolCache) -> usize;
    /// Packets the device has and has not been seen to be done with.
    fn in_flight(&self) -> usize;
    /// What happened so far.
    fn counters(&self) -> &TxCounters;
    /// The same, to keep when the queue moves to its core.
    fn shared_counters(&self) -> Arc<CachePadded<TxCounters>>;
    /// Whether the port was stopped or its device is gone: it takes no packet any more, and the port wants the queue
    /// back.
    fn has_ended(&self) -> bool {
        false
    }
    /// For people who look for a fault, not for the packet path: the descriptor of the packet that was handed over `back`
    /// packets before the newest, as it stands now, in words. None where the queue has no descriptors to show.
    fn describe(&self, back: u32) -> Option<String> {
        let _ = back;
        None
    }
}

/// What happens to a device as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PortEvent {
    /// The host wants the device back and waits, with the device locked, until every descriptor and mapping of it is
    /// closed: stop the port and drop it with its queues. Until then, touch nothing of the device in sysfs: whoever
    /// reads there waits for the host, which waits for us.
    UnplugRequested,
    /// It does not answer: registers read as all ones. It was pulled out, or has lost its power.
    Gone,
    /// An uncorrectable error on its way to memory (PCI Express AER), or what it wrote to a ring cannot be, or it says itself
    /// that it needs a reset. What it does now is not known.
    Error,
    /// Somebody else has reset it: it knows nothing of its rings.
    Reset,
    /// Another program has taken it over: nothing comes from it any more. [`Port::reason`] says what to do.
    Taken,
    /// A queue stands still although device and application could work: the device has lost or overwritten descriptors,
    /// or has stopped at one. See [`Progress`](super::Progress).
    Stalled,
    /// The machine goes to sleep and waits, for a second or so: stop the port, then [`Port::acknowledge`] this. It stays open.
    Suspend,
    /// The machine has slept, or has thought better of it, and the device was reset: [`Port::acknowledge`] this first, then
    /// stop the port if it was not, and start it again. Until then registers read as all ones.
    Resume,
    /// A peer (the other side of a vhost-user port) has connected. The port runs on.
    PeerConnected,
    /// The peer has gone, or was cut off. The port runs on and waits for the next one.
    PeerGone,
}

impl PortEvent {
    /// Whether the port's run is over: it is to be stopped, dropped, and opened again when its device is back.
    /// [`PortEvent::Suspend`] only interrupts it.
    pub fn ends_run(self) -> bool {
        !matches!(
            self,
            Self::PeerConnected | Self::PeerGone | Self::Suspend | Self::Resume
        )
    }
}

/// The queues of a started port. They come back by value when it is stopped.
#[derive(Debug, Default)]
pub struct Queues {
    /// Receive queues, by index.
    pub rx: Vec<Box<dyn RxQueue>>,
    /// Transmit queues, by index.
    pub tx: Vec<Box<dyn TxQueue>>,
}

/// A device, as it is configured. One thread's at a time; its queues go to their cores.
///
/// Dropping a port stops its device: queues off, bus master off, interrupts off, reset.
pub trait Port: Send + Debug {
    /// What it can do.
    fn caps(&self) -> &PortCaps;
    /// Its MAC address.
    fn mac(&self) -> MacAddress;
    /// Starts the device with the given queues.
    ///
    /// # Errors
    /// A configuration beyond [`Port::caps`], a device that does not come up, no memory. The device is then
    /// stopped and nothing is held.
    fn start(&mut self, config: &PortConfig) -> Result<Queues, PortError>;
    /// Stops the device and takes its queues; every buffer they held goes back to its pool.
    ///
    /// # Errors
    /// The device did not answer in time; it has been cut off from memory all the same.
    fn stop(&mut self, queues: Queues) -> Result<(), PortError>;
    /// The link, as it is now. Reads registers: not for the packet path.
    fn link(&self) -> Link;
    /// The device's own statistics since the start. Reads registers: not for the packet path.
    fn counters(&mut self, out: &mut dyn CounterSink);
    /// What happened to the device as a whole since the last call, the gravest first. Most end the port's run
    /// ([`PortEvent::ends_run`]): stop it, drop it, and open it again when its device is back; for a sleep of the machine see
    /// [`PortEvent::Suspend`]. Reads registers: not for the packet path.
    fn event(&mut self) -> Option<PortEvent> {
        None
    }
    /// Why the last event came and what to do about it, in words, where the port knows more than the event says.
    fn reason(&self) -> Option<String> {
        None
    }
    /// How a started port works, in words, where that is not in its hands alone: what a kernel gave it, as in `zero copy`.
    fn mode(&self) -> Option<String> {
        None
    }
    /// Tells the bus that this process is done with an event. Only sleep waits for it; nothing happens for others.
    ///
    /// # Errors
    /// The bus's word: there is no such event, or the device is gone.
    fn acknowledge(&mut self, _event: PortEvent) -> Result<(), PortError> {
        Ok(())
    }
    /// Eventfds that are raised when [`Port::event`] has something to tell. Not all can be known that way: ask once in
    /// a while too.
    fn event_fds(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }
    /// Guards for its mapped registers, for an application whose SIGBUS handler wants to survive the loss of the device.
    fn guards(&self) -> Vec<BarGuard> {
        Vec::new()
    }
    /// Changes a setting: checked, then applied.
    ///
    /// # Errors
    /// [`PortError::Unsupported`] or [`PortError::Config`]; nothing has changed then.
    fn set(&mut self, change: Change) -> Result<(), PortError>;
}
