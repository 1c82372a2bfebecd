//! The 82576 driver by itself: cycles a packet of receive and transmit, without the model's time.
//!
//! `cargo bench -p barline-benches --bench igb`
//!
//! The device is played between the timed parts: it marks descriptors done, in the layout of the data sheet, and nothing
//! else. So the figure is what the driver and the ring cost when the descriptors are in this core's cache.

use barline::mem::{Access, Desc16, DmaDomain, DmaSlice, LocalDomain, Mapping, Memory, Numa, Source};
use barline::mmio::{Bar, RW, Reg, Trap};
use barline::pool::{Batch, Custody, Pool, PoolCache};
use barline::port::{RxQueue, TxQueue};
use barline::ring::{FrameLimit, RxRing, TxRing};
use barline_benches::tsc::{self, Tsc};
use barline_igb::{Rx, Tx};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

const RING: u32 = 512;
/// DD, EOP and 60 bytes (7.1.5.2).
const RECEIVED: u64 = 60 << 32 | 3;
const TX_DD: u64 = 1 << 32;
const TX_RS: u64 = 1 << 27;

#[derive(Debug)]
struct Nothing;

impl Trap for Nothing {
    fn read32(&self, _offset: usize) -> u32 {
        0
    }

    fn write32(&self, _offset: usize, _value: u32) {}
}

/// The driver's rings, and the device's view of them.
struct Rig {
    rx: Box<dyn RxQueue>,
    tx: Box<dyn TxQueue>,
    cache: PoolCache,
    rx_ring: DmaSlice<Desc16>,
    tx_ring: DmaSlice<Desc16>,
    received: u32,
    sent: u32,
    custody: Arc<Custody>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.custody.open(); // there is no device that could still write
    }
}

impl Rig {
    fn new() -> Result<Self, Box<dyn Error>> {
        let domain: Arc<dyn DmaDomain> = Arc::new(LocalDomain::new());
        let pool = Pool::builder().packets(4096).build()?;
        let memory = Memory::new(RING as usize * 32, Source::Auto, Numa::Any)?;
        let mapping = Mapping::new(&memory, &domain, Access::ReadWrite)?;
        let ring = |n: usize| DmaSlice::<Desc16>::new(&mapping, n * RING as usize * 16, RING).ok_or("ring");
        let bar = Bar::trapped(Arc::new(Nothing), 4096);
        let tail = Reg::<RW>::new("tail", 0);
        let (map, custody) = (pool.map(&domain)?, Custody::new());
        let mut cache = pool.cache();
        let mut rx = RxRing::<Rx>::new(ring(0)?, bar.doorbell(tail)?, &map, &custody).ok_or("rx")?;
        rx.fill(&mut cache);
        let tx = TxRing::<Tx>::new(
            ring(1)?,
            bar.doorbell(tail)?,
            &map,
            &[],
            &custody,
            &FrameLimit::new(1518),
        )
        .ok_or("tx")?;
        let (rx_ring, tx_ring) = (ring(0)?, ring(1)?);
        Ok(Self {
            rx: Box::new(rx),
            tx: Box::new(tx),
            cache,
            rx_ring,
            tx_ring,
            received: 0,
            sent: 0,
            custody,
        })
    }

    /// The device: `n` frames arrive, and what was posted has been sent.
    fn device(&mut self, n: u32) {
        for _ in 0..n {
            self.rx_ring.at(self.received)[1].store(RECEIVED, Relaxed);
            self.received = self.received.wrapping_add(1);
        }
        for _ in 0..n {
            let word = &self.tx_ring.at(self.sent)[1];
            if word.load(Relaxed) & TX_RS != 0 {
                word.store(word.load(Relaxed) | TX_DD, Relaxed);
            }
            self.sent = self.sent.wrapping_add(1);
        }
    }
}

fn forward(c: &mut Criterion<Tsc>) {
    let Ok(mut rig) = Rig::new() else { return };
    let mut group = c.benchmark_group("igb");
    group
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    for burst in [1u32, 4, 8, 16, 32, 64] {
        group.throughput(Throughput::Elements(burst.into()));
        let mut batch = Batch::with_burst(burst as usize);
        group.bench_function(BenchmarkId::new("receive+transmit", burst), |b| {
            b.iter_custom(|rounds| {
                let mut cycles = 0;
                for _ in 0..rounds {
                    rig.device(burst);
                    let start = tsc::now();
                    rig.rx.receive(&mut rig.cache, &mut batch);
                    rig.tx.transmit(&mut rig.cache, &mut batch);
                    cycles += tsc::now().wrapping_sub(start);
                }
                cycles
            });
        });
        // What is still in flight is sent, so that the next burst size starts level.
        rig.sent = 0;
        let Ok(fresh) = Rig::new() else { return };
        rig = fresh;
    }
    group.throughput(Throughput::Elements(1));
    let mut batch = Batch::with_burst(32);
    group.bench_function("empty poll", |b| {
        b.iter(|| rig.rx.receive(&mut rig.cache, &mut batch))
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(Tsc);
    targets = forward
}
criterion_main!(benches);
