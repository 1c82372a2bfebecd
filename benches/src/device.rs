//! A played device: the 82576 driver's rings, and a hand that marks descriptors done, in the layout of the data sheet,
//! and does nothing else. So what the driver costs can be measured without the time of a model.

use crate::work::Shape;
use anyhow::{Context, Result};
use barline::mem::{Access, Desc16, DmaDomain, DmaSlice, LocalDomain, Mapping, Memory, Numa, Source};
use barline::mmio::{Bar, MappedBar, RW, Reg, Trap};
use barline::pool::{Batch, Custody, Pool, PoolCache};
use barline::port::{RxQueue, TxQueue};
use barline::ring::{FrameLimit, RxRing, TxRing};
use barline_igb::{Rx, Tx};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

/// DD, EOP and 60 bytes (7.1.5.2).
const RECEIVED: u64 = 60 << 32 | 3;
/// Descriptor done, as the device writes it back (7.2.2.4.3).
const TX_DD: u64 = 1 << 32;
/// Report status: the driver wants DD (7.2.2.3.3).
const TX_RS: u64 = 1 << 27;
/// The register that every doorbell of a played device rings.
pub const TAIL: Reg<RW> = Reg::new("tail", 0);

/// Registers of a played device: memory that nobody reads. A store to it costs what a store to the cache costs; one
/// to a device's memory is slower and depends on the machine.
#[derive(Debug)]
#[repr(C, align(4096))]
struct Page([AtomicU32; 1024]);

/// A mapped BAR whose registers are a page of ordinary memory.
pub fn mapped_bar() -> Bar {
    let page = Arc::new(Page([const { AtomicU32::new(0) }; 1024]));
    let at = NonNull::from(&page.0).cast();
    // SAFETY: the page is as long and as aligned as is said, atomics may be written through a shared pointer, and `page`
    // is the owner that keeps it.
    Bar::mapped(unsafe { MappedBar::new(at, size_of::<Page>(), page) })
}

/// Registers that swallow what is written, behind a trait object as a simulator's are.
#[derive(Debug)]
struct Nothing;

impl Trap for Nothing {
    fn read32(&self, _offset: usize) -> u32 {
        0
    }

    fn write32(&self, _offset: usize, _value: u32) {}
}

/// A trapped BAR whose registers do nothing.
pub fn trapped_bar() -> Bar {
    Bar::trapped(Arc::new(Nothing), 4096)
}

/// Lets the buffers go: there is no device that could still write.
#[derive(Debug)]
struct Release(Arc<Custody>);

impl Drop for Release {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// The driver's rings and the device's view of them. `R` and `T` are the queues, or `dyn` of their traits.
#[derive(Debug)]
pub struct Rig<R: ?Sized = dyn RxQueue, T: ?Sized = dyn TxQueue> {
    // The buffers are let go before the rings look for them.
    _release: Release,
    rx: Box<R>,
    tx: Box<T>,
    cache: PoolCache,
    batch: Batch,
    rx_ring: DmaSlice<Desc16>,
    tx_ring: DmaSlice<Desc16>,
    received: u32,
    posted: u32,
    sent: u32,
}

impl Rig<RxRing<Rx>, TxRing<Tx>> {
    /// A started pair of rings of `shape.ring` descriptors, with a full receive ring; bursts of at most `shape.burst`.
    ///
    /// # Errors
    /// No memory, or a length that a ring cannot have.
    pub fn new(shape: Shape) -> Result<Self> {
        let slots = u32::try_from(shape.ring).context("too long a ring")?;
        let domain: Arc<dyn DmaDomain> = Arc::new(LocalDomain::new());
        let pool = Pool::builder()
            .packets(shape.packets.max(3 * shape.ring))
            .build()?;
        let memory = Memory::new(shape.ring * 32, Source::Auto, Numa::Any)?;
        let mapping = Mapping::new(&memory, &domain, Access::ReadWrite)?;
        let ring = |n: usize| {
            DmaSlice::<Desc16>::new(&mapping, n * shape.ring * 16, slots).context("no room for a ring")
        };
        let bar = mapped_bar();
        let (map, custody) = (pool.map(&domain)?, Custody::new());
        let mut cache = pool.cache();
        let mut rx =
            RxRing::<Rx>::new(ring(0)?, bar.doorbell(TAIL)?, &map, &custody).context("no receive ring")?;
        rx.fill(&mut cache);
        let limit = FrameLimit::new(1518);
        let tx = TxRing::<Tx>::new(ring(1)?, bar.doorbell(TAIL)?, &map, &[], &custody, &limit)
            .context("no transmit ring")?;
        Ok(Self {
            _release: Release(custody),
            rx: Box::new(rx),
            tx: Box::new(tx),
            cache,
            batch: Batch::with_burst(shape.burst),
            rx_ring: ring(0)?,
            tx_ring: ring(1)?,
            received: 0,
            posted: 0,
            sent: 0,
        })
    }

    /// The same with queues behind `Box<dyn>`, as applications have them, and out of the compiler's sight.
    pub fn boxed(self) -> Rig {
        let (rx, tx): (Box<dyn RxQueue>, Box<dyn TxQueue>) = (self.rx, self.tx);
        let (rx, tx) = std::hint::black_box((rx, tx));
        Rig {
            _release: self._release,
            rx,
            tx,
            cache: self.cache,
            batch: self.batch,
            rx_ring: self.rx_ring,
            tx_ring: self.tx_ring,
            received: self.received,
            posted: self.posted,
            sent: self.sent,
        }
    }
}

impl<R: RxQueue + ?Sized, T: TxQueue + ?Sized> Rig<R, T> {
    /// The device's turn: what was posted is sent, and `n` frames arrive.
    pub fn device(&mut self, n: u32) {
        for _ in 0..n {
            self.rx_ring.at(self.received)[1].store(RECEIVED, Relaxed);
            self.received = self.received.wrapping_add(1);
        }
        while self.sent != self.posted {
            let word = &self.tx_ring.at(self.sent)[1];
            if word.load(Relaxed) & TX_RS != 0 {
                word.store(word.load(Relaxed) | TX_DD, Relaxed);
            }
            self.sent = self.sent.wrapping_add(1);
        }
    }

    /// The driver's turn: one burst received and sent. Never inlined: instruction counts are taken by its name.
    #[inline(never)]
    pub fn forward(&mut self) -> usize {
        self.rx.receive(&mut self.cache, &mut self.batch);
        let posted = self.tx.transmit(&mut self.cache, &mut self.batch);
        self.posted = self.posted.wrapping_add(posted as u32);
        posted
    }

    /// A look at a receive ring that has nothing.
    #[inline(never)]
    pub fn poll(&mut self) -> usize {
        self.rx.receive(&mut self.cache, &mut self.batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_goes_round_the_rings() {
        let shape = Shape {
            ring: 128,
            ..Shape::default()
        };
        let mut concrete = Rig::new(shape).unwrap();
        let mut boxed = Rig::new(shape).unwrap().boxed();
        assert_eq!(boxed.poll(), 0);
        for _ in 0..3 * shape.ring {
            concrete.device(32);
            boxed.device(32);
            assert_eq!((concrete.forward(), boxed.forward()), (32, 32));
        }
        assert_eq!(concrete.poll(), 0);
    }

    #[test]
    fn both_kinds_of_bar_take_a_doorbell() {
        for bar in [mapped_bar(), trapped_bar()] {
            bar.doorbell(TAIL).unwrap().ring(7);
        }
        let bar = mapped_bar();
        bar.doorbell(TAIL).unwrap().ring(7);
        assert_eq!(bar.read(TAIL), 7);
    }
}
