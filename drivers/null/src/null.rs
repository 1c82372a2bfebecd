//! `null`: receives as many packets as are asked for, and frees what is sent.

use barline::pool::{Batch, PoolCache};
use barline::port::{
    Change, Link, MacAddress, Port, PortCaps, PortConfig, PortError, Queues, RxQueue, TxQueue,
};
use barline::telemetry::{CounterSink, RxCounters, TxCounters};
use crossbeam::utils::CachePadded;
use std::sync::Arc;

/// A null port. It does honest work: every packet is taken from the pool and given back to it, with its length and the
/// counters kept. So it shows what the engine costs by itself. The content of a received packet is whatever the buffer
/// held.
#[derive(Debug)]
pub struct Null {
    size: usize,
    /// Nothing is received.
    sink: bool,
    mac: MacAddress,
    caps: PortCaps,
    started: bool,
}

impl Null {
    /// A port whose received packets are `size` bytes long, without FCS.
    ///
    /// # Errors
    /// A size of 0 or above 9,600.
    pub fn new(size: usize) -> Result<Self, PortError> {
        if !(1..=9600).contains(&size) {
            return Err(PortError::Config(format!(
                "null packets of {size} bytes asked for, 1 to 9600 are possible"
            )));
        }
        let caps = PortCaps {
            rx_queues: 64,
            tx_queues: 64,
            ring: (8, 1 << 16),
            mtu: 9600,
            speed: 0,
            // Nobody sees what it sends.
            offloads: barline::offload::Offloads::TX,
            vlans: false,
        };
        Ok(Self {
            size,
            sink: false,
            mac: MacAddress([2, 0, 0, 0, 0, 0]),
            caps,
            started: false,
        })
    }

    /// The same port, which receives nothing.
    pub fn sink(mut self) -> Self {
        self.sink = true;
        self
    }

    fn receiver(&self) -> Box<dyn RxQueue> {
        let counters = RxCounters::shared();
        match self.sink {
            true => Box::new(Silent(counters)),
            false => Box::new(NullRx {
                size: self.size,
                counters,
            }),
        }
    }
}

impl Port for Null {
    fn caps(&self) -> &PortCaps {
        &self.caps
    }

    fn mac(&self) -> MacAddress {
        self.mac
    }

    fn start(&mut self, config: &PortConfig) -> Result<Queues, PortError> {
        if self.started {
            return Err(PortError::State("started already; stop it first"));
        }
        config.check(&self.caps)?;
        if self.size > config.pool.data_room() {
            let (size, room) = (self.size, config.pool.data_room());
            return Err(PortError::Config(format!(
                "null packets of {size} bytes do not fit buffers of {room}; make the pool with data_room({size})"
            )));
        }
        self.started = true;
        let tx = |_| {
            Box::new(NullTx {
                counters: TxCounters::shared(),
            }) as Box<dyn TxQueue>
        };
        Ok(Queues {
            rx: (0..config.rx_queues).map(|_| self.receiver()).collect(),
            tx: (0..config.tx_queues).map(tx).collect(),
        })
    }

    fn stop(&mut self, queues: Queues) -> Result<(), PortError> {
        drop(queues);
        self.started = false;
        Ok(())
    }

    fn link(&self) -> Link {
        Link {
            up: self.started,
            speed: 0,
            full_duplex: true,
        }
    }

    fn counters(&mut self, _out: &mut dyn CounterSink) {}

    fn set(&mut self, change: Change) -> Result<(), PortError> {
        match change {
            Change::Promiscuous(_) | Change::AllMulticast(_) | Change::Mtu(_) => Ok(()),
            Change::Mac(mac) => {
                self.mac = mac;
                Ok(())
            }
            _ => Err(PortError::Unsupported("change this setting")),
        }
    }
}

/// The receive side of a null port.
#[derive(Debug)]
pub struct NullRx {
    size: usize,
    counters: Arc<CachePadded<RxCounters>>,
}

impl RxQueue for NullRx {
    #[inline]
    fn receive(&mut self, cache: &mut PoolCache, out: &mut Batch) -> usize {
        let want = out.room();
        let got = cache.alloc_batch(out, want, self.size);
        let counters = &**self.counters;
        counters.rx_polls.add(1);
        counters.rx_packets.add(got as u64);
        counters.rx_bytes.add((got * self.size) as u64);
        counters.rx_idle_polls.add(u64::from(got == 0));
        if got < want {
            counters.rx_no_buffer.add(1);
        }
        got
    }

    fn counters(&self) -> &RxCounters {
        &self.counters
    }

    fn shared_counters(&self) -> Arc<CachePadded<RxCounters>> {
        self.counters.clone()
    }
}

/// The receive side of one that receives nothing.
#[derive(Debug)]
struct Silent(Arc<CachePadded<RxCounters>>);

impl RxQueue for Silent {
    fn receive(&mut self, _: &mut PoolCache, _: &mut Batch) -> usize {
        self.0.rx_polls.add(1);
        self.0.rx_idle_polls.add(1);
        0
    }

    fn counters(&self) -> &RxCounters {
        &self.0
    }

    fn shared_counters(&self) -> Arc<CachePadded<RxCounters>> {
        self.0.clone()
    }
}

/// The transmit side of a null port.
#[derive(Debug)]
pub struct NullTx {
    counters: Arc<CachePadded<TxCounters>>,
}

impl TxQueue for NullTx {
    #[inline]
    fn transmit(&mut self, cache: &mut PoolCache, packets: &mut Batch) -> usize {
        let n = packets.len();
        let bytes = cache.free_counted(packets);
        self.counters.tx_packets.add(n as u64);
        self.counters.tx_bytes.add(bytes);
        n
    }

    fn reclaim(&mut self, _cache: &mut PoolCache) -> usize {
        0
    }

    fn in_flight(&self) -> usize {
        0
    }

    fn counters(&self) -> &TxCounters {
        &self.counters
    }

    fn shared_counters(&self) -> Arc<CachePadded<TxCounters>> {
        self.counters.clone()
    }
}
