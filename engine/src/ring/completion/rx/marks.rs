//! What a device says of received packets, where it was asked to.

use super::super::{Format, Notify};
use super::RxRing;
use crate::offload::Offload;
use crate::pool::{Batch, Packet, PoolCache, Received};

/// What becomes of a packet.
enum Fate {
    Kept,
    /// It says of itself what cannot be.
    Damaged,
    /// Longer than a frame may be, and not to be cut.
    Long,
}

impl<F: Format, N: Notify> RxRing<F, N> {
    /// Reads the prefixes of the packets from `first` on, and drops those whose prefix is nonsense.
    #[inline(never)]
    pub(super) fn read_marks(
        &mut self,
        first: usize,
        cache: &mut PoolCache,
        out: &mut Batch,
        got: &mut Received,
    ) {
        let mut at = first;
        while let Some(packet) = out.as_mut_slice().get_mut(at) {
            let fate = self.read_mark(packet);
            if matches!(fate, Fate::Kept) {
                at += 1;
                continue;
            }
            let Some(packet) = out.remove(at) else { break };
            got.packets -= 1;
            got.bytes -= packet.len() as u64;
            match fate {
                Fate::Long => got.lengths += 1,
                _ => self.counters.rx_errors.add(1),
            }
            cache.free_one(packet);
        }
    }

    fn read_mark(&self, packet: &mut Packet) -> Fate {
        let len = packet.len();
        let offload = packet
            .front(F::PREFIX)
            .and_then(|prefix| F::received(prefix, len));
        let Some(offload) = offload.filter(|offload| self.offloads.admit(offload)) else {
            return Fate::Damaged;
        };
        if offload.segmentation.is_none() && len > self.limit.get() as usize {
            return Fate::Long;
        }
        if offload != Offload::default() {
            packet.set_offload(offload);
        }
        Fate::Kept
    }
}
