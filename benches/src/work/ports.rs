//! Forwarding between two ports, through `Box<dyn>` queues as an application has them.

use super::{Setup, Shape, Work};
use anyhow::{Context, Result};
use barline::pool::{Batch, Pool, PoolCache};
use barline::port::{LinkRequest, Port, PortConfig, RxQueue, TxQueue};
use barline_drivers::{Feed, Opener};
use barline_modes::{Addresses, Lane, Mode, Settings, Tally, Template, run_burst};
use barline_null::Null;
use std::hint::black_box;

/// Which ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortKind {
    /// Ports without a device.
    Null,
    /// The 82576 of the simulator, its model on the caller's stack.
    SimulatedIgb,
}

/// One core's share: its queue of both ports, in both directions. Aligned, because cores that write to one cache line
/// would measure each other.
#[derive(Debug)]
#[repr(align(128))]
struct Forwarding {
    mode: Mode,
    ways: Vec<Way>,
    cache: PoolCache,
    batch: Batch,
    tally: Tally,
}

#[derive(Debug)]
struct Way {
    rx: Box<dyn RxQueue>,
    tx: Box<dyn TxQueue>,
    settings: Settings,
}

impl Work for Forwarding {
    fn rounds(&mut self, n: u32) -> u64 {
        let Self {
            mode,
            ways,
            cache,
            batch,
            tally,
        } = self;
        let mut packets = 0;
        for _ in 0..n {
            for way in &mut *ways {
                let (rx, tx) = (&mut *way.rx, &mut *way.tx);
                let lane = Lane { rx, tx, cache, batch };
                packets += run_burst(*mode, &way.settings, lane, tally) as u64;
            }
        }
        packets
    }
}

fn open(kind: PortKind, size: usize) -> Result<Vec<Box<dyn Port>>> {
    match kind {
        PortKind::Null => (0..2)
            .map(|_| Ok(Box::new(Null::new(size)?) as Box<dyn Port>))
            .collect(),
        PortKind::SimulatedIgb => {
            let spec = format!("sim:82576,size={size}").parse()?;
            let mut opener = Opener::new(Feed::Generated);
            (0..2).map(|_| Ok(opener.open(&spec)?.port)).collect()
        }
    }
}

/// Two ports with a queue pair a core; what one receives, the other sends.
pub fn forward(mode: Mode, kind: PortKind, cores: usize, shape: Shape) -> Result<Setup> {
    let pool = Pool::builder().packets(shape.packets * cores).build()?;
    let queues = u16::try_from(cores).context("too many cores")?;
    let mut config = PortConfig::new(&pool);
    (config.rx_queues, config.tx_queues) = (queues, queues);
    config.link = LinkRequest::DoNotWait;
    config.promiscuous = true;
    let mut ports = open(kind, shape.size)?;
    let (mut receive, mut send) = (Vec::new(), Vec::new());
    for (index, port) in ports.iter_mut().enumerate() {
        let started = port.start(&config)?;
        let addresses = Addresses::l2fwd(index as u8, port.mac());
        let template = Template::udp(shape.size, addresses)?;
        receive.push(started.rx.into_iter());
        send.push((started.tx.into_iter(), Settings { addresses, template }));
    }
    let works = (0..cores).map(|_| {
        // Out of the compiler's sight, or it would see which queues these are and call them directly.
        let ways = receive
            .iter_mut()
            .zip(send.iter_mut().rev())
            .filter_map(|(rx, (tx, settings))| {
                let (rx, tx) = black_box((rx.next()?, tx.next()?));
                Some(Way {
                    rx,
                    tx,
                    settings: *settings,
                })
            });
        let work = Forwarding {
            mode,
            ways: ways.collect(),
            cache: pool.cache(),
            batch: Batch::with_burst(shape.burst),
            tally: Tally::default(),
        };
        Box::new(work) as Box<dyn Work>
    });
    let works = works.collect();
    let pool = Some(pool);
    Ok(Setup { works, ports, pool })
}
