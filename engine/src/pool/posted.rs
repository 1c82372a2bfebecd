mod copies;
mod custody;
mod outcome;
mod parts;
mod receive;
mod send;

pub use custody::Custody;
pub use outcome::{Discard, Received, Sent, Verdict};
pub use parts::Peek;

use super::cache::copy;
use super::packet::MOST_HEADROOM;
use super::{LINE_SHIFT, Packet, Pool, PoolCache, PoolMap};
use copies::Copies;
use custody::Parked;
use std::collections::VecDeque;
use std::fmt;
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
