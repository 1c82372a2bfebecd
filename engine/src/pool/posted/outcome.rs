//! What became of buffers and packets, in the words of the pool.

/// What a descriptor says, in the words of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The device still has it.
    Pending,
    /// A whole frame of this many bytes, or the last part of one that was split.
    Frame(u32),
    /// A part of a frame that was split over several buffers, and not its last: the frame is discarded whole.
    Part,
    /// Nothing to deliver: take the buffer back and count it. If parts came before it, it ends their frame.
    Discard(Discard),
}

/// Why a completed receive descriptor delivers no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discard {
    /// The device reports a damaged frame.
    Error,
    /// The frame is longer than a buffer, or the device says it is of zero length or longer than the buffer it was
    /// given.
    Length,
}

/// What one look at a ring brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Frames delivered.
    pub packets: u32,
    /// Their bytes.
    pub bytes: u64,
    /// Damaged frames.
    pub errors: u32,
    /// Impossible lengths.
    pub lengths: u32,
}

/// What one transmit took from a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Packets handed to the device.
    pub packets: u32,
    /// Their bytes.
    pub bytes: u64,
    /// Packets dropped for their length.
    pub lengths: u32,
    /// Packets dropped because the device cannot reach their pool.
    pub unmapped: u32,
    /// Of `packets`, those copied to a buffer that it can reach.
    pub copied: u32,
    /// The first packet that was left asks for an offload, which was not looked for: see [`Posted::send_offloads`](super::Posted::send_offloads).
    pub offloads: u32,
}
