//! Packets that are many at a time: what is received is written, waits in a queue, and is read and freed at its other end. The
//! queue holds nearly the whole pool, so every packet goes round, and how many there are decides which cache they are in.

use super::{Setup, Shape, Work};
use anyhow::{Context, Result};
use barline::pool::{Batch, Packet, Pool, PoolCache};
use barline::ring::{Consumer, Producer, Spsc};
use std::hint::black_box;

/// Packets that do not wait: two caches of a core and the bursts.
const SPARE: usize = 640;

#[derive(Debug)]
#[repr(align(128))]
struct InFlight {
    to: Producer<Packet>,
    from: Consumer<Packet>,
    cache: PoolCache,
    batch: Batch,
    size: usize,
    waiting: usize,
    most: usize,
}

impl InFlight {
    fn round(&mut self) -> u64 {
        let room = self.batch.room();
        let got = self.cache.alloc_batch(&mut self.batch, room, self.size);
        // What a device writes and a program looks at first: the headers.
        for packet in self.batch.as_mut_slice() {
            if let Some(front) = packet.first_chunk_mut::<64>() {
                *front = [1; 64];
            }
        }
        self.waiting += self.to.send(&mut self.batch);
        if self.waiting < self.most {
            return got as u64;
        }
        self.waiting -= self.from.receive(&mut self.batch);
        let sum: u32 = self
            .batch
            .as_slice()
            .iter()
            .map(|packet| u32::from(packet[0]))
            .sum();
        black_box(sum);
        self.cache.free(&mut self.batch);
        got as u64
    }
}

impl Work for InFlight {
    fn rounds(&mut self, n: u32) -> u64 {
        (0..n).map(|_| self.round()).sum()
    }
}

/// Each core has a pool and a queue of its own.
pub fn in_flight(cores: usize, shape: Shape) -> Result<Setup> {
    let work = |_| {
        let pool = Pool::builder().packets(shape.packets).build()?;
        let most = shape.packets.saturating_sub(SPARE).max(shape.burst);
        let ring = Spsc::new((most + shape.burst).next_power_of_two()).context("too many packets")?;
        let (to, from) = ring.split();
        let mut work = InFlight {
            to,
            from,
            cache: pool.cache(),
            batch: Batch::with_burst(shape.burst),
            size: shape.size,
            waiting: 0,
            most,
        };
        while work.waiting < most - shape.burst {
            work.round();
        }
        Ok(Box::new(work) as Box<dyn Work>)
    };
    Ok(Setup {
        works: (0..cores).map(work).collect::<Result<_>>()?,
        ports: Vec::new(),
        pool: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearly_all_packets_wait_and_none_is_lost() {
        let pool = Pool::builder().packets(2048).build().unwrap();
        let (to, from) = Spsc::new(2048).unwrap().split();
        let mut work = InFlight {
            to,
            from,
            cache: pool.cache(),
            batch: Batch::with_burst(32),
            size: 64,
            waiting: 0,
            most: 2048 - SPARE,
        };
        for _ in 0..1000 {
            assert_eq!(work.round(), 32);
            assert!(work.waiting <= work.most);
        }
        assert!(work.waiting + 32 >= work.most && pool.available() <= SPARE);
        drop(work);
        assert_eq!(pool.available(), 2048);
    }
}
