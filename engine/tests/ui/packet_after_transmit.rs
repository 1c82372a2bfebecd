//! A reference into a batch does not live over transmit.
use barline::pool::{Batch, PoolCache};
use barline::port::TxQueue;

fn use_after_transmit(queue: &mut dyn TxQueue, cache: &mut PoolCache, mut batch: Batch) {
    let first = &batch.as_slice()[0];
    queue.transmit(cache, &mut batch);
    println!("{}", first.len());
}

fn main() {}
