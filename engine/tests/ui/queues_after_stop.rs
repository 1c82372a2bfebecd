//! A stopped port has its queues back.
use barline::pool::{Batch, PoolCache};
use barline::port::{Port, Queues};

fn late(port: &mut dyn Port, mut queues: Queues, cache: &mut PoolCache) {
    let _ = port.stop(queues);
    queues.rx[0].receive(cache, &mut Batch::new());
}

fn main() {}
