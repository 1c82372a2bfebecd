//! Rings and the pool, 32 at a time.

use super::{BURST, Rounds, Setup, Work};
use anyhow::{Context, Result};
use barline::pool::{Batch, Pool};
use barline::ring::{Mpmc, Spsc};
use std::hint::{black_box, spin_loop};

/// Slots of a ring, as in the peer's program.
const SLOTS: usize = 1024;

fn alone(work: impl Work + 'static) -> Setup {
    Setup {
        works: vec![Box::new(work)],
        ports: Vec::new(),
        pool: None,
    }
}

/// 32 words in, 32 words out.
pub fn spsc() -> Result<Setup> {
    let (mut producer, mut consumer) = Spsc::new(SLOTS).context("a size the ring cannot have")?.split();
    let (from, mut to) = ([7_u64; BURST], [0_u64; BURST]);
    Ok(alone(Rounds(move || {
        producer.push_exact(black_box(&from));
        let came = consumer.pop_exact(&mut to);
        black_box(&mut to);
        if came { BURST as u64 } else { 0 }
    })))
}

/// The same through a ring that others could use at the same time.
pub fn mpmc() -> Result<Setup> {
    let ring = Mpmc::new(SLOTS).context("a size the ring cannot have")?;
    let (from, mut to) = ([7_u64; BURST], [0_u64; BURST]);
    Ok(alone(Rounds(move || {
        ring.push_exact(black_box(&from));
        let came = ring.pop_exact(&mut to);
        black_box(&mut to);
        if came { BURST as u64 } else { 0 }
    })))
}

/// The producer on one core, the consumer on another; the consumer counts.
pub fn spsc_two_cores() -> Result<Setup> {
    let (mut producer, mut consumer) = Spsc::new(SLOTS).context("a size the ring cannot have")?.split();
    let (from, mut to) = ([7_u64; BURST], [0_u64; BURST]);
    let push = Rounds(move || {
        if !producer.push_exact(black_box(&from)) {
            spin_loop();
        }
        0
    });
    let pop = Rounds(move || {
        if consumer.pop_exact(&mut to) {
            black_box(&mut to);
            return BURST as u64;
        }
        spin_loop();
        0
    });
    Ok(Setup {
        works: vec![Box::new(push), Box::new(pop)],
        ports: Vec::new(),
        pool: None,
    })
}

/// 32 packets of `size` bytes out of the core's cache and back.
pub fn alloc_free(size: usize) -> Result<Setup> {
    let pool = Pool::builder().packets(8192).build()?;
    let (mut cache, mut batch) = (pool.cache(), Batch::with_burst(BURST));
    let work = Rounds(move || {
        let got = cache.alloc_batch(&mut batch, BURST, size);
        black_box(&mut batch);
        cache.free(&mut batch);
        got as u64
    });
    Ok(Setup {
        pool: Some(pool),
        ..alone(work)
    })
}

/// 32 free buffers out of the core's cache and back: bare, as an object of a mempool is, with no handle written.
pub fn slots() -> Result<Setup> {
    let pool = Pool::builder().packets(8192).build()?;
    let (mut cache, mut out) = (pool.cache(), [0; BURST]);
    let work = Rounds(move || {
        let mut got = 0;
        cache.churn(&mut out, |slots| got = black_box(slots).len());
        got as u64
    });
    Ok(Setup {
        pool: Some(pool),
        ..alone(work)
    })
}

/// Packets that one core takes from the pool and another gives back, both played by one thread: every one goes through
/// the pool's shared list.
pub fn alloc_here_free_there(size: usize) -> Result<Setup> {
    let pool = Pool::builder().packets(8192).build()?;
    let (mut here, mut there, mut batch) = (pool.cache(), pool.cache(), Batch::with_burst(BURST));
    let work = Rounds(move || {
        let got = here.alloc_batch(&mut batch, BURST, size);
        black_box(&mut batch);
        there.free(&mut batch);
        got as u64
    });
    Ok(Setup {
        pool: Some(pool),
        ..alone(work)
    })
}
