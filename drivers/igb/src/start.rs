//! Start: memory, rings, queues, in the order of data sheet 4.5.

use crate::desc::{Rx, Tx};
use crate::port::Filter;
use crate::regs::{RDT, TDT};
use crate::{Igb, init, irq};
use barline::mem::{Access, Desc16, DmaSlice, Mapping, Memory, Numa};
use barline::pool::{Custody, PoolMap};
use barline::port::{Interrupt, LinkRequest, PortConfig, PortError, Progress, Queues, RxQueue, TxQueue};
use barline::ring::{FrameLimit, RxRing, TxRing};
use std::sync::Arc;
use std::time::Duration;

/// What a started device can reach. Kept until it is quiet.
#[derive(Debug)]
pub(crate) struct Running {
    pub custody: Arc<Custody>,
    pub queues: usize,
    pub room: usize,
    pub limit: FrameLimit,
    pub vectors: usize,
    pub progress: Progress,
    /// Receive descriptors, to look at where the device says that it has none left.
    pub rx_rings: Vec<DmaSlice<Desc16>>,
    _rings: Arc<Mapping>,
    _pools: Vec<PoolMap>,
}

/// The queues of a started 82576 by their own types, for who wants calls without dispatch.
#[derive(Debug, Default)]
pub struct IgbQueues {
    /// Receive.
    pub rx: Vec<RxRing<Rx>>,
    /// Transmit.
    pub tx: Vec<TxRing<Tx>>,
}

impl From<IgbQueues> for Queues {
    fn from(queues: IgbQueues) -> Self {
        Self {
            rx: queues
                .rx
                .into_iter()
                .map(|queue| Box::new(queue) as Box<dyn RxQueue>)
                .collect(),
            tx: queues
                .tx
                .into_iter()
                .map(|queue| Box::new(queue) as Box<dyn TxQueue>)
                .collect(),
        }
    }
}

impl Igb {
    /// [`Port::start`](barline::port::Port::start), with the concrete types.
    ///
    /// # Errors
    /// As [`Port::start`](barline::port::Port::start).
    pub fn start_concrete(&mut self, config: &PortConfig) -> Result<IgbQueues, PortError> {
        if self.running.is_some() {
            return Err(PortError::State("started already; stop it first"));
        }
        // Its queues hold the custody. They ring the same doorbells as the next start's.
        if self.last.strong_count() > 0 {
            return Err(PortError::State(
                "stopped, but queues of its last start are still around; drop them first",
            ));
        }
        config.check(&self.caps)?;
        let (room, need) = (init::usable(config.pool.data_room()), config.max_frame() as usize);
        if room < need {
            return Err(PortError::Config(format!(
                "MTU {} needs buffers of {need} bytes; the 82576 uses whole KiB, {room} bytes of the pool's; \
                 make the pool with data_room({})",
                config.mtu,
                need.next_multiple_of(1024)
            )));
        }
        let started = self.bring_up(config);
        if started.is_err() {
            // The first error is the one to tell.
            let _ = self.shut_down();
        }
        started
    }

    fn bring_up(&mut self, config: &PortConfig) -> Result<IgbQueues, PortError> {
        init::reset(&self.bar)?;
        let rings = self.map_rings(config)?;
        let domain = self.function.dma();
        let pool = config.pool.map(domain)?;
        let others = config
            .send_pools
            .iter()
            .map(|pool| pool.map(domain))
            .collect::<Result<Vec<_>, _>>()?;
        let custody = Custody::new();
        self.last = Arc::downgrade(&custody);
        let mut pools = others.clone();
        pools.push(pool.clone());
        self.running = Some(Running {
            custody: custody.clone(),
            queues: config.rx_queues.max(config.tx_queues) as usize,
            room: init::usable(config.pool.data_room()),
            limit: FrameLimit::new(config.max_frame()),
            vectors: 0,
            progress: Progress::default(),
            rx_rings: Vec::new(),
            _rings: rings.clone(),
            _pools: pools,
        });
        self.function.set_bus_master(true)?;
        init::general(&self.bar, self.mac);
        init::negotiate(&self.bar, self.function.address().function)?;
        self.counters.clear(&self.bar);
        init::spread(&self.bar, config.rx_queues);
        let mut queues = IgbQueues::default();
        for q in 0..config.tx_queues as usize {
            queues
                .tx
                .push(self.tx_queue(config, q, &rings, &pool, &others, &custody)?);
        }
        let mut vectors = self.vectors(config).into_iter();
        for q in 0..config.rx_queues as usize {
            let vector = vectors
                .next()
                .map(|vector| Box::new(vector) as Box<dyn Interrupt>);
            let queue = self.rx_queue(config, q, &rings, &pool, &custody)?;
            queues.rx.push(queue.with_interrupt(vector));
        }
        self.filter = Filter {
            promiscuous: config.promiscuous,
            all_multicast: false,
            vlans: config.vlans.clone(),
        };
        if let Some(vlans) = &self.filter.vlans {
            init::set_vlans(&self.bar, vlans);
        }
        init::enable(&self.bar, config, self.filter.bits());
        let mut cache = config.pool.cache();
        queues.rx.iter_mut().for_each(|queue| queue.fill(&mut cache));
        self.watch(config, &queues, &rings)?;
        self.await_link(config.link);
        Ok(queues)
    }

    /// What is looked at to see whether the queues get on.
    fn watch(
        &mut self,
        config: &PortConfig,
        queues: &IgbQueues,
        rings: &Arc<Mapping>,
    ) -> Result<(), PortError> {
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        for queue in &queues.tx {
            running.progress.transmit(queue.counters());
        }
        for (q, queue) in queues.rx.iter().enumerate() {
            running.progress.receive(queue.counters());
            let ring = DmaSlice::new(rings, rx_offset(config, q), config.rx_ring).ok_or(LAYOUT)?;
            running.rx_rings.push(ring);
        }
        Ok(())
    }

    /// One piece of memory for all rings, mapped once: transmit rings first, then receive rings.
    fn map_rings(&self, config: &PortConfig) -> Result<Arc<Mapping>, PortError> {
        let numa = self.function.numa_node().map_or(Numa::Any, Numa::Node);
        let memory = Memory::new(ring_bytes(config), config.ring_memory, numa)?;
        Ok(Mapping::new(&memory, self.function.dma(), Access::ReadWrite)?)
    }

    fn tx_queue(
        &self,
        config: &PortConfig,
        q: usize,
        rings: &Arc<Mapping>,
        pool: &PoolMap,
        others: &[PoolMap],
        custody: &Arc<Custody>,
    ) -> Result<TxRing<Tx>, PortError> {
        let offset = q * config.tx_ring as usize * DESC;
        let ring = DmaSlice::new(rings, offset, config.tx_ring).ok_or(LAYOUT)?;
        init::TX.enable(&self.bar, q, ring.iova().raw(), ring.size_bytes())?;
        let doorbell = self.bar.doorbell(TDT.at(q))?;
        TxRing::new(ring, doorbell, pool, others, custody, &self.running()?.limit).ok_or(LAYOUT)
    }

    fn rx_queue(
        &self,
        config: &PortConfig,
        q: usize,
        rings: &Arc<Mapping>,
        pool: &PoolMap,
        custody: &Arc<Custody>,
    ) -> Result<RxRing<Rx>, PortError> {
        let ring = DmaSlice::new(rings, rx_offset(config, q), config.rx_ring).ok_or(LAYOUT)?;
        init::buffers(&self.bar, q, config.pool.data_room(), config.rx_queues);
        init::RX.enable(&self.bar, q, ring.iova().raw(), ring.size_bytes())?;
        let doorbell = self.bar.doorbell(RDT.at(q))?;
        RxRing::new(ring, doorbell, pool, custody).ok_or(LAYOUT)
    }

    /// Vectors for the first receive queues.
    fn vectors(&mut self, config: &PortConfig) -> Vec<irq::Vector> {
        let queues = if config.interrupts { config.rx_queues } else { 0 };
        let vectors = irq::set_up(self.function.as_ref(), &self.bar, queues);
        if let Some(running) = &mut self.running {
            running.vectors = vectors.len();
        }
        vectors
    }

    fn await_link(&self, request: LinkRequest) {
        let LinkRequest::WaitMillis(limit) = request else {
            return;
        };
        let end = self.bar.now() + Duration::from_millis(limit.into());
        while !init::link(&self.bar).up && self.bar.now() < end {
            self.bar.pause(Duration::from_millis(5));
        }
    }
}

const DESC: usize = 16;

/// Where the ring of receive queue `q` begins.
fn rx_offset(config: &PortConfig, q: usize) -> usize {
    let before = config.tx_queues as usize * config.tx_ring as usize + q * config.rx_ring as usize;
    before * DESC
}

const LAYOUT: PortError = PortError::State("given rings that do not fit its memory");

/// Bytes of descriptor memory that a configuration takes, before rounding up to a page.
pub fn ring_bytes(config: &PortConfig) -> usize {
    let tx = config.tx_queues as usize * config.tx_ring as usize;
    let rx = config.rx_queues as usize * config.rx_ring as usize;
    (tx + rx) * DESC
}
