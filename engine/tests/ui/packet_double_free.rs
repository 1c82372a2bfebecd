//! A packet is given back once.
use barline::pool::{Packet, PoolCache};

fn twice(cache: &mut PoolCache, packet: Packet) {
    cache.free_one(packet);
    cache.free_one(packet);
}

fn main() {}
