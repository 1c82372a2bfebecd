use super::cache::PoolCache;
use super::shape::{Layout, PoolBuilder};
use super::{LINE_SHIFT, Packet, PoolMap};
use crate::mem::{Access, DmaDomain, DmaError, Mapping, Memory};
use crate::offload::{Offload, Table};
use std::collections::BTreeMap;
use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

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
    pub(super) base: NonNull<u8>,
    memory: Arc<Memory>,
    packets: usize,
    buffer_len: usize,
    pub(super) headroom: u16,
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
    pub(super) fn start(shape: &PoolBuilder, memory: Arc<Memory>) -> Pool {
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
        PoolBuilder::new()
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
        Ok(PoolMap::new(self, mapping))
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
