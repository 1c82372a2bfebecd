//! The device's statistics (5.1.6.5 of version 1.4, "Device Statistics"), where it offers DEVICE_STATS: without them what a
//! device drops is in no counter.

use crate::regs::{Features, Status, control, stats};
use crate::{Virtio, init};
use barline::telemetry::CounterSink;

/// Sums over all queues in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    rx_packets: u64,
    rx_drops: u64,
    rx_overruns: u64,
    tx_packets: u64,
    tx_drops: u64,
}

impl Sums {
    /// Adds what one reply says of queue `queue`; false where it says something else.
    fn add(&mut self, queue: u16, reply: &[u8]) -> bool {
        let number = |at: usize| {
            let bytes = reply.get(at..at + 8).and_then(|bytes| bytes.first_chunk());
            bytes.map(|bytes| u64::from_le_bytes(*bytes))
        };
        let Some(head) = number(0).map(u64::to_le_bytes) else {
            return false;
        };
        let (kind, of) = (head[0], u16::from_le_bytes([head[2], head[3]]));
        let numbers = [stats::PACKETS, stats::DROPS, stats::OVERRUNS].map(number);
        let [Some(packets), Some(drops), Some(overruns)] = numbers else {
            return false;
        };
        if of != queue || kind != kind_of(queue) {
            return false;
        }
        let sum = |old: &mut u64, more| *old = old.wrapping_add(more);
        if kind == stats::RX_BASIC {
            sum(&mut self.rx_packets, packets);
            sum(&mut self.rx_drops, drops);
            sum(&mut self.rx_overruns, overruns);
        } else {
            sum(&mut self.tx_packets, packets);
            sum(&mut self.tx_drops, drops);
        }
        true
    }

    /// What was counted since; the device's counters wrap.
    fn since(self, before: Self) -> Self {
        Self {
            rx_packets: self.rx_packets.wrapping_sub(before.rx_packets),
            rx_drops: self.rx_drops.wrapping_sub(before.rx_drops),
            rx_overruns: self.rx_overruns.wrapping_sub(before.rx_overruns),
            tx_packets: self.tx_packets.wrapping_sub(before.tx_packets),
            tx_drops: self.tx_drops.wrapping_sub(before.tx_drops),
        }
    }
}

/// What a queue's basic statistics are called; the first queue of a pair receives.
fn kind_of(queue: u16) -> u8 {
    match queue % 2 {
        0 => stats::RX_BASIC,
        _ => stats::TX_BASIC,
    }
}

/// What the device has counted in this start and the last.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Statistics {
    /// The device tells of receive and transmit queues.
    told: bool,
    /// Nothing says that a reset clears a device's counters: what they were at the start.
    base: Sums,
    last: Sums,
}

impl Virtio {
    /// The start of the count. A device that refuses has no statistics.
    pub(crate) fn begin_statistics(&mut self) {
        self.statistics = Statistics::default();
        if !self.features.contains(Features::DEVICE_STATS) {
            return;
        }
        let told = self.ask(control::STATS_QUERY, &[], 8);
        let types = told.and_then(|bytes| bytes.first_chunk().map(|types| u64::from_le_bytes(*types)));
        let needs = 1 << stats::RX_BASIC | 1 << stats::TX_BASIC;
        self.statistics.told = types.is_some_and(|types| types & needs == needs);
        if let Some(base) = self.read_statistics() {
            (self.statistics.base, self.statistics.last) = (base, base);
        }
    }

    /// Reads them, if there are any and the device is there. What was read last stays otherwise.
    pub(crate) fn count(&mut self) {
        if let Some(sums) = self.read_statistics() {
            self.statistics.last = sums;
        }
    }

    fn ask(&mut self, command: [u8; 2], data: &[u8], len: usize) -> Option<Vec<u8>> {
        let running = self.running.as_mut()?;
        let control = running.control.as_mut()?;
        control.ask(command, data, len, "tell its statistics").ok()
    }

    fn read_statistics(&mut self) -> Option<Sums> {
        let queues = self.running.as_ref().map(|running| 2 * running.pairs);
        // One that needs a reset answers no command; one that is gone says the same.
        let silent = init::status(&self.at).contains(Status::NEEDS_RESET);
        if !self.statistics.told || queues.is_none() || silent {
            return None;
        }
        let mut sums = Sums::default();
        for queue in 0..queues.unwrap_or(0) {
            let mut data = [0; 16];
            data[..2].copy_from_slice(&queue.to_le_bytes());
            data[8..].copy_from_slice(&(1u64 << kind_of(queue)).to_le_bytes());
            let reply = self.ask(control::STATS_GET, &data, stats::BASIC)?;
            if !sums.add(queue, &reply) {
                return None;
            }
        }
        Some(sums)
    }

    /// Shows them by the names of the table.
    pub(crate) fn show_statistics(&self, out: &mut dyn CounterSink) {
        let Statistics { told, base, last } = self.statistics;
        if !told {
            return;
        }
        let since = last.since(base);
        // Of what was for this station the device counts what it dropped apart from what it passed on.
        out.counter("nic_rx_packets", since.rx_packets.wrapping_add(since.rx_overruns));
        out.counter("nic_rx_queue_drops", since.rx_overruns);
        let others = since.rx_drops.saturating_sub(since.rx_overruns);
        out.counter("nic_rx_other_drops", others);
        out.counter("nic_tx_packets", since.tx_packets);
        out.counter("nic_tx_drops", since.tx_drops);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reply(queue: u16, kind: u8, numbers: [u64; 6]) -> Vec<u8> {
        let mut reply = vec![kind, 0];
        for word in [queue, 0, 56] {
            reply.extend(word.to_le_bytes());
        }
        numbers
            .iter()
            .for_each(|number| reply.extend(number.to_le_bytes()));
        reply
    }

    #[test]
    fn a_reply_counts_for_the_queue_that_was_asked_for() {
        let mut sums = Sums::default();
        assert!(sums.add(2, &reply(2, stats::RX_BASIC, [1, 2, 3, 4, 5, 6])));
        assert!(sums.add(3, &reply(3, stats::TX_BASIC, [1, 20, 3, 4, 50, 6])));
        assert!(!sums.add(2, &reply(4, stats::RX_BASIC, [1; 6])));
        assert!(!sums.add(2, &reply(2, stats::TX_BASIC, [1; 6])));
        assert!(!sums.add(2, &reply(2, stats::RX_BASIC, [1; 6])[..55]));
        let wanted = Sums {
            rx_packets: 2,
            rx_drops: 5,
            rx_overruns: 6,
            tx_packets: 20,
            tx_drops: 50,
        };
        assert_eq!(sums, wanted);
    }

    proptest! {
        #[test]
        fn any_reply_is_read_without_surprise(queue: u16, reply in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Sums::default().add(queue, &reply);
        }
    }
}
