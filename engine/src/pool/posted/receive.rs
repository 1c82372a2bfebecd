//! What a device is to write to: empty buffers go to it, frames come back.

use super::{Discard, Peek, Posted, Received, Verdict};
use crate::mem::Iova;
use crate::pool::{Batch, Packet, PoolCache};

impl Posted {
    /// Hands up to `n` empty buffers to the device: `each` gets the position and the address to write there.
    /// Returns how many there were; fewer than asked means that the pool is empty, or the device stopped.
    #[inline]
    pub fn fill(&mut self, cache: &mut PoolCache, n: u32, mut each: impl FnMut(u32, Iova)) -> u32 {
        if self.is_stopped() {
            return 0;
        }
        let n = n.min(self.mask + 1 - self.len());
        if cache.pool() != self.map.pool() {
            return self.fill_from(&mut self.pool().cache(), n, &mut each);
        }
        self.fill_from(cache, n, &mut each)
    }

    #[inline(always)]
    fn fill_from(&mut self, cache: &mut PoolCache, n: u32, each: &mut impl FnMut(u32, Iova)) -> u32 {
        let mut done = 0;
        let further = u64::from(self.headroom) - self.pool().headroom() as u64;
        while done < n {
            let slots = cache.take((n - done).min(64) as usize);
            for slot in slots {
                each(self.tail, self.map.slot_iova(*slot).offset(further));
                self.set(self.tail, *slot);
                self.tail = self.tail.wrapping_add(1);
            }
            done += slots.len() as u32;
            if slots.is_empty() {
                break;
            }
        }
        done
    }

    /// Takes completed receive buffers in order, as packets at the back of `out`, until there is no room or `next`
    /// says [`Verdict::Pending`]. A length beyond the buffer is never believed.
    #[inline]
    pub fn receive(
        &mut self,
        cache: &mut PoolCache,
        out: &mut Batch,
        mut next: impl FnMut(u32) -> Verdict,
    ) -> Received {
        self.receive_up_to(cache, out, u32::MAX, |index, _| next(index))
    }

    /// Like [`Posted::receive`], for frames of `most` bytes at most, with a look at the buffer for those who ask: do so only
    /// when the device is done with it.
    #[inline(always)]
    pub fn receive_up_to(
        &mut self,
        cache: &mut PoolCache,
        out: &mut Batch,
        most: u32,
        mut next: impl FnMut(u32, &dyn Fn() -> Peek) -> Verdict,
    ) -> Received {
        let (base, headroom) = (self.pool().base(), self.headroom);
        let room = most.min(self.room() as u32);
        // No length is below 0: while a split frame is skipped, the same comparison discards its last part.
        let mut most = if self.skipping { 0 } else { room };
        let mut spare = out.spare().iter_mut();
        let mut result = Received::default();
        let (mut head, tail) = (self.head, self.tail);
        while head != tail {
            if spare.len() == 0 {
                break;
            }
            match next(head, &|| Peek::at(base, self.get(head), headroom)) {
                Verdict::Frame(len) if len.wrapping_sub(1) < most => {
                    // SAFETY: the slot was posted by us and leaves the ring here (head moves on); the length was
                    // checked against the room after the headroom.
                    let packet = unsafe { Packet::from_slot(base, self.get(head), len as u16, headroom) };
                    let Some(to) = spare.next() else { break };
                    to.write(packet);
                    result.packets += 1;
                    result.bytes += len as u64;
                }
                Verdict::Pending => break,
                Verdict::Part => {
                    most = 0;
                    self.recycle(cache, head);
                }
                Verdict::Frame(_) | Verdict::Discard(Discard::Length) => {
                    most = room;
                    result.lengths += 1;
                    self.recycle(cache, head);
                }
                Verdict::Discard(Discard::Error) => {
                    most = room;
                    result.errors += 1;
                    self.recycle(cache, head);
                }
            }
            head = head.wrapping_add(1);
        }
        self.head = head;
        self.skipping = most == 0;
        // SAFETY: exactly that many were written, from the front of `spare` on.
        unsafe { out.grow(result.packets as usize) };
        result
    }

    /// Takes back the slot at `index`. The head moves first: should a format's code panic later in this burst, no slot
    /// is in two places (those already taken out are leaked).
    #[cold]
    pub(super) fn recycle(&mut self, cache: &mut PoolCache, index: u32) {
        let slot = self.get(index);
        self.head = index.wrapping_add(1);
        if cache.pool() == self.pool() {
            cache.put(1)[0] = slot;
        } else {
            self.pool().inner().give(&[slot]);
        }
    }
}
