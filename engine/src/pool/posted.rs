mod copies;
mod custody;
mod outcome;
mod parts;

pub use custody::Custody;
pub use outcome::{Discard, Received, Sent, Verdict};
pub use parts::Peek;

use super::cache::copy;
use super::packet::MOST_HEADROOM;
use super::{Batch, LINE_SHIFT, Packet, Pool, PoolCache, PoolMap};
use crate::mem::Iova;
use crate::offload::Offload;
use copies::Copies;
use custody::Parked;
use std::collections::VecDeque;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The buffers that a device has, in the order in which it gives them back: the owner's side of an in-order ring.
///
/// A packet that is in here cannot be named. Dropping a `Posted` does not free anything while the device may still
/// write: the slots go to the [`Custody`] of the device handle, which frees them once the device is quiet.
pub struct Posted {
    slots: Box<[u32]>,
    mask: u32,
    /// Free-running: oldest slot, and one past the newest.
    head: u32,
    tail: u32,
    map: PoolMap,
    /// Packets of other pools, by position; their slot in `slots` is `FOREIGN`.
    foreign: VecDeque<(u32, Packet)>,
    others: Vec<PoolMap>,
    copies: Copies,
    /// Bytes in front of a received frame.
    headroom: u16,
    custody: Arc<Custody>,
    /// In the middle of a frame that is being discarded.
    skipping: bool,
}

/// Marks a position whose packet is of another pool. No slot has this number: an arena has fewer lines.
const FOREIGN: u32 = u32::MAX;

/// Writes what stands in front of a packet with an offload: the offload, and the bytes, which are zero.
type Describe<'a> = Option<&'a mut dyn FnMut(&Offload, &mut [u8])>;

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
    /// An empty ring of `len` positions (a power of two) over a mapped pool. Packets of `others` can be sent too.
    ///
    /// `None` when `len` is not a power of two.
    pub fn new(map: &PoolMap, others: &[PoolMap], len: u32, custody: &Arc<Custody>) -> Option<Self> {
        let slots = vec![0; len as usize].into_boxed_slice();
        len.is_power_of_two().then(|| Self {
            slots,
            mask: len - 1,
            head: 0,
            tail: 0,
            map: map.clone(),
            foreign: VecDeque::new(),
            others: others.to_vec(),
            copies: Copies::default(),
            headroom: map.pool().headroom() as u16,
            custody: custody.clone(),
            skipping: false,
        })
    }

    /// The same, for a device that leaves at least `bytes` free in front of a received frame, whatever the pool's headroom.
    ///
    /// `None` where that leaves no room for a frame.
    pub fn with_headroom(mut self, bytes: usize) -> Option<Self> {
        let headroom = bytes.max(self.pool().headroom());
        self.headroom = u16::try_from(headroom)
            .ok()
            .filter(|bytes| usize::from(*bytes) <= MOST_HEADROOM)?;
        (self.room() > 0).then_some(self)
    }

    /// Bytes that the device may write behind the headroom, and no more than a packet's length can say.
    pub fn room(&self) -> usize {
        let behind = self.pool().buffer_len().saturating_sub(self.headroom.into());
        behind.min(u16::MAX.into())
    }

    /// Buffers that the device has.
    #[inline(always)]
    pub fn len(&self) -> u32 {
        self.tail.wrapping_sub(self.head)
    }

    /// Whether the device has none.
    pub fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// Free-running index of the next position to fill.
    #[inline(always)]
    pub fn tail(&self) -> u32 {
        self.tail
    }

    /// Free-running index of the oldest position.
    #[inline(always)]
    pub fn head(&self) -> u32 {
        self.head
    }

    /// The pool whose packets come out.
    pub fn pool(&self) -> &Pool {
        self.map.pool()
    }

    #[inline(always)]
    fn set(&mut self, index: u32, slot: u32) {
        // SAFETY: masked by the length minus one.
        unsafe { *self.slots.get_unchecked_mut((index & self.mask) as usize) = slot };
    }

    #[inline(always)]
    fn get(&self, index: u32) -> u32 {
        // SAFETY: masked by the length minus one.
        unsafe { *self.slots.get_unchecked((index & self.mask) as usize) }
    }

    /// Whether the device was stopped: then nothing is handed to it any more, and its doorbells are no longer this
    /// ring's to touch.
    #[inline(always)]
    pub fn is_stopped(&self) -> bool {
        self.custody.quiet.load(Ordering::Acquire)
    }

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
    fn recycle(&mut self, cache: &mut PoolCache, index: u32) {
        let slot = self.get(index);
        self.head = index.wrapping_add(1);
        if cache.pool() == self.pool() {
            cache.put(1)[0] = slot;
        } else {
            self.pool().inner().give(&[slot]);
        }
    }

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

    /// Takes the `n` oldest buffers back from the device, as free ones.
    #[inline]
    pub fn reclaim(&mut self, cache: &mut PoolCache, n: u32) {
        let n = n.min(self.len());
        if self.foreign.is_empty() && cache.pool() == self.pool() {
            self.reclaim_run(cache, n);
        } else {
            self.reclaim_odd(n);
        }
    }

    #[inline(always)]
    fn reclaim_run(&mut self, cache: &mut PoolCache, mut n: u32) {
        while n > 0 {
            let at = (self.head & self.mask) as usize;
            let run = (n as usize).min(64).min(self.slots.len() - at);
            copy(&self.slots[at..at + run], cache.put(run));
            self.head = self.head.wrapping_add(run as u32);
            n -= run as u32;
        }
    }

    #[cold]
    #[inline(never)]
    fn reclaim_odd(&mut self, n: u32) {
        for _ in 0..n {
            let slot = self.get(self.head);
            if slot == FOREIGN {
                self.foreign.pop_front(); // drops the packet: home by its own way
            } else {
                self.pool().inner().give(&[slot]);
            }
            self.head = self.head.wrapping_add(1);
        }
    }
}

/// Writes what stands in front of a packet; false where there is no room for it.
fn write_front(packet: &mut Packet, prefix: usize, describe: &mut Describe<'_>) -> bool {
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

impl Drop for Posted {
    fn drop(&mut self) {
        let slots = (0..self.len())
            .map(|i| self.get(self.head.wrapping_add(i)))
            .filter(|slot| *slot != FOREIGN)
            .collect();
        let foreign = std::mem::take(&mut self.foreign)
            .into_iter()
            .map(|(_, packet)| packet)
            .collect();
        self.give_spare();
        self.custody.park(Parked {
            slots,
            foreign,
            map: self.map.clone(),
            _others: std::mem::take(&mut self.others),
        });
    }
}

impl fmt::Debug for Posted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Posted({} of {})", self.len(), self.mask + 1)
    }
}

const _: () = assert!(crate::mem::ARENA >> LINE_SHIFT < FOREIGN as usize);
