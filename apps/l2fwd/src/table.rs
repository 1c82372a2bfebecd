//! An account as text.

use crate::report::{Account, CoreReport, PortReport, kilo};
use std::fmt::Write;

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

#[cfg(test)]
mod tests {
    use super::*;
    use barline::telemetry::IdleStats;
    use barline_app::Counts;

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
