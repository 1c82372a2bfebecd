use super::cache::PoolCache;
use super::packet::MOST_HEADROOM;
use super::{LINE_SHIFT, Packet};
use crate::mem::{
    ARENA, Access, DmaDomain, DmaError, Iova, Mapping, Memory, MemoryError, Numa, PageSize, Source,
};
use crate::offload::{Offload, Table};
use std::collections::BTreeMap;
use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Why a pool could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// Sizes out of range.
    #[error("a pool of {packets} packets of {room} bytes (headroom {headroom}) cannot be made: {why}")]
    Shape {
        /// Packets asked for.
        packets: usize,
        /// Data room asked for in bytes.
        room: usize,
        /// Headroom asked for in bytes.
        headroom: usize,
        /// The rule that it breaks.
        why: &'static str,
    },
    /// No memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

/// Sizes and placement of a pool. Made by [`Pool::builder`].
#[derive(Clone, Debug)]
pub struct PoolBuilder {
    packets: usize,
    room: usize,
    headroom: usize,
    source: Source,
    numa: Numa,
}

impl PoolBuilder {
    /// Number of packets (default 8,192).
    #[must_use]
    pub fn packets(mut self, packets: usize) -> Self {
        self.packets = packets;
        self
    }

    /// Bytes of a packet's data room, without headroom (default 2,048, which NICs with a granularity of 1 KiB want).
    #[must_use]
    pub fn data_room(mut self, bytes: usize) -> Self {
        self.room = bytes;
        self
    }

    /// Bytes before a received packet (default 128).
    #[must_use]
    pub fn headroom(mut self, bytes: usize) -> Self {
        self.headroom = bytes;
        self
    }

    /// Where the memory comes from.
    #[must_use]
    pub fn source(mut self, source: Source) -> Self {
        self.source = source;
        self
    }

    /// The memory node.
    #[must_use]
    pub fn numa(mut self, numa: Numa) -> Self {
        self.numa = numa;
        self
    }

    /// Distance between buffers in bytes: whole cache lines, and an odd number of them, because buffers whose
    /// distance is a power of two would share a few sets of the cache.
    fn stride(&self) -> usize {
        let lines = self.room.saturating_add(self.headroom).div_ceil(64);
        (lines | 1).saturating_mul(64)
    }

    /// Bytes of memory that the pool takes on the pages that it would get now: for a [`crate::mem::Plan`]. On 4 KiB
    /// pages it takes up to twice as much as on huge ones.
    pub fn bytes(&self) -> usize {
        let on = |page| Layout::new(self, page).bytes(self.packets);
        on(self.source.expected_page(on(PageSize::Huge2M)))
    }

    /// Makes the pool.
    ///
    /// # Errors
    /// [`PoolError`]; nothing stays allocated.
    pub fn build(self) -> Result<Pool, PoolError> {
        let why = match () {
            () if self.packets == 0 => "at least one packet",
            () if self.room < 64 => "at least 64 bytes",
            () if self.room.saturating_add(self.headroom) > u16::MAX as usize => {
                "data room and headroom are 65,535 bytes at most"
            }
            () if self.headroom > MOST_HEADROOM => "a headroom of 32,767 bytes at most",
            () if Layout::new(&self, PageSize::Base4K).bytes(self.packets) > ARENA - (1 << 30) => {
                "15 GiB at most; make several pools"
            }
            () => "",
        };
        if !why.is_empty() {
            let Self {
                packets,
                room,
                headroom,
                ..
            } = self;
            return Err(PoolError::Shape {
                packets,
                room,
                headroom,
                why,
            });
        }
        let bytes = |page| Layout::new(&self, page).bytes(self.packets);
        let memory = Memory::in_arena(bytes, self.source, self.numa)?;
        Ok(Inner::start(&self, memory))
    }
}

/// Where the buffers of a pool stand in its memory.
///
/// No buffer crosses a page: the halves of one that does are far apart in physical memory, which costs a second
/// translation, and QEMU's igb silently drops a frame that it cannot map as one piece.
#[derive(Clone, Copy, Debug)]
struct Layout {
    stride: usize,
    page: usize,
    /// Buffers a page; 0 where a buffer is longer than a page and has to cross.
    per_page: usize,
    /// Lines left over in a page: pages start their first buffer at different lines, so that the first lines of
    /// buffers alone on their pages do not all fall into one set of the cache.
    slack: usize,
}

impl Layout {
    fn new(shape: &PoolBuilder, page: PageSize) -> Self {
        let (stride, page) = (shape.stride(), page.bytes());
        let per_page = page / stride;
        Self {
            stride,
            page,
            per_page,
            slack: page % stride / 64,
        }
    }

    fn bytes(&self, packets: usize) -> usize {
        match self.per_page {
            0 => packets.saturating_mul(self.stride),
            n => packets.div_ceil(n).saturating_mul(self.page),
        }
    }

    fn offset(&self, index: usize) -> usize {
        match self.per_page {
            0 => index * self.stride,
            n => {
                let page = index / n;
                page * self.page + page % (self.slack + 1) * 64 + index % n * self.stride
            }
        }
    }

    /// Which buffer stands at an offset.
    fn index(&self, offset: usize) -> usize {
        match self.per_page {
            0 => offset / self.stride,
            n => {
                let (page, at) = (offset / self.page, offset % self.page);
                page * n + (at - page % (self.slack + 1) * 64) / self.stride
            }
        }
    }
}

/// A pool of packets. Cheap to clone: all clones are the same pool.
///
/// The memory stays until the last handle *and* the last packet are gone.
pub struct Pool {
    inner: NonNull<Inner>,
}

// SAFETY: `Inner` is shared between threads under its own mutex and atomics.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

pub(super) struct Inner {
    base: NonNull<u8>,
    memory: Arc<Memory>,
    packets: usize,
    buffer_len: usize,
    headroom: u16,
    layout: Layout,
    /// Offset of the first page of buffers in the arena.
    first: usize,
    offloads: Table,
    handles: AtomicUsize,
    starved: AtomicU64,
    shared: Mutex<Shared>,
    maps: Mutex<BTreeMap<usize, Weak<Mapping>>>,
}

struct Shared {
    free: Vec<u32>,
    /// No handle is left: the pool goes when the last slot comes home.
    orphan: bool,
}

impl Inner {
    fn start(shape: &PoolBuilder, memory: Arc<Memory>) -> Pool {
        let (layout, at) = (Layout::new(shape, memory.page_size()), memory.as_ptr());
        let base = memory.arena().unwrap_or(at);
        let first = at.as_ptr() as usize - base.as_ptr() as usize;
        // Highest first, so that the first packets handed out stand at the start of the memory.
        let slot = |index: usize| ((first + layout.offset(index)) >> LINE_SHIFT) as u32;
        let free = (0..shape.packets).rev().map(slot).collect();
        let inner = Box::new(Self {
            base,
            memory,
            packets: shape.packets,
            buffer_len: layout.stride,
            headroom: shape.headroom as u16,
            layout,
            first,
            offloads: Table::default(),
            handles: AtomicUsize::new(1),
            starved: AtomicU64::new(0),
            shared: Mutex::new(Shared { free, orphan: false }),
            maps: Mutex::new(BTreeMap::new()),
        });
        let inner = NonNull::from(Box::leak(inner));
        // SAFETY: the arena's first page is ours and mapped read-write; it is written before any packet exists.
        unsafe { base.cast::<NonNull<Self>>().write(inner) };
        Pool { inner }
    }

    /// # Safety
    /// `arena` is the base of a pool's arena, of which at least one slot or handle is held by the caller.
    pub(super) unsafe fn of_arena<'a>(arena: usize) -> &'a Self {
        // SAFETY: `start` wrote the pool's address there, and the pool lives while slots or handles are out.
        unsafe { (*(arena as *const NonNull<Self>)).as_ref() }
    }

    pub(super) fn buffer_len(&self) -> usize {
        self.buffer_len
    }

    fn index(&self, slot: u32) -> usize {
        self.layout
            .index(((slot as usize) << LINE_SHIFT).saturating_sub(self.first))
    }

    /// What a packet's offload is; the caller owns the slot.
    #[cold]
    pub(super) fn offload(&self, slot: u32, headroom: usize) -> Offload {
        self.offloads.read(self.index(slot), headroom)
    }

    /// See [`Inner::offload`].
    #[cold]
    pub(super) fn set_offload(&self, slot: u32, headroom: usize, offload: Offload) {
        self.offloads
            .write(self.index(slot), self.packets, headroom, offload);
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes slots back that the caller owns.
    pub(super) fn give(&self, slots: &[u32]) {
        let mut shared = self.lock();
        shared.free.extend_from_slice(slots);
        let last = shared.orphan && shared.free.len() == self.packets;
        drop(shared);
        if last {
            // SAFETY: no handle is left and every slot is home, so nobody can reach the pool any more.
            unsafe { Self::destroy(NonNull::from(self)) };
        }
    }

    /// Moves up to `to.len()` slots to the caller; returns how many.
    pub(super) fn take(&self, to: &mut [u32]) -> usize {
        let mut shared = self.lock();
        let n = to.len().min(shared.free.len());
        let rest = shared.free.len() - n;
        to[..n].copy_from_slice(&shared.free[rest..]);
        shared.free.truncate(rest);
        n
    }

    /// # Safety
    /// `inner` came from [`Inner::start`] and nobody uses it any more.
    unsafe fn destroy(inner: NonNull<Self>) {
        // SAFETY: the caller's promise; it was leaked from a box.
        drop(unsafe { Box::from_raw(inner.as_ptr()) });
    }
}

impl Pool {
    /// Starts with the defaults: 8,192 packets of 2,048 bytes, headroom 128.
    pub fn builder() -> PoolBuilder {
        let (source, numa) = (Source::default(), Numa::default());
        PoolBuilder {
            packets: 8192,
            room: 2048,
            headroom: 128,
            source,
            numa,
        }
    }

    #[inline(always)]
    pub(super) fn inner(&self) -> &Inner {
        // SAFETY: a handle keeps the pool alive.
        unsafe { self.inner.as_ref() }
    }

    /// A cache of this pool, for one core.
    pub fn cache(&self) -> PoolCache {
        PoolCache::new(self.clone())
    }

    /// Number of packets in all.
    pub fn packets(&self) -> usize {
        self.inner().packets
    }

    /// Packets in the shared list: all of them when no cache, ring or packet holds any.
    pub fn available(&self) -> usize {
        self.inner().lock().free.len()
    }

    /// Bytes from the start of a buffer to its end, headroom included.
    pub fn buffer_len(&self) -> usize {
        self.inner().buffer_len
    }

    /// Bytes before a received packet.
    pub fn headroom(&self) -> usize {
        self.inner().headroom as usize
    }

    /// Bytes that a device may write to a buffer: at least as many as were asked for, and no more than a packet's
    /// length can say.
    pub fn data_room(&self) -> usize {
        (self.buffer_len() - self.headroom()).min(u16::MAX as usize)
    }

    /// How often the pool had fewer packets than were asked for.
    pub fn starved(&self) -> u64 {
        self.inner().starved.load(Ordering::Relaxed)
    }

    /// Whether any packet of it ever had an offload.
    #[inline(always)]
    pub fn has_offloads(&self) -> bool {
        self.inner().offloads.is_used()
    }

    pub(super) fn count_starved(&self) {
        self.inner().starved.fetch_add(1, Ordering::Relaxed);
    }

    /// The memory behind it.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.inner().memory
    }

    #[inline(always)]
    pub(super) fn base(&self) -> NonNull<u8> {
        self.inner().base
    }

    /// One packet by the slow way: an empty one of length 0. `None` when the pool is empty.
    pub fn alloc(&self) -> Option<Packet> {
        let mut slot = [0];
        if self.inner().take(&mut slot) == 0 {
            self.count_starved();
            return None;
        }
        // SAFETY: the slot was just taken from this pool, and the headroom is within the buffer.
        Some(unsafe { Packet::from_slot(self.base(), slot[0], 0, self.inner().headroom) })
    }

    /// Registers the pool with a domain: one MAP call, shared by all who ask while anybody keeps the result.
    ///
    /// # Errors
    /// What the domain answers.
    pub fn map(&self, domain: &Arc<dyn DmaDomain>) -> Result<PoolMap, DmaError> {
        let key = Arc::as_ptr(domain).cast::<()>() as usize;
        let mut maps = self.inner().maps.lock().unwrap_or_else(PoisonError::into_inner);
        let known = maps.get(&key).and_then(Weak::upgrade);
        let mapping = match known {
            Some(mapping) => mapping,
            None => Mapping::new(&self.inner().memory, domain, Access::ReadWrite)?,
        };
        maps.insert(key, Arc::downgrade(&mapping));
        Ok(PoolMap {
            delta: mapping.delta(),
            mapping,
            pool: self.clone(),
        })
    }
}

impl Clone for Pool {
    fn clone(&self) -> Self {
        self.inner().handles.fetch_add(1, Ordering::Relaxed);
        Self { inner: self.inner }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // AcqRel: what other handles did before they went is seen by the last one.
        if self.inner().handles.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        let mut shared = self.inner().lock();
        shared.orphan = true;
        let whole = shared.free.len() == self.inner().packets;
        drop(shared);
        if whole {
            // SAFETY: the last handle goes, and every slot is home.
            unsafe { Inner::destroy(self.inner) };
        }
    }
}

impl PartialEq for Pool {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner
    }
}

impl Eq for Pool {}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Pool({} packets of {} bytes)",
            self.packets(),
            self.buffer_len()
        )
    }
}

/// A pool as one domain sees it. While it lives, the pool stays mapped there.
#[derive(Clone, Debug)]
pub struct PoolMap {
    // Declared before the pool: unmapped before the memory can go.
    mapping: Arc<Mapping>,
    pool: Pool,
    delta: u64,
}

impl PoolMap {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_plan_knows_what_the_pool_will_take() {
        for page in [PageSize::Base4K, PageSize::Huge2M] {
            let shape = Pool::builder().packets(100).source(Source::MemFd(page));
            assert_eq!(shape.bytes(), Layout::new(&shape, page).bytes(100), "{page}");
        }
        let small = Pool::builder()
            .packets(100)
            .source(Source::MemFd(PageSize::Base4K));
        let pool = small.clone().build().unwrap();
        assert_eq!(small.bytes().next_multiple_of(4096), pool.memory().len());
    }

    proptest! {
        #[test]
        fn buffers_lie_apart_inside_the_memory_and_cross_no_page(
            room in 64usize..16_000, headroom in 0usize..512, packets in 1usize..3000, small: bool
        ) {
            let shape = Pool::builder().packets(packets).data_room(room).headroom(headroom);
            let page = if small { PageSize::Base4K } else { PageSize::Huge2M };
            let layout = Layout::new(&shape, page);
            let mut end = 0;
            for index in 0..packets {
                let at = layout.offset(index);
                prop_assert!(at >= end && at.is_multiple_of(64));
                prop_assert_eq!(layout.index(at), index);
                end = at + layout.stride;
                if layout.per_page > 0 {
                    prop_assert_eq!(at / page.bytes(), (end - 1) / page.bytes());
                }
            }
            prop_assert!(end <= layout.bytes(packets));
        }
    }
}
