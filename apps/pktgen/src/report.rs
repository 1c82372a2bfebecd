//! Where every packet is, and what became of those that were sent.

use barline_app::{Balance, Counts, count};
use barline_traffic::{Buckets, FlowState, Order, Stream, Summary};
use serde::Serialize;

/// A moment's account. Packets that enter the program are made or come from a port; they leave it through a port, or when
/// they have been looked at: `received == sent + sum of dropped + held`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Account {
    /// Seconds of sending.
    pub seconds: f64,
    /// Packets that entered the program.
    pub received: u64,
    /// Packets that the devices took; in a closing account, that they are done with.
    pub sent: u64,
    /// Packets that went no further, by reason: `measured` ones came from a port and were looked at.
    pub dropped: Counts,
    /// Packets in the program's hands; in a closing account those that a device had not sent when it was stopped.
    pub held: u64,
    /// Of those that entered, the ones that were made.
    pub made: u64,
    /// Of those that were sent with a mark, how many did not come.
    pub lost: u64,
    /// Packets that came with a damaged mark.
    pub damaged: u64,
    /// Packets that came without a mark.
    pub foreign: u64,
    /// Packets that were due and that no buffer was left for.
    pub starved: u64,
    /// How late packets were against when they were due, in nanoseconds.
    pub pacing: Summary,
    /// Nanoseconds that pacing did not catch up, because the processor was elsewhere.
    pub slipped_ns: u64,
    /// Streams of ports.
    pub flows: Vec<FlowReport>,
    /// The ports, by index.
    pub ports: Vec<PortReport>,
}

/// One stream of one port.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FlowReport {
    /// Index of the port that sends it.
    pub port: usize,
    /// Its name, or its number.
    pub stream: String,
    /// Packets sent.
    pub sent: u64,
    /// Packets that came, each once.
    pub received: u64,
    /// Packets that did not come.
    pub lost: u64,
    /// Whether it has marks, without which nothing is known.
    pub marked: bool,
    /// What is known of order.
    #[serde(flatten)]
    pub order: Order,
    /// Nanoseconds on the way.
    pub latency_ns: Summary,
    /// Nanoseconds, RFC 3550.
    pub jitter_ns: u64,
    /// The times themselves.
    #[serde(skip)]
    pub buckets: Buckets,
}

/// One port.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PortReport {
    /// The port as it was named.
    pub port: String,
    /// Its address.
    pub mac: String,
    /// Mbit/s, 0 when down.
    pub link: u32,
    /// How it works, where a kernel had a say in it: `zero copy, program in the driver`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Packets a second that its line takes at the most.
    #[serde(skip)]
    pub most: f64,
    /// Its queues' counters.
    pub queues: Counts,
    /// Its device's.
    pub device: Counts,
}

impl PortReport {
    /// A counter of its queues.
    pub fn count(&self, name: &str) -> u64 {
        count(&self.queues, name)
    }
}

impl FlowReport {
    /// From what was made of it and what came.
    pub fn new(port: usize, index: usize, stream: &Stream, sent: u64, state: &FlowState) -> Self {
        let marked = stream.mark.is_some();
        let received = state.order.unique + state.order.stale;
        Self {
            port,
            stream: stream.name.clone().unwrap_or_else(|| index.to_string()),
            sent,
            received,
            lost: if marked { sent.saturating_sub(received) } else { 0 },
            marked,
            order: state.order,
            latency_ns: state.latency.summary(),
            jitter_ns: state.jitter,
            buckets: state.latency.clone(),
        }
    }
}

impl Account {
    /// Completes it from the ports' counters. `unsent` were made and given up, `in_flight` a device has not sent.
    pub(crate) fn settle(&mut self, unsent: u64, in_flight: u64) {
        let sum = |name: &str| self.ports.iter().map(|port| port.count(name)).sum::<u64>();
        let came = sum("rx_packets");
        self.sent = sum("tx_packets").saturating_sub(in_flight);
        self.dropped = Counts::from([
            ("measured", came),
            ("tx_lengths", sum("tx_lengths")),
            ("tx_unmapped", sum("tx_unmapped")),
            ("tx_full", unsent),
        ]);
        // A worker may count between two of our reads; what it has in hand is the rest.
        self.made = self.made.max(self.sent + in_flight + self.sum() - came);
        self.received = self.made + came;
        self.held = self.received - self.sent - self.sum();
        self.lost = self.flows.iter().map(|flow| flow.lost).sum();
    }

    /// Packets that went no further.
    pub fn sum(&self) -> u64 {
        self.dropped.values().sum()
    }

    /// Whether every packet is in exactly one number.
    pub fn balances(&self) -> bool {
        self.balance().is_even()
    }

    pub(crate) fn balance(&self) -> Balance {
        Balance {
            received: self.received,
            sent: self.sent,
            dropped: self.sum(),
            held: self.held,
        }
    }

    /// Of marked packets that were sent, whether none came back although some were expected.
    pub fn came_to_nothing(&self) -> bool {
        let marked = || self.flows.iter().filter(|flow| flow.marked);
        marked().any(|flow| flow.sent > 0) && marked().all(|flow| flow.received == 0) && self.damaged == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text;

    #[test]
    fn an_account_balances_and_nothing_that_came_is_told() {
        let mut account = Account {
            made: 10,
            ports: vec![PortReport {
                queues: Counts::from([("tx_packets", 8), ("rx_packets", 5), ("tx_lengths", 1)]),
                ..PortReport::default()
            }],
            ..Account::default()
        };
        account.settle(1, 2);
        assert!(account.balances());
        assert_eq!((account.received, account.sent, account.held), (15, 6, 2));
        account.flows.push(FlowReport {
            sent: 3,
            marked: true,
            ..FlowReport::default()
        });
        assert!(account.came_to_nothing());
        account.flows[0].received = 1;
        assert!(!account.came_to_nothing());
        assert!(
            text(&account, &Account::default())
                .contains("entered 15 (made 10) = sent 6 + dropped 7 + held 2")
        );
    }
}
