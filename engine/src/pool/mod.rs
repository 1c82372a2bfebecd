//! Packet memory: owned packets, the pool they come from, a core's cache of it, and batches.
//!
//! A pool is one piece of DMA memory cut into buffers. A buffer is named by its *slot*: its distance from the
//! pool's arena in cache lines. At any moment a slot is in exactly one place: the pool's shared list, a core's
//! [`PoolCache`], a [`Packet`], or a ring ([`Posted`]); moving it is a move of ownership.

mod batch;
mod cache;
mod lanes;
mod map;
mod order;
mod packet;
#[expect(clippy::module_inception, reason = "the pool itself, beside its parts")]
mod pool;
mod posted;
mod shape;

pub use batch::{Batch, MAX_BURST};
pub use cache::PoolCache;
pub use map::PoolMap;
pub use order::Order;
pub use packet::Packet;
pub use pool::Pool;
pub use posted::{Custody, Discard, Peek, Posted, Received, Sent, Verdict};
pub use shape::{PoolBuilder, PoolError};

/// Shift between a slot and its distance in bytes from the arena: slots count cache lines.
const LINE_SHIFT: u32 = 6;
