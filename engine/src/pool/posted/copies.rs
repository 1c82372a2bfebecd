//! Packets of pools that a device cannot reach, copied to buffers of its own.

use super::send::{Describe, write_front};
use super::{Posted, Sent};
use crate::mem::Iova;
use crate::pool::{Batch, Packet, Pool};
use std::fmt;

/// Buffers taken from the pool at a time.
const LOT: usize = 32;

/// The pools whose packets are copied, and buffers for the next ones.
#[derive(Default)]
pub(super) struct Copies {
    pools: Vec<Pool>,
    spare: Vec<u32>,
}

impl Copies {
    pub fn are_made_of(&self, packet: &Packet) -> bool {
        let arena = packet.arena();
        self.pools
            .iter()
            .any(|pool| pool.base().as_ptr() as usize == arena)
    }
}

impl Posted {
    /// The same, with packets of `pools` copied to buffers of its own when they are sent: the device cannot reach them.
    #[must_use]
    pub fn copying(mut self, pools: &[Pool]) -> Self {
        let strange = pools.iter().filter(|pool| *pool != self.pool());
        self.copies.pools = strange.cloned().collect();
        self
    }

    /// Sends a copy of the first packet, whose length is one that may be sent; `false`, and it stays, where there is no
    /// buffer. One that does not fit is dropped.
    pub(super) fn send_copy(
        &mut self,
        prefix: usize,
        batch: &mut Batch,
        describe: &mut Describe<'_>,
        sent: &mut Sent,
        each: &mut impl FnMut(u32, Iova, u32),
    ) -> bool {
        let Some(slot) = self.spare() else {
            return false;
        };
        let Some(packet) = batch.pop() else {
            return false;
        };
        let (base, headroom) = (self.pool().base(), self.pool().headroom() as u16);
        // SAFETY: the slot was just taken from this pool, and the headroom is within the buffer.
        let mut copy = unsafe { Packet::from_slot(base, slot, 0, headroom) };
        let good = copy.copy_of(&packet) && write_front(&mut copy, prefix, describe);
        let Some(iova) = self.map.iova(&copy).filter(|_| good) else {
            self.copies.spare.push(copy.into_slot());
            sent.lengths += 1;
            return true;
        };
        self.set(self.tail, copy.into_slot());
        each(self.tail, iova, packet.len() as u32);
        self.tail = self.tail.wrapping_add(1);
        sent.packets += 1;
        sent.copied += 1;
        sent.bytes += packet.len() as u64;
        true
    }

    fn spare(&mut self) -> Option<u32> {
        if self.copies.spare.is_empty() {
            let mut lot = [0; LOT];
            let got = self.pool().inner().take(&mut lot);
            if got == 0 {
                self.pool().count_starved();
            }
            self.copies.spare.extend_from_slice(&lot[..got]);
        }
        self.copies.spare.pop()
    }

    /// Buffers that no device has seen go home.
    pub(super) fn give_spare(&mut self) {
        let spare = std::mem::take(&mut self.copies.spare);
        if !spare.is_empty() {
            self.pool().inner().give(&spare);
        }
    }
}

impl fmt::Debug for Copies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Copies(of {:?})", self.pools)
    }
}
