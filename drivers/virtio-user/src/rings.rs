//! Rings for one back end: made anew for each that comes, of one piece of memory.

use crate::error::Refusal;
use crate::features::traits;
use crate::wake::{Call, Wake};
use barline::mem::{Access, DmaDomain, Mapping, Memory, Numa};
use barline::pool::{Batch, Custody, PoolCache, PoolMap};
use barline::port::{Interrupt, PortConfig, PortError, RxQueue, TxQueue};
use barline::ring::FrameLimit;
use barline::ring::completion::{Health, Notify, RxRing, TxRing};
use barline::telemetry::{RxCounters, TxCounters};
use barline::wait::{Armed, Cpu, EventFd};
use barline_virtio::{Areas, Features, Packed, Shape, Split, Traits, ring_bytes};
use crossbeam::utils::CachePadded;
use std::io;
use std::sync::Arc;

/// A ring's kick: a write to its eventfd, when the back end asks for it.
#[derive(Debug)]
pub(crate) struct Kick(EventFd);

impl Notify for Kick {
    #[inline(always)]
    fn notify(&mut self, _tail: u32) {
        // It fails for a descriptor that is none.
        let _ = self.0.raise();
    }
}

/// A receive ring of either shape.
#[derive(Debug)]
pub(crate) enum RxEnd {
    Split(RxRing<Split<true>, Kick>),
    Packed(RxRing<Packed<true>, Kick>),
}

/// A transmit ring of either shape.
#[derive(Debug)]
pub(crate) enum TxEnd {
    Split(TxRing<Split<false>, Kick>),
    Packed(TxRing<Packed<false>, Kick>),
}

macro_rules! either {
    ($self:expr, $ring:ident => $do:expr) => {
        match $self {
            Self::Split($ring) => $do,
            Self::Packed($ring) => $do,
        }
    };
}

impl RxEnd {
    #[inline(always)]
    pub fn receive(&mut self, cache: &mut PoolCache, out: &mut Batch) -> usize {
        either!(self, ring => ring.receive(cache, out))
    }

    pub fn fill(&mut self, cache: &mut PoolCache) {
        either!(self, ring => ring.fill(cache));
    }

    #[inline(always)]
    pub fn positions(&self) -> u32 {
        either!(self, ring => ring.positions())
    }

    pub fn arm(&mut self) -> Armed {
        either!(self, ring => ring.arm())
    }

    pub fn disarm(&mut self) {
        either!(self, ring => ring.disarm());
    }

    pub fn pause(&self, cpu: Cpu) {
        either!(self, ring => ring.pause(cpu));
    }

    pub fn has_ended(&self) -> bool {
        either!(self, ring => ring.has_ended())
    }

    pub fn describe(&self) -> Option<String> {
        either!(self, ring => ring.describe())
    }
}

impl TxEnd {
    #[inline(always)]
    pub fn transmit(&mut self, cache: &mut PoolCache, packets: &mut Batch) -> usize {
        either!(self, ring => ring.transmit(cache, packets))
    }

    #[inline(always)]
    pub fn reclaim(&mut self, cache: &mut PoolCache) -> usize {
        either!(self, ring => ring.reclaim(cache))
    }

    pub fn in_flight(&self) -> usize {
        either!(self, ring => ring.in_flight())
    }

    pub fn describe(&self, back: u32) -> Option<String> {
        either!(self, ring => ring.describe(back))
    }
}

/// A ring as a back end is told of it.
#[derive(Debug)]
pub(crate) struct Vring {
    pub index: usize,
    pub len: u32,
    pub areas: Areas,
    pub kick: EventFd,
    pub call: EventFd,
}

/// What outlives back ends: a port's from start to stop.
#[derive(Debug)]
pub(crate) struct Ground {
    pub config: PortConfig,
    pub domain: Arc<dyn DmaDomain>,
    pub pool: PoolMap,
    pub others: Vec<PoolMap>,
    pub limit: FrameLimit,
    pub rx_counters: Vec<Arc<CachePadded<RxCounters>>>,
    pub tx_counters: Vec<Arc<CachePadded<TxCounters>>>,
    /// Of the receive queues; none without interrupts.
    pub wakes: Vec<Arc<Wake>>,
}

/// All rings for one back end.
#[derive(Debug)]
pub(crate) struct Rings {
    pub rx: Vec<RxEnd>,
    pub tx: Vec<TxEnd>,
    pub vrings: Vec<Vring>,
    pub custody: Arc<Custody>,
    pub health: Health,
    /// The memory that they stand in.
    pub memory: Arc<Mapping>,
}

const LAYOUT: Refusal = Refusal::Rings(PortError::State("given rings that do not fit its memory"));

/// While rings are being made.
struct Maker<'a> {
    ground: &'a Ground,
    memory: Arc<Mapping>,
    at: usize,
    traits: Traits,
    rings: Rings,
}

impl Rings {
    /// Makes them for the features that were agreed upon.
    ///
    /// # Errors
    /// No memory, no descriptors.
    pub fn new(ground: &Ground, features: Features) -> Result<Self, Refusal> {
        let packed = features.contains(Features::RING_PACKED);
        let config = &ground.config;
        let memory = Memory::new(ring_bytes(config, packed), config.ring_memory, Numa::Any);
        let memory = memory.map_err(PortError::from)?;
        let mapping = Mapping::new(&memory, &ground.domain, Access::ReadWrite).map_err(PortError::from)?;
        let mut maker = Maker {
            ground,
            at: 0,
            traits: traits(features),
            rings: Self {
                rx: Vec::new(),
                tx: Vec::new(),
                vrings: Vec::new(),
                custody: Custody::new(),
                health: Health::default(),
                memory: mapping.clone(),
            },
            memory: mapping,
        };
        for pair in 0..usize::from(config.rx_queues) {
            let rx = match packed {
                true => RxEnd::Packed(maker.rx(pair)?),
                false => RxEnd::Split(maker.rx(pair)?),
            };
            let tx = match packed {
                true => TxEnd::Packed(maker.tx(pair)?),
                false => TxEnd::Split(maker.tx(pair)?),
            };
            maker.rings.rx.push(rx);
            maker.rings.tx.push(tx);
        }
        Ok(maker.rings)
    }
}

impl Maker<'_> {
    fn ring<F: Shape>(&mut self, index: usize, len: u32) -> Result<(F, Kick), Refusal> {
        let format = F::make(&self.memory, self.at, len, self.traits).ok_or(LAYOUT)?;
        self.at += F::bytes(len);
        let (kick, call, areas) = (EventFd::new()?, EventFd::new()?, format.areas());
        let ours = Kick(kick.duplicate()?.into());
        self.rings.vrings.push(Vring {
            index,
            len,
            areas,
            kick,
            call,
        });
        Ok((format, ours))
    }

    fn rx<F: Shape>(&mut self, pair: usize) -> Result<RxRing<F, Kick>, Refusal> {
        let ground = self.ground;
        let (format, kick) = self.ring::<F>(2 * pair, ground.config.rx_ring)?;
        let Rings { custody, health, .. } = &self.rings;
        let ring = RxRing::new(format, kick, &ground.pool, custody, &ground.limit, health).ok_or(LAYOUT)?;
        let call = ground
            .wakes
            .get(pair)
            .map(|wake| Box::new(Call(wake.clone())) as Box<dyn Interrupt>);
        Ok(ring.with_interrupt(call).with_counters(&ground.rx_counters[pair]))
    }

    fn tx<F: Shape>(&mut self, pair: usize) -> Result<TxRing<F, Kick>, Refusal> {
        let ground = self.ground;
        let (format, kick) = self.ring::<F>(2 * pair + 1, ground.config.tx_ring)?;
        let Rings { custody, health, .. } = &self.rings;
        let Ground {
            pool, others, limit, ..
        } = ground;
        let ring = TxRing::new(format, kick, pool, others, custody, limit, health).ok_or(LAYOUT)?;
        Ok(ring.with_counters(&ground.tx_counters[pair]))
    }
}

/// Calls of the receive queues wake their cores while this lives.
pub(crate) struct Heeded<'a>(Vec<(&'a Wake, &'a EventFd)>);

impl<'a> Heeded<'a> {
    /// # Errors
    /// Out of memory, or of watches.
    pub fn new(wakes: &'a [Arc<Wake>], vrings: &'a [Vring]) -> io::Result<Self> {
        let mut heeded = Self(Vec::new());
        let receive = vrings.iter().filter(|vring| vring.index % 2 == 0);
        for (wake, vring) in wakes.iter().zip(receive) {
            wake.heed(&vring.call)?;
            heeded.0.push((wake, &vring.call));
        }
        Ok(heeded)
    }
}

impl Drop for Heeded<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|(wake, call)| wake.ignore(call));
    }
}
