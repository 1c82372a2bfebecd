use crossbeam::utils::CachePadded;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A counter with one writer and any number of readers: no locked instruction on the poll path.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
    /// Adds `n`. Only the one writer may call this; two would lose counts, nothing worse.
    #[inline(always)]
    pub fn add(&self, n: u64) {
        self.0
            .store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A counter's name and what it counts.
pub type CounterDoc = (&'static str, &'static str);

macro_rules! counters {
    ($(#[$doc:meta])* $name:ident { $($(#[doc = $fdoc:literal])* $field:ident,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub struct $name { $($(#[doc = $fdoc])* pub $field: Cell,)* }

        impl $name {
            /// Names and meanings, as `engine/docs/counters.md` has them.
            pub const TABLE: &[CounterDoc] = &[$((stringify!($field), concat!($($fdoc),*)),)*];

            /// A set of its own cache lines, shared between its queue and whoever reads.
            pub fn shared() -> Arc<CachePadded<Self>> {
                Arc::default()
            }

            /// Shows every counter by name.
            pub fn each(&self, mut show: impl FnMut(&'static str, u64)) {
                $(show(stringify!($field), self.$field.get());)*
            }
        }
    };
}

counters! {
    /// One receive queue. `rx_packets + rx_errors + rx_lengths` is every frame whose last descriptor the device completed.
    RxCounters {
        /// Packets delivered to the application.
        rx_packets,
        /// Their bytes, without FCS.
        rx_bytes,
        /// Frames that the device completed and marked as damaged; dropped.
        rx_errors,
        /// Frames longer than a buffer, in parts, or of an impossible length; dropped.
        rx_lengths,
        /// Refills that found the pool empty: the ring got shorter.
        rx_no_buffer,
        /// Completions of a buffer that the device does not have; the queue ends.
        rx_bad_ids,
        /// More completions at once than the device has buffers; the queue ends.
        rx_overruns,
        /// Calls of receive.
        rx_polls,
        /// Calls of receive that found nothing.
        rx_idle_polls,
        /// Doorbell writes.
        rx_doorbells,
    }
}

impl TxCounters {
    /// Packets that transmit took and did not hand to the device.
    pub fn dropped(&self) -> u64 {
        self.tx_lengths.get() + self.tx_unmapped.get() + self.tx_offload.get()
    }

    /// Packets that came to an end here, as they were received: sent or dropped, the segments of a long one as one.
    pub fn taken(&self) -> u64 {
        (self.tx_packets.get() + self.dropped()).wrapping_sub(self.tx_segments.get())
    }
}

counters! {
    /// One transmit queue. `tx_packets` have been handed to the device; dropped ones never reach it.
    TxCounters {
        /// Packets handed to the device.
        tx_packets,
        /// Their bytes, without FCS.
        tx_bytes,
        /// Packets empty, shorter than the device can pad, or longer than the MTU allows; dropped.
        tx_lengths,
        /// Packets of a pool that the device cannot reach; dropped.
        tx_unmapped,
        /// Of `tx_packets`, those of a pool that the device cannot reach, copied to a buffer that it can.
        tx_copied,
        /// Packets whose offload cannot be done: a checksum outside of the packet, headers that are not what is to be cut; dropped.
        tx_offload,
        /// Packets of `tx_packets`, and of the dropped ones, beyond the first that software has cut a long packet into.
        tx_segments,
        /// Calls of transmit that left packets with the caller because the ring was full.
        tx_full,
        /// Completions of a packet that the device does not have; the queue ends.
        tx_bad_ids,
        /// More completions at once than the device has packets; the queue ends.
        tx_overruns,
        /// Doorbell writes.
        tx_doorbells,
        /// Reports that the device owed and never wrote; a later one stood in for them.
        tx_reports_lost,
    }
}

/// What devices count themselves, by the names under which every driver shows it; one that a device does not have is left
/// out. Frames are in exactly one of those that say "dropped".
pub const DEVICE_COUNTERS: &[CounterDoc] = &[
    (
        "nic_rx_total",
        "Frames that arrived, good or not, for this station or not.",
    ),
    (
        "nic_rx_packets",
        "Good frames for this station that the device had room for.",
    ),
    ("nic_rx_bytes", "Their bytes, with FCS."),
    ("nic_rx_broadcast", "Of these, broadcast frames."),
    ("nic_rx_multicast", "Of these, multicast frames."),
    (
        "nic_rx_no_descriptor",
        "Of these, frames that found no descriptor when they came: they waited, or are in `nic_rx_queue_drops`.",
    ),
    (
        "nic_rx_queue_drops",
        "Of these, frames whose queue had no descriptor and is not to wait; dropped.",
    ),
    (
        "nic_rx_segments",
        "Packets beyond the first that the driver has cut a long frame of the kernel's into.",
    ),
    (
        "nic_rx_missed",
        "Frames that the device's own buffer had no room for; dropped.",
    ),
    ("nic_rx_crc_errors", "Frames with a wrong FCS; dropped."),
    (
        "nic_rx_alignment_errors",
        "Frames with a wrong FCS and a broken byte at the end, at 10 and 100 Mbit/s; dropped.",
    ),
    ("nic_rx_errors", "Frames with a symbol error; dropped."),
    (
        "nic_rx_length_errors",
        "Frames whose length field is not their length; dropped.",
    ),
    (
        "nic_rx_undersize",
        "Frames shorter than 64 bytes with a right FCS; dropped.",
    ),
    ("nic_rx_oversize", "Frames longer than the MTU allows; dropped."),
    (
        "nic_rx_other_drops",
        "Frames that the device dropped for another reason, which it does not tell.",
    ),
    ("nic_tx_packets", "Frames that left the device."),
    (
        "nic_tx_drops",
        "Packets that the device took and did not send, as without a link; dropped.",
    ),
    ("nic_tx_bytes", "Their bytes, with FCS."),
    (
        "xsk_rx_dropped",
        "Frames for an AF_XDP queue that the kernel found no buffer for, or that are longer than one; dropped.",
    ),
    (
        "xsk_rx_ring_full",
        "Frames for an AF_XDP queue whose receive ring was full; dropped.",
    ),
    (
        "xsk_fill_ring_empty",
        "Times that the kernel found no buffer in a fill ring.",
    ),
    (
        "xsk_rx_invalid_descs",
        "Buffers in a fill ring that the kernel refused.",
    ),
    (
        "xsk_tx_invalid_descs",
        "Frames in a transmit ring that the kernel refused; dropped.",
    ),
    (
        "xsk_tx_dropped",
        "Frames of a transmit ring that the interface did not take; dropped.",
    ),
    ("peer_connects", "Times that a peer connected."),
    (
        "peer_bad_index",
        "Times that a queue was stopped because its peer's index was further ahead than the ring is long.",
    ),
    (
        "peer_bad_descriptor",
        "The same for a descriptor that does not exist.",
    ),
    (
        "peer_bad_address",
        "The same for an address outside of the memory that the peer has shared.",
    ),
    ("peer_bad_chain", "The same for descriptors that make no buffer."),
    ("watch_frames", "Frames that a capture or trace has taken down."),
    (
        "watch_missed",
        "Frames that a capture or trace should have taken down and could not: whoever writes was behind.",
    ),
    (
        "impair_lost",
        "Frames that an impaired port lost on purpose, by the draw; dropped.",
    ),
    (
        "impair_overflow",
        "Frames that found no room in the buffer of an impaired port's ceiling; dropped.",
    ),
    (
        "impair_doubled",
        "Frames that an impaired port sent a second time; these are not in `tx_packets`.",
    ),
    (
        "impair_reordered",
        "Frames that an impaired port sent behind the one after.",
    ),
    (
        "impair_corrupted",
        "Frames that an impaired port sent with one bit changed.",
    ),
    (
        "peer_tx_lost",
        "Packets in `tx_packets` that a peer had not given back when it went.",
    ),
];

/// Where a port puts its device's own statistics.
pub trait CounterSink {
    /// One counter: name as in the counter table, value since the port was started.
    fn counter(&mut self, name: &'static str, value: u64);
}

impl<F: FnMut(&'static str, u64)> CounterSink for F {
    fn counter(&mut self, name: &'static str, value: u64) {
        self(name, value);
    }
}
