//! A packet that went into a batch is the batch's.
use barline::pool::{Batch, Packet};

fn use_after_move(mut batch: Batch, packet: Packet) {
    let _ = batch.push(packet);
    println!("{}", packet.len());
}

fn main() {}
