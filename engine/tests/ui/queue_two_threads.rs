//! A queue is one thread's: two cannot borrow it.
use barline::pool::{Batch, PoolCache};
use barline::port::RxQueue;

fn both(queue: &mut dyn RxQueue, one: &mut PoolCache, two: &mut PoolCache) {
    std::thread::scope(|scope| {
        scope.spawn(|| queue.receive(one, &mut Batch::new()));
        scope.spawn(|| queue.receive(two, &mut Batch::new()));
    });
}

fn main() {}
