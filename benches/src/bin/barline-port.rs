//! Our end of a comparison over a socket: opens one port and works in one mode on it until its input ends. Whoever measures looks
//! at the other end's counters; a line of input, whatever it says, is answered with what this end has worked so far.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "the answer")]

use anyhow::Result;
use barline::pool::{Batch, Pool};
use barline::port::{LinkRequest, PortConfig};
use barline_benches::tsc;
use barline_benches::window::core_of;
use barline_drivers::{Feed, Opener, PortSpec};
use barline_modes::{Lane, Mode, Settings, Tally, run_burst};
use clap::Parser;
use crossbeam::utils::CachePadded;
use serde_json::{Value, json};
use std::io::stdin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// Works on one port until its input ends.
#[derive(Debug, Parser)]
struct Options {
    /// The port, as in `virtio-user:/tmp/socket`.
    port: PortSpec,
    /// `io` (what comes goes back out), `rxonly`, `txonly`.
    mode: Mode,
    /// The core that polls.
    #[arg(long)]
    core: usize,
    /// Packets that are moved at a time.
    #[arg(long, default_value_t = 32)]
    burst: usize,
    /// Descriptors of each ring.
    #[arg(long, default_value_t = 256)]
    ring: u32,
    /// Packets of the pool.
    #[arg(long, default_value_t = 4096)]
    packets: usize,
}

/// Bursts that moved something. As testpmd's `--record-core-cycles` has it: the others are waiting, not work.
#[derive(Debug, Default)]
struct Worked {
    packets: AtomicU64,
    cycles: AtomicU64,
}

impl Worked {
    /// There is one writer.
    #[inline(always)]
    fn add(&self, packets: usize, cycles: u64) {
        let add = |to: &AtomicU64, more| to.store(to.load(Ordering::Relaxed) + more, Ordering::Relaxed);
        add(&self.packets, packets as u64);
        add(&self.cycles, cycles);
    }

    fn json(&self) -> Value {
        json!({"packets": self.packets.load(Ordering::Relaxed), "cycles": self.cycles.load(Ordering::Relaxed)})
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    let core = core_of(options.core)?;
    let pool = Pool::builder().packets(options.packets).build()?;
    let mut port = Opener::new(Feed::Generated).open(&options.port)?.port;
    let config = PortConfig {
        rx_ring: options.ring,
        tx_ring: options.ring,
        link: LinkRequest::DoNotWait,
        interrupts: false,
        ..PortConfig::new(&pool)
    };
    let mut queues = port.start(&config)?;
    let settings = Settings::l2fwd(0, port.mac());
    let stop = Arc::new(AtomicBool::new(false));
    let worked = Arc::new(CachePadded::new(Worked::default()));
    let (ended, count) = (stop.clone(), worked.clone());
    let poller = thread::spawn(move || {
        let pinned = core_affinity::set_for_current(core);
        let (mut cache, mut batch, mut tally) =
            (pool.cache(), Batch::with_burst(options.burst), Tally::default());
        while pinned && !ended.load(Ordering::Relaxed) {
            let (rx, tx) = (queues.rx[0].as_mut(), queues.tx[0].as_mut());
            let lane = Lane {
                rx,
                tx,
                cache: &mut cache,
                batch: &mut batch,
            };
            let start = tsc::now();
            let moved = run_burst(options.mode, &settings, lane, &mut tally);
            if moved > 0 {
                count.add(moved, tsc::now().wrapping_sub(start));
            }
        }
        (queues, pinned)
    });
    println!("{}", json!({"ready": true}));
    for line in stdin().lines() {
        line?;
        println!("{}", worked.json());
    }
    stop.store(true, Ordering::Relaxed);
    let (queues, pinned) = poller
        .join()
        .map_err(|_| anyhow::anyhow!("the poller panicked"))?;
    anyhow::ensure!(pinned, "cannot run on core {}", options.core);
    Ok(port.stop(queues)?)
}
