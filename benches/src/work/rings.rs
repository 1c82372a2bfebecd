//! Rings and the pool, a burst at a time.

use super::{BURST, Rounds, Setup, Shape, Work};
use anyhow::{Context, Result, ensure};
use barline::pool::{Batch, Pool};
use barline::ring::{Mpmc, Spsc};
use std::hint::{black_box, spin_loop};

fn alone(work: impl Work + 'static) -> Setup {
    Setup {
        works: vec![Box::new(work)],
        ports: Vec::new(),
        pool: None,
    }
}

/// A burst of words, from the start of a cache line as the peer's. Its length is known to the compiler, as the peer's.
#[repr(align(128))]
struct Words([u64; BURST]);

fn words(shape: Shape) -> Result<(Words, Words)> {
    let burst = shape.burst;
    ensure!(burst == BURST, "words are moved {BURST} at a time, not {burst}");
    Ok((Words([7; BURST]), Words([0; BURST])))
}

/// A burst of words in, and out again.
pub fn spsc(shape: Shape) -> Result<Setup> {
    let (mut producer, mut consumer) = Spsc::new(shape.ring)
        .context("a size the ring cannot have")?
        .split();
    let (from, mut to) = words(shape)?;
    Ok(alone(Rounds(move || {
        producer.push_exact(&black_box(&from).0);
        let came = consumer.pop_exact(&mut to.0);
        black_box(&mut to);
        if came { BURST as u64 } else { 0 }
    })))
}

/// The same through a ring that others could use at the same time.
pub fn mpmc(shape: Shape) -> Result<Setup> {
    let ring = Mpmc::new(shape.ring).context("a size the ring cannot have")?;
    let (from, mut to) = words(shape)?;
    Ok(alone(Rounds(move || {
        ring.push_exact(&black_box(&from).0);
        let came = ring.pop_exact(&mut to.0);
        black_box(&mut to);
        if came { BURST as u64 } else { 0 }
    })))
}

/// The producer on one core, the consumer on another; the consumer counts.
pub fn spsc_two_cores(shape: Shape) -> Result<Setup> {
    let (mut producer, mut consumer) = Spsc::new(shape.ring)
        .context("a size the ring cannot have")?
        .split();
    let (from, mut to) = words(shape)?;
    let push = Rounds(move || {
        if !producer.push_exact(&black_box(&from).0) {
            spin_loop();
        }
        0
    });
    let pop = Rounds(move || {
        if consumer.pop_exact(&mut to.0) {
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

/// A burst of packets out of the core's cache and back.
pub fn alloc_free(shape: Shape) -> Result<Setup> {
    let pool = Pool::builder().packets(shape.packets).build()?;
    let (mut cache, mut batch) = (pool.cache(), Batch::with_burst(shape.burst));
    let work = Rounds(move || {
        let got = cache.alloc_batch(&mut batch, shape.burst, shape.size);
        black_box(&mut batch);
        cache.free(&mut batch);
        got as u64
    });
    Ok(Setup {
        pool: Some(pool),
        ..alone(work)
    })
}

/// A burst of free buffers out of the core's cache and back: bare, as an object of a mempool is, with no handle written.
pub fn slots(shape: Shape) -> Result<Setup> {
    let pool = Pool::builder().packets(shape.packets).build()?;
    let (mut cache, mut out) = (pool.cache(), vec![0; shape.burst]);
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
pub fn alloc_here_free_there(shape: Shape) -> Result<Setup> {
    let pool = Pool::builder().packets(shape.packets).build()?;
    let (mut here, mut there, mut batch) = (pool.cache(), pool.cache(), Batch::with_burst(shape.burst));
    let work = Rounds(move || {
        let got = here.alloc_batch(&mut batch, shape.burst, shape.size);
        black_box(&mut batch);
        there.free(&mut batch);
        got as u64
    });
    Ok(Setup {
        pool: Some(pool),
        ..alone(work)
    })
}
