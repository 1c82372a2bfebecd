//! Start: memory, rings, queues, in the order of 3.1.1.

mod queues;

use crate::control::{self, Control};
use crate::regs::{Features, common};
use crate::rings::Empty;
use crate::split::{Split, Traits};
use crate::{Packed, Virtio, init, irq};
use barline::mem::{Access, Mapping, Memory, Numa};
use barline::pool::{Custody, PoolMap};
use barline::port::{LinkRequest, PortConfig, PortError, Progress, Queues};
use barline::ring::FrameLimit;
use barline::ring::completion::Health;
use barline::wait::EventFd;
use std::sync::Arc;
use std::time::Duration;

/// What a started device can reach. Kept until it is quiet.
#[derive(Debug)]
pub(crate) struct Running {
    pub custody: Arc<Custody>,
    pub health: Health,
    pub progress: Progress,
    pub limit: FrameLimit,
    /// Bytes of a buffer behind the headroom.
    pub room: usize,
    /// Raised when the configuration changes.
    pub config: Option<EventFd>,
    pub vectors: u16,
    /// Pairs of queues in use.
    pub pairs: u16,
    pub control: Option<Control>,
    _rings: Arc<Mapping>,
    _pools: Vec<PoolMap>,
}

/// What all queues of one start share.
struct Common<'a> {
    config: &'a PortConfig,
    rings: Arc<Mapping>,
    pool: PoolMap,
    others: Vec<PoolMap>,
    custody: Arc<Custody>,
    limit: FrameLimit,
    health: Health,
    traits: Traits,
    /// Where the next ring goes.
    at: usize,
}

const LAYOUT: PortError = PortError::State("given rings that do not fit its memory");

impl Virtio {
    /// As [`barline::port::Port::start`].
    pub(crate) fn start_queues(&mut self, config: &PortConfig) -> Result<Queues, PortError> {
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
        self.check(config)?;
        let started = self.bring_up(config);
        if started.is_err() {
            // The first error is the one to tell.
            let _ = self.shut_down();
        }
        started
    }

    fn check(&self, config: &PortConfig) -> Result<(), PortError> {
        let (rx, tx) = (config.rx_queues, config.tx_queues);
        if config.pool.headroom() < crate::regs::NET_HDR {
            return Err(PortError::Config(format!(
                "virtio puts {} bytes in front of each frame, the pool's headroom has {}",
                crate::regs::NET_HDR,
                config.pool.headroom()
            )));
        }
        config.check_long_buffers()?;
        // Without a table the device chooses among all pairs in use.
        if rx < tx && !self.features.contains(Features::RSS) {
            return Err(PortError::Config(format!(
                "{tx} transmit queues need {tx} receive queues on this device, {rx} were asked for"
            )));
        }
        Ok(())
    }

    fn bring_up(&mut self, config: &PortConfig) -> Result<Queues, PortError> {
        init::reset(&self.at)?;
        self.features = init::negotiate(&self.at, &self.options, init::Asked::by(config))?;
        let mut common = self.prepare(config)?;
        self.function.set_bus_master(true)?;
        let mut vectors = self.set_up_vectors(config);
        let mut queues = Queues::default();
        let mut empty: Vec<Box<dyn Empty>> = Vec::new();
        vectors.reverse(); // the last is the first queue's
        for q in 0..config.tx_queues {
            queues.tx.push(self.tx_queue(q, &mut common)?);
        }
        for q in 0..config.rx_queues {
            empty.push(self.rx_queue(q, vectors.pop(), &mut common)?);
        }
        self.set_up_control(&mut common)?;
        init::go(&self.at);
        self.begin_statistics();
        self.configure(config)?;
        let mut cache = config.pool.cache();
        for mut queue in empty {
            queue.fill(&mut cache);
            queues.rx.push(queue);
        }
        if let Some(running) = &mut self.running {
            for queue in &queues.tx {
                running.progress.transmit(&queue.shared_counters());
            }
            for queue in &queues.rx {
                running.progress.receive(&queue.shared_counters());
            }
        }
        self.await_link(config.link);
        Ok(queues)
    }

    /// Memory for all rings, and the pools, each mapped once.
    fn prepare<'a>(&mut self, config: &'a PortConfig) -> Result<Common<'a>, PortError> {
        let packed = self.features.contains(Features::RING_PACKED);
        let numa = self.function.numa_node().map_or(Numa::Any, Numa::Node);
        let domain = self.function.dma();
        let memory = Memory::new(ring_bytes(config, packed), config.ring_memory, numa)?;
        let rings = Mapping::new(&memory, domain, Access::ReadWrite)?;
        let pool = config.pool.map(domain)?;
        let others: Vec<PoolMap> = config
            .send_pools
            .iter()
            .map(|pool| pool.map(domain))
            .collect::<Result<_, _>>()?;
        let (custody, health) = (Custody::new(), Health::default());
        let limit = FrameLimit::new(config.max_frame());
        self.last = Arc::downgrade(&custody);
        self.running = Some(Running {
            custody: custody.clone(),
            health: health.clone(),
            progress: Progress::default(),
            limit: limit.clone(),
            room: config.pool.data_room(),
            config: None,
            vectors: 0,
            pairs: config.rx_queues.max(config.tx_queues),
            control: None,
            _rings: rings.clone(),
            _pools: others.iter().chain([&pool]).cloned().collect(),
        });
        let traits = Traits {
            event_idx: self.features.contains(Features::EVENT_IDX),
            in_order: self.features.contains(Features::IN_ORDER),
            merges: self.features.contains(Features::MRG_RXBUF),
            offloads: self.features.offloads(),
        };
        Ok(Common {
            config,
            rings,
            pool,
            others,
            custody,
            limit,
            health,
            traits,
            at: 0,
        })
    }

    /// Vectors for configuration changes and for the first receive queues; those of the queues.
    fn set_up_vectors(&mut self, config: &PortConfig) -> Vec<irq::Vector> {
        let queues = if config.interrupts { config.rx_queues } else { 0 };
        let vectors = irq::set_up(&**self.function, queues);
        let some = vectors.config.is_some();
        let vector = if some { 0 } else { common::NO_VECTOR };
        self.at.common.write(common::CONFIG_MSIX_VECTOR, vector);
        if let Some(running) = &mut self.running {
            running.vectors = u16::from(some) + vectors.queues.len() as u16;
            running.config = vectors.config;
        }
        vectors.queues
    }

    /// The control queue stands behind all pairs that the device has (5.1.2).
    fn set_up_control(&mut self, common: &mut Common<'_>) -> Result<(), PortError> {
        if !self.features.contains(Features::CTRL_VQ) {
            return Ok(());
        }
        let several = self.features.intersects(Features::MQ | Features::RSS);
        let index = if several {
            self.device.pairs.saturating_mul(2)
        } else {
            2
        };
        let packed = self.features.contains(Features::RING_PACKED);
        let queue = Control::new(
            &common.rings,
            common.at,
            self.features,
            index,
            self.at.common.bar(),
        );
        let mut queue = queue.ok_or(LAYOUT)?;
        common.at += control::bytes(packed);
        let setup = init::Setup {
            index,
            len: control::LEN,
            areas: queue.areas(),
            vector: common::NO_VECTOR,
        };
        queue.connect(init::enable(&self.at, &setup)?.0);
        if let Some(running) = &mut self.running {
            running.control = Some(queue);
        }
        Ok(())
    }

    fn await_link(&self, request: LinkRequest) {
        let LinkRequest::WaitMillis(limit) = request else {
            return;
        };
        let bar = self.at.common.bar();
        let end = bar.now() + Duration::from_millis(limit.into());
        while !self.link_now().up && bar.now() < end {
            bar.pause(Duration::from_millis(5));
        }
    }
}

/// Bytes of ring memory that a configuration takes, before rounding up to a page.
pub fn ring_bytes(config: &PortConfig, packed: bool) -> usize {
    let one = |len: u32| {
        if packed {
            Packed::<true>::bytes(len)
        } else {
            Split::<true>::bytes(len)
        }
    };
    let tx = usize::from(config.tx_queues) * one(config.tx_ring);
    let rx = usize::from(config.rx_queues) * one(config.rx_ring);
    tx + rx + control::bytes(packed)
}
