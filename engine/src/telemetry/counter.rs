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

macro_rules! counters {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub struct $name { $($(#[$fdoc])* pub $field: Cell,)* }

        impl $name {
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
    /// One receive queue. `rx_packets + rx_errors + rx_lengths` is every descriptor that the device completed.
    RxCounters {
        /// Packets delivered to the application.
        rx_packets,
        /// Their bytes, without FCS.
        rx_bytes,
        /// Completed frames that the device marked as damaged; dropped.
        rx_errors,
        /// Completed frames longer than a buffer, or of an impossible length; dropped.
        rx_lengths,
        /// Refills that found the pool empty: the ring got shorter.
        rx_no_buffer,
        /// Calls of receive.
        rx_polls,
        /// Calls of receive that found nothing.
        rx_idle_polls,
        /// Doorbell writes.
        rx_doorbells,
    }
}

counters! {
    /// One transmit queue. `tx_packets` have been handed to the device; dropped ones never reach it.
    TxCounters {
        /// Packets handed to the device.
        tx_packets,
        /// Their bytes, without FCS.
        tx_bytes,
        /// Packets dropped because they are shorter than the device can pad, or longer than the port's MTU allows.
        tx_lengths,
        /// Packets dropped because they are of a pool that the device cannot reach.
        tx_unmapped,
        /// Calls of transmit that left packets with the caller because the ring was full.
        tx_full,
        /// Doorbell writes.
        tx_doorbells,
    }
}

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
