//! The device as its peer sets it up: features, memory, rings. All changes go through here, on the control thread.

use crate::chain::Rules;
use crate::fault::{Counts, Fault};
use crate::features::{header_len, offloads, virtio};
use crate::gate::Gate;
use crate::ring::{Ring, Setup};
use crate::split::Places;
use crate::sys::{GuestMemory, Log};
use barline::port::{MacAddress, PortEvent};
use barline::wait::EventFd;
use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What port, queues and control thread share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Two a queue: what we send (the peer's receive ring), then what we receive (5.1.2).
    pub gates: Vec<Arc<Gate>>,
    pub counts: Arc<Counts>,
    events: Mutex<VecDeque<PortEvent>>,
    /// Raised when there is an event.
    pub news: EventFd,
}

/// Events that wait for somebody who asks; the oldest go when there are more.
const EVENTS: usize = 32;

impl Shared {
    /// For so many queues.
    ///
    /// # Errors
    /// Out of file descriptors.
    pub fn new(queues: u16) -> std::io::Result<Arc<Self>> {
        let counts = Arc::default();
        let gates = (0..2 * queues).map(|_| Gate::new(&counts));
        Ok(Arc::new(Self {
            gates: gates.collect::<std::io::Result<_>>()?,
            counts,
            events: Mutex::default(),
            news: EventFd::new()?,
        }))
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<PortEvent>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn tell(&self, event: PortEvent) {
        let mut events = self.queue();
        if events.len() == EVENTS {
            events.pop_front();
        }
        events.push_back(event);
        let _ = self.news.raise(); // it fails for a descriptor that is none
    }

    pub fn event(&self) -> Option<PortEvent> {
        let mut events = self.queue();
        let event = events.pop_front();
        if events.is_empty() {
            let _ = self.news.drain();
        }
        event
    }

    /// Whether the first pair of rings is in use.
    pub fn is_up(&self) -> bool {
        self.gates.iter().take(2).all(|gate| gate.is_open())
    }
}

/// One ring, as messages describe it.
#[derive(Debug, Default)]
pub(crate) struct Vring {
    pub size: u16,
    pub places: Option<Places>,
    pub log: bool,
    pub base: u16,
    /// The base is the peer's word, not the worker's.
    pub fresh: bool,
    pub kick: Option<EventFd>,
    pub call: Option<Arc<EventFd>>,
    pub error: Option<Arc<EventFd>>,
    /// From SET_VRING_KICK until GET_VRING_BASE.
    pub started: bool,
    pub enabled: bool,
    /// Its worker is stuck in a burst.
    stuck: bool,
}

/// The device.
#[derive(Debug)]
pub(crate) struct Device {
    pub shared: Arc<Shared>,
    /// Features that are offered.
    pub offered: u64,
    /// Features that the peer has taken.
    pub features: u64,
    /// Protocol features that it has taken.
    pub protocol: u64,
    /// The virtio status (2.1).
    pub status: u8,
    pub memory: Arc<GuestMemory>,
    pub log: Option<Arc<Log>>,
    pub rings: Vec<Vring>,
}

impl Device {
    pub fn new(shared: &Arc<Shared>, offered: u64) -> Self {
        Self {
            shared: shared.clone(),
            offered,
            features: 0,
            protocol: 0,
            status: 0,
            memory: Arc::default(),
            log: None,
            rings: shared.gates.iter().map(|_| Vring::default()).collect(),
        }
    }

    pub fn has(&self, feature: u64) -> bool {
        self.features & feature != 0
    }

    /// Makes a change to some rings while no worker uses them.
    pub fn change<R>(&mut self, which: std::ops::Range<usize>, change: impl FnOnce(&mut Self) -> R) -> R {
        which.clone().for_each(|index| self.close(index));
        let result = change(self);
        which.for_each(|index| self.open(index));
        result
    }

    /// Makes a change to what all rings use.
    pub fn change_all<R>(&mut self, change: impl FnOnce(&mut Self) -> R) -> R {
        self.change(0..self.rings.len(), change)
    }

    fn close(&mut self, index: usize) {
        let ring = &mut self.rings[index];
        let closed = self.shared.gates[index].close();
        ring.stuck = closed.is_err();
        match closed {
            Ok(Some(next)) => (ring.base, ring.fresh) = (next, false),
            Ok(None) => {}
            Err(_) => tracing::warn!(
                ring = index,
                "a worker does not come out of a burst; the ring stays stopped"
            ),
        }
    }

    /// Gives a ring to its worker, if all is there that it needs.
    fn open(&mut self, index: usize) {
        let (ring, gate) = (&self.rings[index], &self.shared.gates[index]);
        let enabled = ring.enabled || !self.has(virtio::PROTOCOL_FEATURES);
        let ready = ring.started && enabled && ring.size > 0 && !ring.stuck && !gate.is_faulty();
        let Some(places) = ring.places.filter(|_| ready && self.memory.regions() > 0) else {
            return;
        };
        let header = header_len(self.features);
        let setup = Arc::new(Setup {
            memory: self.memory.clone(),
            places,
            size: ring.size,
            base: ring.base,
            fresh: ring.fresh,
            packed: self.has(virtio::RING_PACKED),
            event_idx: self.has(virtio::EVENT_IDX),
            mergeable: self.has(virtio::MRG_RXBUF),
            in_order: self.has(virtio::IN_ORDER),
            offloads: offloads(self.features),
            rules: Rules {
                // Even numbers are what the peer receives.
                write: index.is_multiple_of(2),
                least: header,
                indirect: self.has(virtio::INDIRECT_DESC),
                most: ring.size.into(),
            },
            call: ring.call.clone(),
            error: ring.error.clone(),
            kicks: ring.kick.is_some(),
            log: self.log.clone().filter(|_| self.has(virtio::LOG_ALL)),
            log_ring: ring.log,
        });
        if Ring::new(&setup).is_some() {
            gate.open(setup);
        } else {
            tracing::warn!(
                ring = index,
                ?places,
                size = ring.size,
                "the peer's memory has no such ring"
            );
            self.shared.counts.fault(Fault::Address);
        }
    }

    /// Stops rings until they are kicked off anew.
    pub fn stop(&mut self, which: std::ops::Range<usize>) {
        for index in which {
            self.close(index);
            self.rings[index].started = false;
            self.set_kick(index, None);
            self.shared.gates[index].forgive();
        }
    }

    /// The eventfd of a ring's kicks. The gate is closed.
    pub fn set_kick(&mut self, index: usize, kick: Option<EventFd>) {
        let (ring, gate) = (&mut self.rings[index], &self.shared.gates[index]);
        if let Some(old) = ring.kick.take() {
            gate.ignore(old.as_fd());
        }
        // One that cannot be waited for is one that never comes.
        ring.kick = kick.filter(|kick| {
            let heeded = gate.heed(kick.as_fd());
            heeded.is_ok()
        });
    }

    /// A guest with this address has moved here and cannot say so itself: one frame of its first transmit ring does. Whether there
    /// can be such a guest.
    pub fn announce(&self, mac: MacAddress) -> bool {
        let good = mac.is_station();
        if let Some(gate) = self.shared.gates.get(1).filter(|_| good) {
            gate.announcement.leave(mac);
            gate.wake();
        }
        good
    }

    /// Everything as before the peer came.
    pub fn reset(&mut self) {
        self.stop(0..self.rings.len());
        (self.features, self.protocol, self.status) = (0, 0, 0);
        (self.memory, self.log) = (Arc::default(), None);
        self.rings.iter_mut().for_each(|ring| {
            let stuck = ring.stuck;
            *ring = Vring {
                stuck,
                ..Vring::default()
            };
        });
    }
}
