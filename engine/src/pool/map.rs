use super::{LINE_SHIFT, Packet, Pool};
use crate::mem::{Iova, Mapping};
use std::sync::Arc;

/// A pool as one domain sees it. While it lives, the pool stays mapped there.
#[derive(Clone, Debug)]
pub struct PoolMap {
    // Declared before the pool: unmapped before the memory can go.
    mapping: Arc<Mapping>,
    pool: Pool,
    delta: u64,
}

impl PoolMap {
    pub(super) fn new(pool: &Pool, mapping: Arc<Mapping>) -> Self {
        Self {
            delta: mapping.delta(),
            mapping,
            pool: pool.clone(),
        }
    }

    /// The pool.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The pool's memory, as the device sees it.
    pub fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    /// Where the device finds a slot's received data: after the headroom.
    #[inline(always)]
    pub(super) fn slot_iova(&self, slot: u32) -> Iova {
        let inner = self.pool.inner();
        let va = inner.base.as_ptr() as u64 + ((slot as u64) << LINE_SHIFT) + inner.headroom as u64;
        Iova::new(va.wrapping_add(self.delta))
    }

    /// Where the device finds a packet's first byte; `None` for a packet of another pool.
    #[inline(always)]
    pub fn iova(&self, packet: &Packet) -> Option<Iova> {
        let ours = packet.arena() == self.pool.inner().base.as_ptr() as usize;
        ours.then(|| Iova::new(packet.address().wrapping_add(self.delta)))
    }
}
