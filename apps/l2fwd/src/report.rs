use barline::telemetry::IdleStats;
use barline::worker::CoreId;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Counters by name.
pub type Counts = BTreeMap<&'static str, u64>;

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
        self.received == self.sent + self.dropped() + self.held
    }

    /// Packets sent a second since `before`.
    pub fn rate(&self, before: &Self) -> f64 {
        kilo(self.sent, before.sent, self.seconds - before.seconds) * 1e3
    }
}

impl PortReport {
    fn count(&self, name: &str) -> u64 {
        self.queues.get(name).copied().unwrap_or(0)
    }

    /// Frames that the device lost for want of room: no queue has seen them.
    pub fn missed(&self) -> u64 {
        self.device.get("nic_rx_missed").copied().unwrap_or(0)
    }
}

/// The account as a table of 80 columns, more where ports have long names, with rates since `before`.
pub fn table(now: &Account, before: &Account) -> String {
    let names: Vec<String> = now
        .ports
        .iter()
        .enumerate()
        .map(|(at, port)| format!("{at} {}", port.port.trim_start_matches("pci:")))
        .collect();
    let width = names.iter().map(|name| name.chars().count()).max();
    let width = width.unwrap_or(0).max(15);
    let mut text = format!(
        "{:<width$} {:>5} {:>12} {:>7} {:>12} {:>7} {:>7} {:>7}\n",
        "port", "Mb/s", "received", "kpps", "sent", "kpps", "dropped", "missed"
    );
    let none = PortReport::default();
    for (at, (port, name)) in now.ports.iter().zip(&names).enumerate() {
        let old = before.ports.get(at).unwrap_or(&none);
        let rate = |name| kilo(port.count(name), old.count(name), now.seconds - before.seconds);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:<width$} {:>5} {:>12} {:>7.1} {:>12} {:>7.1} {:>7} {:>7}",
            name,
            port.link,
            port.count("rx_packets"),
            rate("rx_packets"),
            port.count("tx_packets"),
            rate("tx_packets"),
            port.dropped.values().sum::<u64>(),
            port.missed()
        );
    }
    let (dropped, rate) = (now.dropped(), now.rate(before) / 1e6);
    let _ = writeln!(
        text,
        "received {} = sent {} + dropped {dropped} + held {}\n{:.1} s, {rate:.3} Mpackets/s",
        now.received, now.sent, now.held, now.seconds
    );
    text.push_str(&asleep(now, before));
    for (reason, packets) in now.dropped.iter().filter(|(_, packets)| **packets > 0) {
        let _ = writeln!(text, "dropped as {reason}: {packets}");
    }
    text
}

/// A line about sleep, if there was any.
fn asleep(now: &Account, before: &Account) -> String {
    let seconds = now.seconds - before.seconds;
    let share = |at: usize, core: &CoreReport| {
        let old = before.cores.get(at).map_or(0.0, |old| old.asleep_seconds);
        let share = if seconds > 0.0 {
            (core.asleep_seconds - old) / seconds
        } else {
            0.0
        };
        let name = core.core.map_or(String::new(), |core| format!("core {core} "));
        format!("{name}{:.1} %", share.clamp(0.0, 1.0) * 100.0)
    };
    if now.cores.iter().all(|core| core.sleeps == 0) {
        return String::new();
    }
    let shares: Vec<String> = now
        .cores
        .iter()
        .enumerate()
        .map(|(at, core)| share(at, core))
        .collect();
    format!("asleep {}\n", shares.join(", "))
}

/// Thousands a second.
fn kilo(now: u64, before: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        now.saturating_sub(before) as f64 / seconds / 1e3
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(seconds: f64, sent: u64) -> Account {
        Account {
            seconds,
            received: sent + 3,
            sent,
            dropped: Counts::from([("tx_full", 2)]),
            held: 1,
            ports: vec![PortReport {
                port: "pci:0000:01:00.0".into(),
                ..PortReport::default()
            }],
            cores: Vec::new(),
        }
    }

    #[test]
    fn sleep_is_shown_as_a_share_of_the_time_since_the_line_before() {
        let stats = IdleStats::default();
        stats.sleeps.add(1);
        stats.asleep_ns.add(1_000_000_000);
        stats.wake_latency.record(60_000);
        let (mut before, mut now) = (account(4.0, 1), account(6.0, 1));
        before.cores = vec![CoreReport::new(None, &stats, 4.0)];
        assert_eq!(before.cores[0].asleep, 0.25);
        assert_eq!(before.cores[0].wake_latency_us.p50, 60.0);
        stats.asleep_ns.add(1_500_000_000);
        now.cores = vec![CoreReport::new(None, &stats, 6.0)];
        assert!(table(&now, &before).contains("\nasleep 75.0 %\n"));
    }

    #[test]
    fn a_packet_too_few_is_seen() {
        let mut account = account(1.0, 10);
        assert!(account.balances());
        account.received += 1;
        assert!(!account.balances());
    }

    #[test]
    fn the_table_has_a_line_a_port_and_the_balance() {
        let text = table(&account(2.0, 3_000_000), &account(1.0, 1_000_000));
        assert!(
            text.contains("received 3000003 = sent 3000000 + dropped 2 + held 1\n2.0 s, 2.000 Mpackets/s"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 5);
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        assert!(text.contains("0 0000:01:00.0 "));
        let mut long = account(1.0, 1);
        let twin = long.ports[0].clone();
        long.ports.push(PortReport {
            port: "vhost-user:/run/user/1000/socket".into(),
            ..twin
        });
        let text = table(&long, &Account::default());
        let ends: Vec<usize> = text.lines().take(3).map(str::len).collect();
        assert!(ends[0] == ends[1] && ends[1] == ends[2], "columns differ: {text}");
        assert!(!table(&Account::default(), &Account::default()).contains("NaN"));
    }
}
