//! `ring`: what is sent on a queue is received on the queue with the same number, through a ring between two cores.

use barline::offload::{Offloads, Rules, settle};
use barline::pool::{Batch, Packet, PoolCache};
use barline::port::{
    Change, Link, MacAddress, Port, PortCaps, PortConfig, PortError, Queues, RxQueue, TxQueue,
};
use barline::ring::{Consumer, Producer, Spsc};
use barline::telemetry::{CounterSink, RxCounters, TxCounters};
use crossbeam::utils::CachePadded;
use std::sync::Arc;

/// A loopback port. Packets are moved, not copied: the buffer that was sent is the one that is received.
#[derive(Debug)]
pub struct Loopback {
    mac: MacAddress,
    caps: PortCaps,
    started: bool,
}

impl Loopback {
    /// A stopped loopback port.
    pub fn new() -> Self {
        let caps = PortCaps {
            rx_queues: 64,
            tx_queues: 64,
            ring: (8, 1 << 16),
            mtu: 9600,
            speed: 0,
            offloads: Offloads::all(),
            vlans: false,
        };
        Self {
            mac: MacAddress([2, 0, 0, 0, 0, 0]),
            caps,
            started: false,
        }
    }
}

impl Default for Loopback {
    fn default() -> Self {
        Self::new()
    }
}

impl Port for Loopback {
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
        config.check_pairs("ring")?;
        let mut queues = Queues::default();
        for _ in 0..config.rx_queues {
            let ring =
                Spsc::new(config.tx_ring as usize).ok_or(PortError::State("given a ring of no length"))?;
            let (to, from) = ring.split();
            queues.tx.push(Box::new(LoopbackTx {
                ring: to,
                most: config.max_frame() as usize,
                can: both_ways(config.offloads),
                counters: TxCounters::shared(),
            }));
            queues.rx.push(Box::new(LoopbackRx {
                ring: from,
                counters: RxCounters::shared(),
            }));
        }
        self.started = true;
        Ok(queues)
    }

    fn stop(&mut self, queues: Queues) -> Result<(), PortError> {
        drop(queues); // packets still in the rings go back to their pools
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
            Change::Promiscuous(_) | Change::AllMulticast(_) => Ok(()),
            Change::Mac(mac) => {
                self.mac = mac;
                Ok(())
            }
            _ => Err(PortError::Unsupported("change this setting")),
        }
    }
}

/// The receive side of one queue.
#[derive(Debug)]
pub struct LoopbackRx {
    ring: Consumer<Packet>,
    counters: Arc<CachePadded<RxCounters>>,
}

impl RxQueue for LoopbackRx {
    #[inline]
    fn receive(&mut self, _cache: &mut PoolCache, out: &mut Batch) -> usize {
        let before = out.len();
        let got = self.ring.receive(out);
        let bytes: usize = out.as_slice()[before..].iter().map(|packet| packet.len()).sum();
        let counters = &**self.counters;
        counters.rx_polls.add(1);
        counters.rx_packets.add(got as u64);
        counters.rx_bytes.add(bytes as u64);
        counters.rx_idle_polls.add(u64::from(got == 0));
        got
    }

    fn counters(&self) -> &RxCounters {
        &self.counters
    }

    fn shared_counters(&self) -> Arc<CachePadded<RxCounters>> {
        self.counters.clone()
    }
}

/// The transmit side of one queue.
#[derive(Debug)]
pub struct LoopbackTx {
    ring: Producer<Packet>,
    most: usize,
    /// What may be received as it was sent.
    can: Offloads,
    counters: Arc<CachePadded<TxCounters>>,
}

/// What of sending is asked for, where the same is asked for of receiving: a packet comes out as it went in.
fn both_ways(asked: Offloads) -> Offloads {
    let pairs = [
        (Offloads::TX_CHECKSUM, Offloads::RX_CHECKSUM),
        (Offloads::TX_TCP4, Offloads::RX_TCP4),
        (Offloads::TX_TCP6, Offloads::RX_TCP6),
        (Offloads::TX_UDP, Offloads::RX_UDP),
        (Offloads::TX_ECN, Offloads::RX_ECN),
    ];
    let both = pairs.iter().filter(|(tx, rx)| asked.contains(*tx | *rx));
    both.map(|(tx, _)| *tx).collect()
}

impl LoopbackTx {
    /// Drops what no device would send; the order of the rest stays.
    #[cold]
    fn sift(&mut self, packets: &mut Batch) {
        for _ in 0..packets.len() {
            let Some(packet) = packets.pop() else { return };
            if self.fits(&packet) {
                // There is room: one was just taken out.
                packets.extend([packet]);
            } else {
                self.counters.tx_lengths.add(1);
            }
        }
    }
}

fn bytes(packets: &Batch) -> usize {
    packets.as_slice().iter().map(|packet| packet.len()).sum()
}

impl LoopbackTx {
    /// Whether the ring takes it: one that is to be cut may be longer than a frame.
    fn fits(&self, packet: &Packet) -> bool {
        packet.len().wrapping_sub(1) < self.most
            || packet.has_offload() && packet.offload().segmentation.is_some()
    }

    /// Hands over packets of so many bytes.
    #[inline(always)]
    fn push(&mut self, packets: &mut Batch, before: usize) -> usize {
        let sent = self.ring.send(packets);
        self.counters.tx_packets.add(sent as u64);
        self.counters.tx_bytes.add((before - bytes(packets)) as u64);
        if !packets.is_empty() {
            self.counters.tx_full.add(1);
        }
        sent
    }

    /// Packets of which one has no good length, or asks for something.
    #[cold]
    fn push_odd(&mut self, cache: &mut PoolCache, packets: &mut Batch) -> usize {
        let rules = Rules {
            can: self.can,
            longest: self.most as u32,
        };
        let counters = self.counters.clone();
        settle(rules, &counters, cache, packets, |_, packets| {
            self.sift(packets);
            self.push(packets, bytes(packets))
        })
    }
}

impl TxQueue for LoopbackTx {
    #[inline]
    fn transmit(&mut self, cache: &mut PoolCache, packets: &mut Batch) -> usize {
        let (mut bytes, mut odd) = (0, false);
        for packet in packets.as_slice() {
            bytes += packet.len();
            odd |= packet.len().wrapping_sub(1) >= self.most || packet.has_offload();
        }
        match odd {
            true => self.push_odd(cache, packets),
            false => self.push(packets, bytes),
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use barline::pool::Pool;

    #[test]
    fn what_is_sent_is_received_in_order_and_bad_lengths_are_dropped() {
        let pool = Pool::builder().packets(256).build().unwrap();
        let mut port = Loopback::new();
        let config = PortConfig {
            tx_ring: 16,
            ..PortConfig::new(&pool)
        };
        let mut queues = port.start(&config).unwrap();
        let (mut cache, mut batch) = (pool.cache(), Batch::new());
        for len in (0..20).chain([1519]).chain(20..40) {
            let mut packet = cache.alloc().unwrap();
            assert!(packet.set(&vec![len as u8; len]));
            batch.push(packet).unwrap();
        }
        let (mut seen, mut rounds) = (1, 0);
        while !batch.is_empty() || rounds < 2 {
            rounds += 1;
            queues.tx[0].transmit(&mut cache, &mut batch);
            let mut out = Batch::new();
            queues.rx[0].receive(&mut cache, &mut out);
            for packet in out.as_slice() {
                assert_eq!(**packet, vec![seen as u8; seen]);
                seen += 1;
            }
            cache.free(&mut out);
        }
        assert_eq!(seen, 40);
        assert_eq!(queues.tx[0].counters().tx_lengths.get(), 2);
        assert_eq!(
            queues.tx[0].counters().tx_bytes.get(),
            queues.rx[0].counters().rx_bytes.get()
        );
        port.stop(queues).unwrap();
        drop(cache);
        assert_eq!(pool.available(), 256);
    }
}
