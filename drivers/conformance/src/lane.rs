mod traffic;

use crate::far::Open;
use crate::{FarEnd, Patience, Station, Subject, clean};
use barline::mem::{PageSize, Source};
use barline::pool::{Pool, PoolCache};
use barline::port::{MacAddress, Port, PortConfig, PortError, Queues, RxQueue, TxQueue};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub(crate) use traffic::same;

/// Plain pages: the suite runs anywhere, beside anything.
const PAGES: Source = Source::MemFd(PageSize::Base4K);

/// A pool on plain pages with the default buffers.
///
/// # Panics
/// Without memory.
pub fn pool(packets: usize) -> Pool {
    let pool = Pool::builder().packets(packets).source(PAGES).build();
    pool.expect("memory for a pool")
}

/// A started port with its pool, a cache, its queues and its far end.
pub struct Lane {
    port: Option<Box<dyn Port>>,
    open: Open,
    /// The other side.
    pub far: Arc<dyn FarEnd>,
    /// What it was started with.
    pub config: PortConfig,
    /// The pool it receives into.
    pub pool: Pool,
    /// A cache of that pool.
    pub cache: PoolCache,
    /// Receive queues.
    pub rx: Vec<Box<dyn RxQueue>>,
    /// Transmit queues.
    pub tx: Vec<Box<dyn TxQueue>>,
    /// Its address at the start.
    pub mac: MacAddress,
}

impl Lane {
    /// A port with one queue each way and a pool of 4,096 packets.
    pub fn up(subject: &dyn Subject) -> Self {
        Self::with(subject, |_| {})
    }

    /// The same, with another configuration.
    pub fn with(subject: &dyn Subject, change: impl FnOnce(&mut PortConfig)) -> Self {
        Self::over(subject, &pool(4096), change)
    }

    /// The same, over a pool of the caller's.
    ///
    /// # Panics
    /// When the port does not open or start.
    pub fn over(subject: &dyn Subject, pool: &Pool, change: impl FnOnce(&mut PortConfig)) -> Self {
        let Some(station) = subject.bench(1).pop() else {
            panic!("a bench without a port");
        };
        Self::at(station, pool, change)
    }

    /// The same, at a station.
    ///
    /// # Panics
    /// As [`Lane::over`].
    pub fn at(station: Station, pool: &Pool, change: impl FnOnce(&mut PortConfig)) -> Self {
        let Station { open, far } = station;
        let mut config = Self::config(pool);
        change(&mut config);
        let port = open().expect("the port opens");
        let mac = port.mac();
        let mut lane = Self {
            port: Some(port),
            open,
            far,
            config,
            pool: pool.clone(),
            cache: pool.cache(),
            rx: Vec::new(),
            tx: Vec::new(),
            mac,
        };
        lane.start().expect("the port starts");
        lane
    }

    /// The port.
    ///
    /// # Panics
    /// When it was dropped.
    pub fn port(&mut self) -> &mut dyn Port {
        &mut **self.port.as_mut().expect("the port was not dropped")
    }

    /// Starts the port with the lane's configuration.
    ///
    /// # Errors
    /// What the port says.
    ///
    /// # Panics
    /// When it was dropped, or makes another number of queues.
    pub fn start(&mut self) -> Result<(), PortError> {
        let port = self.port.as_mut().expect("the port was not dropped");
        let Queues { rx, tx } = port.start(&self.config)?;
        let asked = (self.config.rx_queues.into(), self.config.tx_queues.into());
        assert_eq!((rx.len(), tx.len()), asked);
        (self.rx, self.tx) = (rx, tx);
        let patience = Patience::new();
        while !self.far.is_ready() {
            patience.wait("the far end");
        }
        Ok(())
    }

    /// Stops the port with the queues it has.
    ///
    /// # Errors
    /// What the port says.
    pub fn stop(&mut self) -> Result<(), PortError> {
        let queues = self.queues();
        self.port().stop(queues)
    }

    /// Drops the port; its queues stay.
    pub fn drop_port(&mut self) {
        self.port = None;
    }

    /// Opens the port, which was dropped.
    ///
    /// # Errors
    /// What the driver says.
    pub fn reopen(&mut self) -> Result<(), PortError> {
        self.port = Some((self.open)()?);
        Ok(())
    }

    /// The configuration that a lane starts from.
    pub fn config(pool: &Pool) -> PortConfig {
        let mut config = PortConfig::new(pool);
        config.ring_memory = PAGES;
        config
    }

    /// The device's own counters.
    pub fn device_counters(&mut self) -> BTreeMap<&'static str, u64> {
        let mut counters = BTreeMap::new();
        self.port().counters(&mut |name, value| {
            counters.insert(name, value);
        });
        counters
    }

    /// A counter of all receive queues.
    pub fn rx_sum(&self, name: &str) -> u64 {
        let mut sum = 0;
        for queue in &self.rx {
            queue
                .counters()
                .each(|known, value| sum += if known == name { value } else { 0 });
        }
        sum
    }

    /// A counter of all transmit queues.
    pub fn tx_sum(&self, name: &str) -> u64 {
        let mut sum = 0;
        for queue in &self.tx {
            queue
                .counters()
                .each(|known, value| sum += if known == name { value } else { 0 });
        }
        sum
    }

    /// The queues, to stop the port with.
    pub fn queues(&mut self) -> Queues {
        Queues {
            rx: std::mem::take(&mut self.rx),
            tx: std::mem::take(&mut self.tx),
        }
    }

    /// Stops the port, lets go of everything, and looks whether all is as it was.
    ///
    /// # Panics
    /// When it is not.
    pub fn end(mut self) {
        self.stop().expect("the port stops");
        self.gone();
    }

    /// [`Lane::end`] for a port that was stopped, or need not be.
    ///
    /// # Panics
    /// When something is left.
    pub fn gone(self) {
        let Self {
            port,
            far,
            pool,
            cache,
            rx,
            tx,
            config,
            ..
        } = self;
        drop((rx, tx, port, cache));
        for pool in config.send_pools.iter().chain([&pool]) {
            assert_eq!(pool.available(), pool.packets(), "packets are missing");
        }
        drop((config, pool));
        if let Err(complaints) = clean(&*far) {
            panic!("{complaints}");
        }
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lane({:?}, {:?})", self.port, self.far)
    }
}
