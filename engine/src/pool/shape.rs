use super::Pool;
use super::packet::MOST_HEADROOM;
use super::pool::Inner;
use crate::mem::{ARENA, Memory, MemoryError, Numa, PageSize, Source};

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
    pub(super) packets: usize,
    room: usize,
    pub(super) headroom: usize,
    source: Source,
    numa: Numa,
}

impl PoolBuilder {
    /// With the defaults.
    pub(super) fn new() -> Self {
        Self {
            packets: 8192,
            room: 2048,
            headroom: 128,
            source: Source::default(),
            numa: Numa::default(),
        }
    }

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
pub(super) struct Layout {
    pub stride: usize,
    page: usize,
    /// Buffers a page; 0 where a buffer is longer than a page and has to cross.
    per_page: usize,
    /// Lines left over in a page: pages start their first buffer at different lines, so that the first lines of
    /// buffers alone on their pages do not all fall into one set of the cache.
    slack: usize,
}

impl Layout {
    pub fn new(shape: &PoolBuilder, page: PageSize) -> Self {
        let (stride, page) = (shape.stride(), page.bytes());
        let per_page = page / stride;
        Self {
            stride,
            page,
            per_page,
            slack: page % stride / 64,
        }
    }

    pub fn bytes(&self, packets: usize) -> usize {
        match self.per_page {
            0 => packets.saturating_mul(self.stride),
            n => packets.div_ceil(n).saturating_mul(self.page),
        }
    }

    pub fn offset(&self, index: usize) -> usize {
        match self.per_page {
            0 => index * self.stride,
            n => {
                let page = index / n;
                page * self.page + page % (self.slack + 1) * 64 + index % n * self.stride
            }
        }
    }

    /// Which buffer stands at an offset.
    pub fn index(&self, offset: usize) -> usize {
        match self.per_page {
            0 => offset / self.stride,
            n => {
                let (page, at) = (offset / self.page, offset % self.page);
                page * n + (at - page % (self.slack + 1) * 64) / self.stride
            }
        }
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
