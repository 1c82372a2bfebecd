use super::Packet;
use std::fmt;
use std::mem::MaybeUninit;

/// The most packets in one batch.
pub const MAX_BURST: usize = 64;

/// Up to [`MAX_BURST`] packets in order, without heap. Filled at the back, taken from the front.
///
/// The handles start at a cache line, so that vectors of them straddle none.
#[repr(C, align(64))]
pub struct Batch {
    slots: [MaybeUninit<Packet>; MAX_BURST],
    head: u32,
    tail: u32,
    limit: u32,
}

impl Batch {
    /// An empty batch that takes [`MAX_BURST`] packets.
    pub fn new() -> Self {
        Self::with_burst(MAX_BURST)
    }

    /// An empty batch that takes `burst` packets (1 to [`MAX_BURST`]; outside that the nearest of the two).
    pub fn with_burst(burst: usize) -> Self {
        let limit = burst.clamp(1, MAX_BURST) as u32;
        Self {
            head: 0,
            tail: 0,
            limit,
            slots: [const { MaybeUninit::uninit() }; MAX_BURST],
        }
    }

    /// Packets in it.
    #[inline(always)]
    pub fn len(&self) -> usize {
        (self.tail - self.head) as usize
    }

    /// Whether there are none.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.tail == self.head
    }

    /// Packets that still fit.
    #[inline(always)]
    pub fn room(&self) -> usize {
        self.limit as usize - self.len()
    }

    /// Puts a packet at the back; gives it back when the batch is full.
    ///
    /// # Errors
    /// The packet, when there is no room.
    #[inline]
    pub fn push(&mut self, packet: Packet) -> Result<(), Packet> {
        if self.room() == 0 {
            return Err(packet);
        }
        self.make_room();
        // SAFETY: there is room, and `make_room` put it at the back: `tail < limit <= MAX_BURST`.
        unsafe { self.slots.get_unchecked_mut(self.tail as usize) }.write(packet);
        self.tail += 1;
        Ok(())
    }

    /// Takes the packet at the front.
    #[inline]
    pub fn pop(&mut self) -> Option<Packet> {
        if self.is_empty() {
            return None;
        }
        // SAFETY: `head < tail <= MAX_BURST`, and slots from head to tail are initialised; it is given up here.
        let packet = unsafe { self.slots.get_unchecked(self.head as usize).assume_init_read() };
        self.head += 1;
        if self.head == self.tail {
            (self.head, self.tail) = (0, 0);
        }
        Some(packet)
    }

    /// The packets, to look at.
    #[inline(always)]
    pub fn as_slice(&self) -> &[Packet] {
        // SAFETY: slots from head to tail are initialised; `MaybeUninit<Packet>` has the layout of `Packet`.
        unsafe { std::slice::from_raw_parts(self.slots.as_ptr().add(self.head as usize).cast(), self.len()) }
    }

    /// The packets, to change.
    #[inline(always)]
    pub fn as_mut_slice(&mut self) -> &mut [Packet] {
        let len = self.len();
        // SAFETY: as in `as_slice`, and `&mut self` is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.slots.as_mut_ptr().add(self.head as usize).cast(), len) }
    }

    /// Whether any of the packets has an offload. One look a packet.
    #[inline(always)]
    pub fn has_offloads(&self) -> bool {
        let packets = self.as_slice().iter();
        packets.fold(0, |flags, packet| flags | packet.headroom) as i16 <= -1
    }

    /// Puts packets that were taken from the front back there, in their order; those that find no room stay.
    pub(crate) fn put_back(&mut self, front: &mut Self) {
        let room = self.limit as usize - self.len();
        if front.len() > room {
            return;
        }
        while let Some(packet) = self.pop() {
            // There is room: `front` takes as many as any batch.
            if let Err(packet) = front.push(packet) {
                drop(packet);
            }
        }
        while let Some(packet) = front.pop() {
            if let Err(packet) = self.push(packet) {
                drop(packet);
            }
        }
    }

    /// Takes the packet at `index` out, if there is one; the others keep their order.
    pub(crate) fn remove(&mut self, index: usize) -> Option<Packet> {
        if index >= self.len() {
            return None;
        }
        self.as_mut_slice()[..=index].rotate_right(1);
        self.pop()
    }

    /// Drops the packets: by the slow way. Loops give them to a [`super::PoolCache`] instead.
    pub fn clear(&mut self) {
        while self.pop().is_some() {}
    }

    /// Moves the packets to the start, so that all the room is at the back.
    #[inline(always)]
    fn make_room(&mut self) {
        if self.tail == self.limit {
            self.compact();
        }
    }

    #[cold]
    fn compact(&mut self) {
        self.slots[..self.tail as usize].rotate_left(self.head as usize);
        (self.head, self.tail) = (0, self.tail - self.head);
    }

    /// The room at the back, all of it (see [`Batch::room`]); what is written there counts after [`Batch::grow`].
    #[inline(always)]
    pub(crate) fn spare(&mut self) -> &mut [MaybeUninit<Packet>] {
        if self.head != 0 {
            self.compact();
        }
        // SAFETY: `tail <= limit <= MAX_BURST` always.
        unsafe {
            self.slots
                .get_unchecked_mut(self.tail as usize..self.limit as usize)
        }
    }

    /// # Safety
    /// The first `n` of [`Batch::spare`] have been written since.
    #[inline(always)]
    pub(crate) unsafe fn grow(&mut self, n: usize) {
        debug_assert!(self.tail as usize + n <= self.limit as usize);
        self.tail += n as u32;
    }

    /// Forgets the first `n` packets: their slots have been taken over by the caller.
    ///
    /// # Safety
    /// `n <= len`, and the caller has taken ownership of those packets' slots.
    #[inline(always)]
    pub(crate) unsafe fn forget_front(&mut self, n: usize) {
        debug_assert!(n <= self.len());
        self.head += n as u32;
        if self.head == self.tail {
            (self.head, self.tail) = (0, 0);
        }
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Extend<Packet> for Batch {
    /// Takes packets as long as there is room; the rest is dropped (back to their pool).
    fn extend<I: IntoIterator<Item = Packet>>(&mut self, packets: I) {
        for packet in packets {
            let _ = self.push(packet);
        }
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batch({} of {})", self.len(), self.limit)
    }
}
