//! A pool's cache is one thread's.
use barline::pool::PoolCache;
use std::sync::Arc;

fn share(cache: PoolCache) {
    let cache = Arc::new(cache);
    let other = cache.clone();
    std::thread::spawn(move || other.len());
    std::thread::spawn(move || cache.len());
}

fn main() {}
