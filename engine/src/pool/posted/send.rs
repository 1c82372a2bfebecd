//! What a device is to read: packets go to it.

use super::{FOREIGN, Posted, Sent};
use crate::mem::Iova;
use crate::offload::Offload;
use crate::pool::{Batch, Packet};
use std::ops::RangeInclusive;

/// Writes what stands in front of a packet with an offload: the offload, and the bytes, which are zero.
pub(super) type Describe<'a> = Option<&'a mut dyn FnMut(&Offload, &mut [u8])>;

/// Lengths that may be sent, for one comparison: never empty packets.
#[derive(Clone, Copy)]
struct Lengths {
    least: u32,
    count: u32,
}

impl Lengths {
    fn new(lens: &RangeInclusive<u32>) -> Self {
        let least = (*lens.start()).max(1);
        let count = lens.end().saturating_add(1).saturating_sub(least);
        Self { least, count }
    }

    #[inline(always)]
    fn contain(self, len: u32) -> bool {
        len.wrapping_sub(self.least) < self.count
    }
}

impl Posted {
    /// Hands up to `n` packets from the front of `batch` to the device: `each` gets position, address, length.
    /// Packets of other than `lens` bytes or empty, and packets the device cannot reach, are taken and dropped. When
    /// the device was stopped, nothing is taken.
    #[inline]
    pub fn send(
        &mut self,
        batch: &mut Batch,
        n: u32,
        lens: RangeInclusive<u32>,
        each: impl FnMut(u32, Iova, u32),
    ) -> Sent {
        self.send_behind(0, batch, n, lens, each)
    }

    /// Like [`Posted::send`], with `prefix` bytes of zeros in front of each packet's first byte. The address and the
    /// length are still those of the packet. One that has no room for them is dropped as too long. One that asks for an offload
    /// and is of another pool, or of one that has a prefix, is left, and all behind it; look at [`Batch::has_offloads`] before.
    #[inline(always)]
    pub fn send_behind(
        &mut self,
        prefix: usize,
        batch: &mut Batch,
        n: u32,
        lens: RangeInclusive<u32>,
        mut each: impl FnMut(u32, Iova, u32),
    ) -> Sent {
        self.send_all::<false>(prefix, batch, n, lens, None, &mut each)
    }

    /// Like [`Posted::send_behind`], for a device that does what packets ask for: `describe` writes the prefix of such a packet
    /// from its offload. One that is to be cut may have any length.
    pub fn send_offloads(
        &mut self,
        prefix: usize,
        batch: &mut Batch,
        n: u32,
        lens: RangeInclusive<u32>,
        describe: &mut dyn FnMut(&Offload, &mut [u8]),
        mut each: impl FnMut(u32, Iova, u32),
    ) -> Sent {
        self.send_all::<true>(prefix, batch, n, lens, Some(describe), &mut each)
    }

    #[inline(always)]
    fn send_all<const OFFLOADS: bool>(
        &mut self,
        prefix: usize,
        batch: &mut Batch,
        n: u32,
        lens: RangeInclusive<u32>,
        mut describe: Describe<'_>,
        each: &mut impl FnMut(u32, Iova, u32),
    ) -> Sent {
        let lens = Lengths::new(&lens);
        let mut sent = Sent::default();
        if self.is_stopped() {
            return sent;
        }
        let mut left = n.min(self.mask + 1 - self.len()).min(batch.len() as u32);
        while left > 0 {
            let run = self.send_run::<OFFLOADS>(prefix, batch, left, lens, &mut sent, each);
            left -= run;
            if left > 0 {
                if !self.send_odd(prefix, batch, lens, &mut describe, &mut sent, each) {
                    break;
                }
                left -= 1;
            }
        }
        sent
    }

    /// Sends packets of our own pool with good lengths and nothing to ask for; stops at the first other one.
    #[inline(always)]
    fn send_run<const OFFLOADS: bool>(
        &mut self,
        prefix: usize,
        batch: &mut Batch,
        n: u32,
        lens: Lengths,
        sent: &mut Sent,
        each: &mut impl FnMut(u32, Iova, u32),
    ) -> u32 {
        let mut run = 0;
        let mut tail = self.tail;
        for packet in batch.as_mut_slice().iter_mut().take(n as usize) {
            let len = packet.len() as u32;
            let Some(iova) = self.map.iova(packet).filter(|_| lens.contain(len)) else {
                break;
            };
            if OFFLOADS && packet.has_offload() || !packet.clear_front(prefix) {
                break;
            }
            self.set(tail, packet.slot());
            each(tail, iova, len);
            sent.bytes += len as u64;
            tail = tail.wrapping_add(1);
            run += 1;
        }
        self.tail = tail;
        sent.packets += run;
        // SAFETY: the slots of the first `run` packets were taken over above.
        unsafe { batch.forget_front(run as usize) };
        run
    }

    /// One packet that [`Posted::send_run`] does not take; `false`, and it stays, when there is no buffer to copy it to, or
    /// nobody to describe its offload.
    #[cold]
    #[inline(never)]
    fn send_odd(
        &mut self,
        prefix: usize,
        batch: &mut Batch,
        lens: Lengths,
        describe: &mut Describe<'_>,
        sent: &mut Sent,
        each: &mut impl FnMut(u32, Iova, u32),
    ) -> bool {
        let Some(first) = batch.as_slice().first() else {
            return false;
        };
        if first.has_offload() && describe.is_none() {
            sent.offloads = 1;
            return false;
        }
        let long = first.has_offload() && first.offload().segmentation.is_some();
        let good = long || lens.contain(first.len() as u32);
        if good && self.copies.are_made_of(first) {
            return self.send_copy(prefix, batch, describe, sent, each);
        }
        let Some(mut packet) = batch.pop() else {
            return false;
        };
        if !good || !write_front(&mut packet, prefix, describe) {
            sent.lengths += 1;
            return true;
        }
        let len = packet.len() as u32;
        let own = self.map.iova(&packet);
        let mut others = self.others.iter();
        let Some(iova) = own.or_else(|| others.find_map(|map| map.iova(&packet))) else {
            sent.unmapped += 1;
            return true;
        };
        if own.is_some() {
            self.set(self.tail, packet.into_slot());
        } else {
            self.set(self.tail, FOREIGN);
            self.foreign.push_back((self.tail, packet));
        }
        each(self.tail, iova, len);
        self.tail = self.tail.wrapping_add(1);
        sent.packets += 1;
        sent.bytes += len as u64;
        true
    }
}

/// Writes what stands in front of a packet; false where there is no room for it.
pub(super) fn write_front(packet: &mut Packet, prefix: usize, describe: &mut Describe<'_>) -> bool {
    if !packet.make_room(prefix) {
        return false;
    }
    let offload = packet.offload();
    let Some(front) = packet.front(prefix) else {
        return false;
    };
    front.fill(0);
    if let Some(describe) = describe.as_mut().filter(|_| offload.is_open()) {
        describe(&offload, front);
    }
    true
}
