//! Bytes borrowed from a packet do not outlive it.
use barline::pool::{Packet, PoolCache};

fn dangling(cache: &mut PoolCache, packet: Packet) -> u8 {
    let bytes: &[u8] = &packet;
    cache.free_one(packet);
    bytes[0]
}

fn main() {}
