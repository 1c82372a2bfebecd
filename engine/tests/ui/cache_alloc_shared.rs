//! Taking from a cache needs it for oneself.
use barline::pool::{Packet, PoolCache};

fn take(cache: &PoolCache) -> Option<Packet> {
    cache.alloc()
}

fn main() {}
