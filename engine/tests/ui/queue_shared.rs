//! A receive queue cannot be shared, not even to look at.
use barline::port::RxQueue;
use std::sync::Arc;

fn share(queue: Box<dyn RxQueue>) {
    let queue = Arc::new(queue);
    std::thread::spawn(move || queue.counters().rx_packets.get());
}

fn main() {}
