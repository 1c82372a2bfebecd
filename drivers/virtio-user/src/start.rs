//! A start: what outlives back ends, the queues, and the control thread.

use crate::VirtioUser;
use crate::control::Control;
use crate::place::Place;
use crate::port::no_descriptors;
use crate::queue::{UserRx, UserTx};
use crate::rings::Ground;
use crate::sys::REGIONS;
use crate::wake::Wake;
use barline::mem::DmaDomain;
use barline::pool::PoolMap;
use barline::port::{PortConfig, PortError, Queues};
use barline::ring::FrameLimit;
use barline::telemetry::{RxCounters, TxCounters};
use barline::wait::EventFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// Bytes in front of each frame (virtio 5.1.6).
const NET_HDR: usize = 12;

/// What was started.
#[derive(Debug)]
pub(crate) struct Running {
    pub stop: Arc<EventFd>,
    /// Says whether all back ends are known to touch nothing any more.
    pub thread: JoinHandle<bool>,
    pub limit: FrameLimit,
    /// Bytes of a buffer behind the headroom.
    pub room: usize,
}

/// What such a port needs of a configuration, besides what any port does.
///
/// # Errors
/// [`PortError::Config`].
pub(crate) fn check(config: &PortConfig) -> Result<(), PortError> {
    let wrong = |text: String| Err(PortError::Config(text));
    if config.rx_queues != config.tx_queues {
        return wrong("a virtio-user port needs as many receive as transmit queues".to_owned());
    }
    let headroom = config.pool.headroom();
    if headroom < NET_HDR {
        return wrong(format!(
            "virtio puts {NET_HDR} bytes in front of each frame, the pool's headroom has {headroom}"
        ));
    }
    if 1 + config.send_pools.len() >= REGIONS {
        return wrong(format!(
            "a back end takes {REGIONS} pieces of memory, one of them for the rings; use {} pools at most",
            REGIONS - 1
        ));
    }
    Ok(())
}

impl VirtioUser {
    /// What outlives back ends.
    fn prepare(&self, config: &PortConfig) -> Result<Ground, PortError> {
        let domain: Arc<dyn DmaDomain> = self.domain.clone();
        let pool = config.pool.map(&domain)?;
        let others: Vec<PoolMap> = config
            .send_pools
            .iter()
            .map(|pool| pool.map(&domain))
            .collect::<Result<_, _>>()?;
        let wakes = if config.interrupts { config.rx_queues } else { 0 };
        let wakes = (0..wakes)
            .map(|_| Wake::new())
            .collect::<Result<_, _>>()
            .map_err(no_descriptors)?;
        Ok(Ground {
            config: config.clone(),
            domain,
            pool,
            others,
            limit: FrameLimit::new(config.max_frame()),
            rx_counters: (0..config.rx_queues).map(|_| RxCounters::shared()).collect(),
            tx_counters: (0..config.tx_queues).map(|_| TxCounters::shared()).collect(),
            wakes,
        })
    }

    /// Makes the queues and starts the control thread; alive as long as the queues is what comes last.
    ///
    /// # Errors
    /// No memory, no descriptors, no thread.
    pub(crate) fn run(&mut self, config: &PortConfig) -> Result<(Running, Queues, Arc<()>), PortError> {
        let ground = self.prepare(config)?;
        let life = Arc::new(());
        let stop = Arc::new(EventFd::new().map_err(no_descriptors)?);
        let control = Control {
            path: self.path.clone(),
            settings: self.settings,
            listener: self.listener.clone(),
            domain: self.domain.clone(),
            rx: (0..config.rx_queues).map(|_| Arc::new(Place::new())).collect(),
            tx: (0..config.tx_queues).map(|_| Arc::new(Place::new())).collect(),
            ground,
            shared: self.shared.clone(),
            stop: stop.clone(),
        };
        let queues = self.queues(&control, &life);
        let (limit, first) = (control.ground.limit.clone(), self.first.take());
        let thread = thread::Builder::new().name("virtio-user".to_owned());
        let thread = thread.spawn(move || control.run(first));
        let thread =
            thread.map_err(|error| PortError::Config(format!("no thread can be started: {error}")))?;
        let running = Running {
            stop,
            thread,
            limit,
            room: config.pool.data_room(),
        };
        Ok((running, queues, life))
    }

    fn queues(&self, control: &Control, life: &Arc<()>) -> Queues {
        let (mut queues, ground) = (Queues::default(), &control.ground);
        for (pair, place) in control.rx.iter().enumerate() {
            let wake = ground.wakes.get(pair).cloned();
            let rx = UserRx::new(place, &ground.rx_counters[pair], wake, life);
            queues.rx.push(Box::new(rx));
        }
        for (pair, place) in control.tx.iter().enumerate() {
            let tx = UserTx::new(place, &ground.tx_counters[pair], &self.shared, life);
            queues.tx.push(Box::new(tx));
        }
        queues
    }
}
