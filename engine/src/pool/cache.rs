use super::lanes::{Lanes, Mould};
use super::{Batch, Packet, Pool};
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

/// One core's stack of free slots of one pool. `Send`, not `Sync`: it moves to its core and stays there.
///
/// Receive and transmit take it as an argument, which is how the two queues of a core share it without a lock, a
/// global or a reference count (ADR 0002). Slots move between it and the pool's shared list `BULK` and more at a
/// time.
pub struct PoolCache {
    pool: Pool,
    len: usize,
    slots: Box<Stack>,
    lanes: Lanes,
    not_sync: PhantomData<Cell<()>>,
}

/// At a cache line, so that bursts of 16 and its multiples straddle none.
#[repr(align(64))]
struct Stack([u32; SIZE]);

/// Slots the cache can hold.
const SIZE: usize = 512;
/// Slots moved to or from the shared list at a time, at the least.
const BULK: usize = 64;

impl PoolCache {
    pub(super) fn new(pool: Pool) -> Self {
        Self {
            pool,
            len: 0,
            slots: Box::new(Stack([0; SIZE])),
            lanes: Lanes::detect(),
            not_sync: PhantomData,
        }
    }

    /// The pool it belongs to.
    #[inline(always)]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Slots in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Makes sure that `n` (at most `SIZE - BULK`) slots are here, if the pool has them; returns how many are.
    #[inline(always)]
    fn fill(&mut self, n: usize) -> usize {
        if self.len < n {
            self.refill(n);
        }
        self.len.min(n)
    }

    #[cold]
    #[inline(never)]
    fn refill(&mut self, n: usize) {
        let want = (n - self.len)
            .next_multiple_of(BULK)
            .max(BULK * 2)
            .min(SIZE - self.len);
        self.len += self
            .pool
            .inner()
            .take(&mut self.slots.0[self.len..self.len + want]);
        if self.len < n {
            self.pool.count_starved();
        }
    }

    /// Takes up to `n` slots off the top; the caller owns what it is shown.
    #[inline(always)]
    pub(super) fn take(&mut self, n: usize) -> &[u32] {
        let n = self.fill(n.min(SIZE - BULK));
        self.len -= n;
        // SAFETY: `len + n` was within the stack before the line above.
        unsafe { self.slots.0.get_unchecked(self.len..self.len + n) }
    }

    /// Room on top of the stack for `n` (at most [`BULK`]) slots; what is written there counts when `len` does.
    #[inline(always)]
    fn top(&mut self, n: usize) -> &mut [u32] {
        debug_assert!(n <= BULK);
        if self.len + n > SIZE {
            self.spill();
        }
        // SAFETY: `spill` left room for BULK slots, and callers put no more at a time.
        unsafe { self.slots.0.get_unchecked_mut(self.len..self.len + n) }
    }

    /// Room for `n` (at most [`BULK`]) slots, to be written by the caller, who gives up ownership of them.
    #[inline(always)]
    pub(super) fn put(&mut self, n: usize) -> &mut [u32] {
        self.top(n);
        let at = self.len;
        self.len += n;
        // SAFETY: `top` left room for `n` slots there.
        unsafe { self.slots.0.get_unchecked_mut(at..at + n) }
    }

    /// Gives half of the stack, the coldest half, back to the pool.
    #[cold]
    #[inline(never)]
    fn spill(&mut self) {
        let n = SIZE / 2;
        self.pool.inner().give(&self.slots.0[..n]);
        self.slots.0.copy_within(n..self.len, 0);
        self.len -= n;
    }

    /// Takes free slots out to the front of `out` (64 at most), shows them, and puts them back: the stack alone, to
    /// measure it.
    #[doc(hidden)]
    #[inline]
    pub fn churn(&mut self, out: &mut [u32], look: impl FnOnce(&[u32])) {
        let slots = self.take(out.len().min(BULK));
        let out = &mut out[..slots.len()];
        copy(slots, out);
        look(out);
        copy(out, self.put(out.len()));
    }

    /// One packet of length 0; `None` when the pool is empty.
    #[inline]
    pub fn alloc(&mut self) -> Option<Packet> {
        let (base, headroom) = (self.pool.base(), self.pool.headroom() as u16);
        let slot = *self.take(1).first()?;
        // SAFETY: the slot was just taken from this pool; the headroom is within the buffer.
        Some(unsafe { Packet::from_slot(base, slot, 0, headroom) })
    }

    /// Fills the batch with up to `n` packets of `len` bytes (at most the data room), content as the buffers have
    /// it; returns how many there were.
    #[inline]
    pub fn alloc_batch(&mut self, out: &mut Batch, n: usize, len: usize) -> usize {
        let (base, headroom) = (self.pool.base(), self.pool.headroom() as u16);
        let len = len.min(self.pool.data_room()) as u16;
        let (mould, make) = (Mould::new(base.as_ptr() as u64, len, headroom), self.lanes.make);
        let spare = out.spare();
        let slots = self.take(n.min(spare.len()));
        // SAFETY: the slots were just taken from this pool, and there is room for them; headroom and length are within the buffer.
        unsafe { make(slots, spare.as_mut_ptr(), mould) };
        let got = slots.len();
        // SAFETY: the first `got` were written above.
        unsafe { out.grow(got) };
        got
    }

    /// Gives a whole batch back.
    #[inline]
    pub fn free(&mut self, batch: &mut Batch) {
        self.free_counted(batch);
    }

    /// Gives a whole batch back and returns the bytes of its packets: in one pass over the handles, for who counts them.
    #[inline(always)]
    pub fn free_counted(&mut self, batch: &mut Batch) -> u64 {
        let arena = self.pool.base().as_ptr() as usize;
        let packets = batch.as_slice();
        // One pass without a branch: the slots are written where they belong, and count only when all packets
        // are of this pool.
        let (take, n) = (self.lanes.take, packets.len());
        // SAFETY: the top has room for as many slots as there are packets.
        let seen = unsafe { take(packets, self.top(n).as_mut_ptr(), arena as u64) };
        let bytes = seen.bytes;
        if seen.strange != 0 {
            batch.clear(); // packets of another pool: each knows its own way home
            return bytes.into();
        }
        let n = packets.len();
        self.len += n;
        // SAFETY: all `n` slots were taken over above.
        unsafe { batch.forget_front(n) };
        bytes.into()
    }

    /// Gives those packets of the batch back that `keep` does not want, and returns how many they were; the others keep their
    /// order. What a filter is made of.
    ///
    /// ```
    /// # use barline::mem::{PageSize, Source};
    /// # use barline::pool::{Batch, Pool};
    /// # let source = Source::MemFd(PageSize::Base4K);
    /// # let pool = Pool::builder().packets(64).source(source).build()?;
    /// let (mut cache, mut batch) = (pool.cache(), Batch::new());
    /// cache.alloc_batch(&mut batch, 8, 64);
    /// batch.as_mut_slice()[3][12..14].copy_from_slice(&[0x88, 0xcc]);
    /// let dropped = cache.retain(&mut batch, |frame| frame[12..14] == [0x88, 0xcc]);
    /// assert_eq!((dropped, batch.len()), (7, 1));
    /// # Ok::<(), barline::pool::PoolError>(())
    /// ```
    pub fn retain(&mut self, batch: &mut Batch, mut keep: impl FnMut(&mut Packet) -> bool) -> usize {
        let before = batch.len();
        for _ in 0..before {
            let Some(mut packet) = batch.pop() else { break };
            if !keep(&mut packet) {
                self.free_one(packet);
            } else if let Err(packet) = batch.push(packet) {
                // There is room: one was taken out before.
                self.free_one(packet);
            }
        }
        before - batch.len()
    }

    /// Gives one packet back.
    #[inline]
    pub fn free_one(&mut self, packet: Packet) {
        if packet.arena() == self.pool.base().as_ptr() as usize {
            self.put(1)[0] = packet.into_slot();
        }
    }

    /// Gives everything back to the pool's shared list, for other cores.
    pub fn flush(&mut self) {
        self.pool.inner().give(&self.slots.0[..self.len]);
        self.len = 0;
    }
}

/// Copies as many slots as both have, which is the same number, eight at a time: a call to copy so few bytes would cost more than the copy.
#[inline(always)]
pub(super) fn copy(from: &[u32], to: &mut [u32]) {
    let ((from, odd), (to, rest)) = (from.as_chunks::<8>(), to.as_chunks_mut::<8>());
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
    for (to, from) in rest.iter_mut().zip(odd) {
        *to = *from;
    }
}

impl Drop for PoolCache {
    fn drop(&mut self) {
        self.flush();
    }
}

impl fmt::Debug for PoolCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PoolCache({} of {:?})", self.len, self.pool)
    }
}
