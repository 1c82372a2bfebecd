//! What a driver did that the specification forbids.

use super::feature;
use std::fmt;

/// What a driver did that the specification (virtio 1.2 and 1.3, sections given) forbids. The device ignores it, drops
/// the packet, or, where [`Misuse::breaks`], stops with DEVICE_NEEDS_RESET.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misuse {
    /// A register access of another width than its field (4.1.3.1): served byte by byte.
    Width {
        /// Offset in the BAR.
        offset: u32,
        /// Bytes of the access.
        bytes: u8,
    },
    /// An access to an offset where no structure has a field; in the BAR.
    NoField(u32),
    /// A write to a field that is read-only for drivers (4.1.4.3.2, 5.1.4.2); offset in the BAR.
    ReadOnly(u32),
    /// A field of the device configuration was read whose feature is not offered (2.5.1); offset in the structure.
    ConfigField(u32),
    /// A `device_status` bit was cleared other than by a reset (2.1.1); before and after.
    StatusCleared(u8, u8),
    /// A `device_status` bit was set before those that come first (3.1.1), or is none of a driver's; before, after.
    StatusOrder(u8, u8),
    /// Features accepted that were not offered (2.2.1).
    NotOffered(u64),
    /// Bits accepted that the specification does not define for a network device over PCI (2.2.1).
    Unknown(u64),
    /// Accepted features lack one that this one requires (2.2.1).
    Lacks(u64),
    /// Features were changed after FEATURES_OK (3.1.1).
    FeaturesLate,
    /// A queue was set up before FEATURES_OK (3.1.1).
    QueueEarly,
    /// A queue was enabled after DRIVER_OK, not having been reset by itself (3.1.1).
    QueueLate,
    /// A field of an enabled queue was written (4.1.4.3.2): ignored. Offset in the structure.
    WhileEnabled(u32),
    /// 0 was written to `queue_enable` (4.1.4.3.2): ignored.
    Disabled,
    /// A queue that does not exist was written to.
    NoQueue,
    /// A queue size that is 0, above the maximum or, for split rings, not a power of two (4.1.4.3.2): ignored.
    Size(u16),
    /// A part of the ring is not aligned (2.7, 2.8): not enabled. Its address.
    Unaligned(u64),
    /// A vector beyond the table (4.1.5.1.2.2).
    Vector(u16),
    /// `queue_reset` without RING_RESET, of a queue that is not enabled, or another value than 1 (2.6.1).
    QueueReset(u16),
    /// Notified before DRIVER_OK (3.1.1): ignored.
    NotifiedEarly,
    /// Notified for a queue that is not enabled: ignored.
    NotifiedDisabled,
    /// A notification that is not 16 bits wide, or at another queue's address (4.1.5.2). Its bytes, and the offset in
    /// the structure.
    Notification(u8, u32),
    /// The available index is more than a queue size ahead of what was used (2.7.13.3).
    IndexJump {
        /// Up to where the device had used buffers.
        used: u16,
        /// The index.
        index: u16,
    },
    /// `flags` of the available ring, or the driver event suppression structure, is none of its values (2.7.7.1, 2.8.14).
    EventFlags(u16),
    /// A head or `next` outside the table (2.7.5); the index.
    Outside(u16),
    /// A chain longer than the queue or with a loop (2.7.5.2, 2.8.17).
    TooLong,
    /// A chain of more than 2^32 bytes (2.7.5.2).
    TooManyBytes,
    /// A descriptor flag that is not defined (2.7.5, 2.8.16): ignored. The flags.
    Flags(u16),
    /// INDIRECT without the feature (2.7.5.3.1).
    IndirectUnasked,
    /// INDIRECT and NEXT together, or in a chain of packed descriptors (2.7.5.3.1, 2.8.19).
    IndirectChained,
    /// A table within a table (2.7.5.3.1).
    IndirectNested,
    /// A table whose length is 0 or not a multiple of 16 (2.7.5.3); the length.
    IndirectLength(u32),
    /// A readable descriptor after a writable one (2.7.4.2, 2.8.17).
    ReadableLast,
    /// IN_ORDER, and the descriptors are not in ring order (2.7.5.1); what is there and should be.
    OutOfOrder(u16, u16),
    /// A descriptor of a packed chain after the first that is not available (2.8.17).
    NotAvailable,
    /// A readable descriptor among receive buffers.
    RxReadable,
    /// A receive buffer that has no room for the header (5.1.6.3.1); its bytes.
    RxNoHeader(u64),
    /// A writable descriptor in a transmit buffer.
    TxWritable,
    /// A transmit buffer without a whole header (5.1.6.2.1); its bytes.
    TxNoHeader(u64),
    /// Header flags or segmentation that were not negotiated (5.1.6.2.1): not sent. `flags` and `gso_type`.
    TxHeader(u8, u8),
    /// `num_buffers` of a transmitted packet is not zero (5.1.6.2.1).
    TxBuffers(u16),
    /// A checksum that lies outside the packet: not sent. `csum_start` and `csum_offset`.
    TxChecksum(u16, u16),
    /// Segmentation of what is no such packet, or without a size or NEEDS_CSUM (5.1.6.2.1), or where the checksum field
    /// has not the pseudo header's sum: not sent. `gso_type` and `gso_size`.
    TxSegments(u8, u16),
    /// A packet shorter than an Ethernet header, or longer than the MTU (5.1.4.2) or 65,550 bytes: not sent.
    TxLength(u64),
    /// A packet on a queue beyond the pairs in use (5.1.6.5.5.1).
    TxInactive,
    /// A command without class and command, or without a byte for the answer (5.1.6.5).
    ControlShape,
    /// A command whose feature was not accepted (5.1.6.5): refused. Class and command.
    ControlUnasked(u8, u8),
    /// A command whose data has the wrong length or a value that is forbidden: refused. Class and command.
    ControlData(u8, u8),
    /// The window in configuration space leads outside the structures or is not aligned (4.1.4.9.2).
    Window,
}

impl Misuse {
    /// Whether the device cannot go on from there.
    pub fn breaks(self) -> bool {
        matches!(
            self,
            Self::IndexJump { .. }
                | Self::Outside(_)
                | Self::TooLong
                | Self::TooManyBytes
                | Self::IndirectUnasked
                | Self::IndirectChained
                | Self::IndirectNested
                | Self::IndirectLength(_)
                | Self::ReadableLast
                | Self::OutOfOrder(..)
                | Self::NotAvailable
                | Self::RxReadable
                | Self::RxNoHeader(_)
                | Self::TxWritable
                | Self::TxNoHeader(_)
                | Self::ControlShape
        )
    }
}

impl fmt::Debug for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Width { offset, bytes } => write!(f, "access of {bytes} bytes at {offset:#x}"),
            Self::NoField(at) => write!(f, "no field at {at:#x}"),
            Self::ReadOnly(at) => write!(f, "write to read-only field at {at:#x}"),
            Self::ConfigField(at) => write!(f, "device configuration at {at:#x} is not offered"),
            Self::StatusCleared(old, new) => write!(f, "status bits cleared: {old:#04x} to {new:#04x}"),
            Self::StatusOrder(old, new) => write!(f, "status out of order: {old:#04x} to {new:#04x}"),
            Self::NotOffered(set) => write!(f, "not offered: {}", feature::words(*set)),
            Self::Unknown(set) => write!(f, "not known: {}", feature::words(*set)),
            Self::Lacks(bit) => write!(f, "without what it requires: {}", feature::words(*bit)),
            Self::FeaturesLate => f.write_str("features after FEATURES_OK"),
            Self::QueueEarly => f.write_str("queue enabled before FEATURES_OK"),
            Self::QueueLate => f.write_str("queue enabled after DRIVER_OK"),
            Self::WhileEnabled(at) => write!(f, "field {at:#x} of an enabled queue"),
            Self::Disabled => f.write_str("0 to queue_enable"),
            Self::NoQueue => f.write_str("no such queue"),
            Self::Size(size) => write!(f, "queue size {size}"),
            Self::Unaligned(at) => write!(f, "ring part at {at:#x} is not aligned"),
            Self::Vector(vector) => write!(f, "no vector {vector}"),
            Self::QueueReset(value) => write!(f, "{value} to queue_reset"),
            Self::NotifiedEarly => f.write_str("notified before DRIVER_OK"),
            Self::NotifiedDisabled => f.write_str("notified for a queue that is not enabled"),
            Self::Notification(bytes, at) => write!(f, "notification of {bytes} bytes at {at:#x}"),
            Self::IndexJump { used, index } => write!(f, "available index {index}, used {used}"),
            Self::EventFlags(flags) => write!(f, "event flags {flags:#x}"),
            Self::Outside(index) => write!(f, "descriptor {index} is outside the table"),
            Self::TooLong => f.write_str("chain longer than the queue"),
            Self::TooManyBytes => f.write_str("chain of more than 2^32 bytes"),
            Self::Flags(flags) => write!(f, "descriptor flags {flags:#x}"),
            Self::IndirectUnasked => f.write_str("INDIRECT was not negotiated"),
            Self::IndirectChained => f.write_str("INDIRECT in a chain"),
            Self::IndirectNested => f.write_str("INDIRECT within a table"),
            Self::IndirectLength(len) => write!(f, "indirect table of {len} bytes"),
            Self::ReadableLast => f.write_str("readable descriptor after a writable one"),
            Self::OutOfOrder(is, must) => write!(f, "descriptor {is} where {must} is next"),
            Self::NotAvailable => f.write_str("chain into descriptors that are not available"),
            Self::RxReadable => f.write_str("receive buffer that cannot be written"),
            Self::RxNoHeader(len) => write!(f, "receive buffer of {len} bytes"),
            Self::TxWritable => f.write_str("writable transmit buffer"),
            Self::TxNoHeader(len) => write!(f, "transmit buffer of {len} bytes"),
            Self::TxHeader(flags, gso) => write!(f, "transmit header: flags {flags:#x}, gso_type {gso:#x}"),
            Self::TxBuffers(count) => write!(f, "transmit header: num_buffers {count}"),
            Self::TxChecksum(start, offset) => write!(f, "checksum at {start} + {offset}"),
            Self::TxSegments(gso, size) => write!(f, "segmentation: gso_type {gso:#x}, gso_size {size}"),
            Self::TxLength(len) => write!(f, "packet of {len} bytes"),
            Self::TxInactive => f.write_str("packet on a queue beyond the pairs in use"),
            Self::ControlShape => f.write_str("malformed command"),
            Self::ControlUnasked(class, command) => write!(f, "command {class}.{command} was not negotiated"),
            Self::ControlData(class, command) => write!(f, "data of command {class}.{command}"),
            Self::Window => f.write_str("configuration window leads outside the structures"),
        }
    }
}
