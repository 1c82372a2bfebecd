//! The traffic generator on null ports, through `Box<dyn>` queues as `pktgen` has them.

use super::{Setup, Shape, Work};
use anyhow::Result;
use barline::pool::{Batch, Pool, PoolCache};
use barline::port::{LinkRequest, Port, PortConfig, Queues};
use barline_null::Null;
use barline_traffic::{Cost, FCS, Generator, Pacer, Sender, Shape as Pattern, StreamConfig};
use std::hint::black_box;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One UDP frame, again and again.
    One,
    /// The same with a mark, whose number and time differ.
    Marked,
    /// Four fields that differ from frame to frame, with both checksums; what is received is freed, as testpmd's flowgen does.
    Fields,
}

/// As testpmd's flowgen: addresses and ports.
const FIELDS: &str = "vary = ['ipv4.src=10.0.0.0..10.255.255.255', 'ipv4.dst=10.0.0.0..10.0.3.255', 'udp.src=count', 'udp.dst=1024..2047']";

#[repr(align(128))]
struct Sending {
    queues: Queues,
    sender: Sender,
    receives: bool,
    cache: PoolCache,
    batch: Batch,
    now: u64,
}

impl Work for Sending {
    fn rounds(&mut self, n: u32) -> u64 {
        let mut sent = 0;
        for _ in 0..n {
            for (rx, tx) in self.queues.rx.iter_mut().zip(&mut self.queues.tx) {
                if self.receives {
                    rx.receive(&mut self.cache, &mut self.batch);
                    self.cache.free(&mut self.batch);
                }
                self.now += 1;
                sent += self.sender.poll(&mut **tx, &mut self.cache, self.now) as u64;
            }
        }
        sent
    }
}

impl std::fmt::Debug for Sending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sending")
    }
}

/// A null port and a sender a core.
pub fn sending(kind: Kind, cores: usize, shape: Shape) -> Result<Setup> {
    let pool = Pool::builder().packets(shape.packets * cores).build()?;
    let fields = if kind == Kind::Fields { FIELDS } else { "" };
    let text = format!(
        "size = '{}'\nsigned = {}\n{fields}",
        shape.size + FCS,
        kind == Kind::Marked
    );
    let streams = [StreamConfig::from_toml(&text)?.compile()?];
    let config = PortConfig {
        link: LinkRequest::DoNotWait,
        ..PortConfig::new(&pool)
    };
    let (mut works, mut ports) = (Vec::new(), Vec::new());
    for core in 0..cores {
        let mut port = Null::new(shape.size)?;
        // Out of the compiler's sight, or it would see which queues these are and call them directly.
        let queues = black_box(port.start(&config)?);
        let generator = Generator::new(&streams, 0, core as u64, cores as u64)?;
        let pacer = Pacer::new(Pattern::Even, Cost::NONE, 0);
        works.push(Box::new(Sending {
            queues,
            sender: Sender::new(generator, pacer, shape.burst),
            receives: kind == Kind::Fields,
            cache: pool.cache(),
            batch: Batch::with_burst(shape.burst),
            now: 0,
        }) as Box<dyn Work>);
        ports.push(Box::new(port) as Box<dyn Port>);
    }
    Ok(Setup {
        works,
        ports,
        pool: Some(pool),
    })
}
