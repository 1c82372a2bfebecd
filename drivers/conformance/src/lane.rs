use crate::far::Open;
use crate::{FarEnd, Station, Subject, clean, frame};
use barline::mem::{PageSize, Source};
use barline::pool::{Batch, Packet, Pool, PoolCache};
use barline::port::{MacAddress, Port, PortConfig, PortError, Queues, RxQueue, TxQueue};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Plain pages: the suite runs anywhere, beside anything.
const PAGES: Source = Source::MemFd(PageSize::Base4K);
/// How long a case waits without any progress. Only a case that fails waits that long.
const LIMIT: Duration = Duration::from_secs(30);

/// Waits for somebody else's progress, without end neither.
#[derive(Debug)]
pub struct Patience(Instant);

impl Patience {
    /// From now on.
    pub fn new() -> Self {
        Self(Instant::now())
    }

    /// There was progress.
    pub fn renew(&mut self) {
        self.0 = Instant::now();
    }

    /// Lets others run.
    ///
    /// # Panics
    /// After half a minute without progress.
    pub fn wait(&self, what: &str) {
        assert!(self.0.elapsed() < LIMIT, "waited {LIMIT:?} for {what}");
        std::thread::yield_now();
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self::new()
    }
}

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

    /// A frame to this port.
    pub fn frame(&self, len: usize, number: u64) -> Vec<u8> {
        frame(self.mac, len, number)
    }

    /// Sends a frame to the port.
    ///
    /// # Panics
    /// When the cable stays full.
    pub fn inject(&self, frame: &[u8]) {
        let patience = Patience::new();
        while !self.far.inject(frame) {
            patience.wait("room on the cable");
        }
    }

    /// One burst from every queue; the packets are the caller's.
    pub fn poll(&mut self) -> Vec<(usize, Packet)> {
        let mut packets = Vec::new();
        for (index, queue) in self.rx.iter_mut().enumerate() {
            let mut batch = Batch::new();
            let got = queue.receive(&mut self.cache, &mut batch);
            assert_eq!(got, batch.len());
            packets.extend(std::iter::from_fn(|| batch.pop()).map(|packet| (index, packet)));
        }
        packets
    }

    /// Receives `n` packets, of all queues.
    ///
    /// # Panics
    /// When they do not come.
    pub fn receive(&mut self, n: usize) -> Vec<Packet> {
        let mut packets = Vec::new();
        let mut patience = Patience::new();
        while packets.len() < n {
            let more = self.poll();
            if more.is_empty() {
                patience.wait(&format!("packet {} of {n}", packets.len() + 1));
            } else {
                patience.renew();
            }
            packets.extend(more.into_iter().map(|(_, packet)| packet));
        }
        packets
    }

    /// Injects frames, a few at a time, and receives all of them.
    ///
    /// # Panics
    /// When one is missing, out of order or changed.
    pub fn expect(&mut self, frames: &[Vec<u8>]) {
        let window = self.window() as usize;
        for lot in frames.chunks(window) {
            lot.iter().for_each(|frame| self.inject(frame));
            let packets = self.receive(lot.len());
            assert_eq!(packets.len(), lot.len());
            for (packet, frame) in packets.iter().zip(lot) {
                same(packet, frame);
            }
            packets.into_iter().for_each(|packet| self.cache.free_one(packet));
        }
    }

    /// Frames that may be on their way at once without any being lost for want of descriptors.
    pub fn window(&self) -> u64 {
        u64::from(self.config.rx_ring.min(self.config.tx_ring)) / 2
    }

    /// A packet with this content.
    ///
    /// # Panics
    /// When the pool is empty or the frame too long.
    pub fn packet(&mut self, frame: &[u8]) -> Packet {
        let mut packet = self.cache.alloc().expect("a packet");
        assert!(packet.set(frame), "{} bytes do not fit", frame.len());
        packet
    }

    /// A batch with these frames.
    ///
    /// # Panics
    /// When they do not fit.
    pub fn batch(&mut self, frames: &[Vec<u8>]) -> Batch {
        let mut batch = Batch::new();
        for frame in frames {
            let packet = self.packet(frame);
            batch.push(packet).expect("room");
        }
        batch
    }

    /// Transmits all of a batch.
    ///
    /// # Panics
    /// When the ring stays full.
    pub fn transmit(&mut self, queue: usize, batch: &mut Batch) -> usize {
        let mut patience = Patience::new();
        let mut sent = 0;
        while !batch.is_empty() {
            let took = self.tx[queue].transmit(&mut self.cache, batch);
            self.tx[queue].reclaim(&mut self.cache);
            sent += took;
            if took > 0 {
                patience.renew();
            } else {
                patience.wait("room in the transmit ring");
            }
        }
        sent
    }

    /// The next `n` frames that the port sent.
    ///
    /// # Panics
    /// When they do not come.
    pub fn take(&self, n: usize) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut patience = Patience::new();
        while frames.len() < n {
            match self.far.take() {
                Some(frame) => {
                    frames.push(frame);
                    patience.renew();
                }
                None => patience.wait(&format!("frame {} of {n} on the wire", frames.len() + 1)),
            }
        }
        frames
    }

    /// Injects `count` frames, receives each and sends it back, in bursts of `burst`; never more than `window` on
    /// their way.
    ///
    /// # Panics
    /// When one is missing, out of order or changed.
    pub fn echo(&mut self, count: u64, burst: usize, window: u64, make: impl Fn(u64) -> Vec<u8>) {
        let (mut injected, mut taken) = (0, 0);
        let mut batch = Batch::with_burst(burst);
        let mut patience = Patience::new();
        while taken < count {
            while injected < count && injected - taken < window {
                self.inject(&make(injected));
                injected += 1;
            }
            self.rx[0].receive(&mut self.cache, &mut batch);
            self.tx[0].transmit(&mut self.cache, &mut batch);
            let mut idle = true;
            while let Some(frame) = self.far.take() {
                same(&frame, &make(taken));
                (taken, idle) = (taken + 1, false);
                patience.renew();
            }
            if idle {
                patience.wait(&format!("frame {taken} of {count} to come back"));
            }
        }
        assert!(batch.is_empty());
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

/// Compares frames; on a difference says where it is instead of printing both.
pub(crate) fn same(got: &[u8], wanted: &[u8]) {
    let at = got.iter().zip(wanted).position(|(a, b)| a != b);
    assert!(
        at.is_none() && got.len() == wanted.len(),
        "{} bytes (number {}) where {} bytes (number {}) were due; first difference at {at:?}",
        got.len(),
        crate::number(got),
        wanted.len(),
        crate::number(wanted)
    );
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lane({:?}, {:?})", self.port, self.far)
    }
}
