use super::RxCounters;

/// What one call of receive brought, for queues that read frame by frame.
#[derive(Clone, Copy, Debug, Default)]
pub struct RxTally {
    /// Packets delivered.
    pub packets: u64,
    /// Their bytes, without FCS.
    pub bytes: u64,
    /// Frames of a length that cannot be; dropped.
    pub lengths: u64,
    /// Frames that are damaged; dropped.
    pub errors: u64,
    /// The pool had too few buffers.
    pub short: bool,
}

impl RxTally {
    /// Writes it to the queue's counters: one call of receive is over. Returns the packets.
    #[inline]
    pub fn settle(self, counters: &RxCounters) -> usize {
        counters.rx_polls.add(1);
        counters.rx_packets.add(self.packets);
        counters.rx_bytes.add(self.bytes);
        counters.rx_lengths.add(self.lengths);
        counters.rx_errors.add(self.errors);
        counters.rx_idle_polls.add(u64::from(self.packets == 0));
        counters.rx_no_buffer.add(u64::from(self.short));
        self.packets as usize
    }
}
