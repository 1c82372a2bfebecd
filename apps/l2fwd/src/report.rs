use barline::telemetry::IdleStats;
use barline::worker::CoreId;
use barline_app::{Balance, Counts, a_second, count};
use serde::Serialize;

/// Where every packet is: `received == sent + dropped + held`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Account {
    /// Seconds of forwarding.
    pub seconds: f64,
    /// Packets that came out of receive queues.
    pub received: u64,
    /// Packets that the devices took; in a closing account, that they are done with.
    pub sent: u64,
    /// Packets dropped, by reason.
    pub dropped: Counts,
    /// Packets neither sent nor dropped: in a live account in a worker's hands, in a closing one those that a device
    /// had not sent when it was stopped.
    pub held: u64,
    /// The ports, by index.
    pub ports: Vec<PortReport>,
    /// The workers, by index.
    pub cores: Vec<CoreReport>,
}

/// What one worker did when there was nothing to do.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CoreReport {
    /// The core it is pinned to, if it is.
    pub core: Option<usize>,
    /// Share of the time asleep, since the start.
    pub asleep: f64,
    /// Seconds asleep.
    pub asleep_seconds: f64,
    /// Sleeps.
    pub sleeps: u64,
    /// Sleeps that a frame, a message, or their own bound ended.
    pub wakes: Wakes,
    /// Attempts to sleep that found something in the last look.
    pub refused: u64,
    /// From when the core should have woken until it ran, where that is known: messages and bounds.
    pub wake_latency_us: Latency,
}

/// Sleeps by what ended them.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Wakes {
    /// A receive queue's interrupt.
    pub source: u64,
    /// A message, or the order to stop.
    pub message: u64,
    /// The time was over.
    pub bound: u64,
}

/// A distribution, in microseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Latency {
    /// Measurements.
    pub count: u64,
    /// Half of them are no longer.
    pub p50: f64,
    /// 99 of 100 are no longer.
    pub p99: f64,
    /// The longest.
    pub max: f64,
    /// The histogram: upper end of a bucket, and how many are in it.
    pub buckets: Vec<(f64, u64)>,
}

impl CoreReport {
    pub(crate) fn new(core: Option<CoreId>, stats: &IdleStats, seconds: f64) -> Self {
        let asleep = stats.asleep_ns.get() as f64 / 1e9;
        let latency = &stats.wake_latency;
        let micros = |ns: u64| ns as f64 / 1e3;
        let quantile = |share| latency.quantile(share).map_or(0.0, micros);
        Self {
            core: core.map(CoreId::number),
            asleep: if seconds > 0.0 {
                (asleep / seconds).min(1.0)
            } else {
                0.0
            },
            asleep_seconds: asleep,
            sleeps: stats.sleeps.get(),
            wakes: Wakes {
                source: stats.source_wakes.get(),
                message: stats.alarm_wakes.get(),
                bound: stats.timer_wakes.get(),
            },
            refused: stats.refused.get(),
            wake_latency_us: Latency {
                count: latency.count(),
                p50: quantile(0.5),
                p99: quantile(0.99),
                max: micros(latency.max()),
                buckets: latency
                    .buckets()
                    .map(|(end, count)| (micros(end), count))
                    .collect(),
            },
        }
    }
}

/// One port's part.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PortReport {
    /// The port as it was named.
    pub port: String,
    /// `running`; or why it does not: `released` (the host asked for the device), `gone`, `failed`, `reset`,
    /// `asleep` (the machine is).
    pub state: &'static str,
    /// Its MAC address.
    pub mac: String,
    /// Mbit/s, 0 without a link.
    pub link: u32,
    /// How it works, where a kernel had a say in it: `zero copy, program in the driver`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Its queues' counters, summed.
    pub queues: Counts,
    /// Packets for this port to send that were dropped, by reason.
    pub dropped: Counts,
    /// The device's own statistics. What it missed never was received.
    pub device: Counts,
}

impl Account {
    /// All drops.
    pub fn dropped(&self) -> u64 {
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
            dropped: self.dropped(),
            held: self.held,
        }
    }

    /// Packets sent a second since `before`.
    pub fn rate(&self, before: &Self) -> f64 {
        kilo(self.sent, before.sent, self.seconds - before.seconds) * 1e3
    }
}

impl PortReport {
    pub(crate) fn count(&self, name: &str) -> u64 {
        count(&self.queues, name)
    }

    /// Frames that the device lost for want of room: no queue has seen them.
    pub fn missed(&self) -> u64 {
        count(&self.device, "nic_rx_missed")
    }
}

/// Thousands a second.
pub(crate) fn kilo(now: u64, before: u64, seconds: f64) -> f64 {
    a_second(now, before, seconds) / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_too_few_is_seen() {
        let mut account = Account {
            received: 13,
            sent: 10,
            dropped: Counts::from([("tx_full", 2)]),
            held: 1,
            ..Account::default()
        };
        assert!(account.balances());
        account.received += 1;
        assert!(!account.balances());
    }
}
