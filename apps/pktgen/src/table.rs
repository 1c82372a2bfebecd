//! Accounts as text.

use crate::report::{Account, FlowReport};
use barline_app::{a_second, count};
use std::fmt::Write;

/// Packets a second between two counts; none where it is more than the line takes, which cannot be.
pub fn rate(now: u64, before: u64, seconds: f64, most: f64) -> Option<f64> {
    let rate = a_second(now, before, seconds);
    (rate <= most * 1.02 + 100.0).then_some(rate)
}

fn pps(rate: Option<f64>) -> String {
    rate.map_or_else(|| "above line".to_owned(), |rate| format!("{:.1}", rate / 1e3))
}

/// Nanoseconds as microseconds.
fn us(ns: u64) -> f64 {
    ns as f64 / 1e3
}

/// Tables of ports and streams, with rates since `before`.
pub fn text(now: &Account, before: &Account) -> String {
    let mut text = String::from(
        "port                               link           sent     kpps       received     kpps   missed\n",
    );
    let seconds = now.seconds - before.seconds;
    for (at, port) in now.ports.iter().enumerate() {
        let old = before.ports.get(at);
        let rate = |name| {
            rate(
                port.count(name),
                old.map_or(0, |old| old.count(name)),
                seconds,
                port.most,
            )
        };
        let missed = ["nic_rx_missed", "nic_rx_queue_drops"].map(|name| count(&port.device, name));
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:<32} {:>6} {:>14} {:>8} {:>14} {:>8} {:>8}",
            format!("{at} {}", port.port.trim_start_matches("pci:")),
            port.link,
            port.count("tx_packets"),
            pps(rate("tx_packets")),
            port.count("rx_packets"),
            pps(rate("rx_packets")),
            missed.iter().sum::<u64>(),
        );
    }
    let marked: Vec<&FlowReport> = now.flows.iter().filter(|flow| flow.marked).collect();
    if !marked.is_empty() {
        text += "stream       sent       lost    loss    twice  reordered   latency us min     mean      p50      p99    p99.9      max   jitter\n";
    }
    for flow in marked {
        let latency = &flow.latency_ns;
        let _ = writeln!(
            text,
            "{:<6} {:>10} {:>10} {:>6.2}% {:>8} {:>10} {:>16.1} {:>8.1} {:>8.1} {:>8.1} {:>8.1} {:>8.1} {:>8.1}",
            format!("{}.{}", flow.port, flow.stream),
            flow.sent,
            flow.lost,
            flow.lost as f64 * 100.0 / flow.sent.max(1) as f64,
            flow.order.duplicates,
            flow.order.reordered,
            us(latency.min),
            latency.mean / 1e3,
            us(latency.p50),
            us(latency.p99),
            us(latency.p999),
            us(latency.max),
            us(flow.jitter_ns),
        );
    }
    text += &closing(now);
    text
}

fn closing(now: &Account) -> String {
    let mut text = format!(
        "entered {} (made {}) = sent {} + dropped {} + held {}; {:.1} s\n",
        now.received,
        now.made,
        now.sent,
        now.sum(),
        now.held,
        now.seconds
    );
    if now.pacing.count > 0 {
        let (p50, p99, max) = (us(now.pacing.p50), us(now.pacing.p99), us(now.pacing.max));
        let _ = writeln!(
            text,
            "packets left late by: p50 {p50:.1} us, p99 {p99:.1} us, at most {max:.1} us"
        );
    }
    if now.slipped_ns > 0 {
        let _ = writeln!(
            text,
            "the rate is too low: the processor was elsewhere for {:.1} ms; give it a core: --cores",
            now.slipped_ns as f64 / 1e6
        );
    }
    for (name, count) in [
        ("damaged", now.damaged),
        ("without a mark", now.foreign),
        ("due, and no buffer left", now.starved),
    ] {
        if count > 0 {
            let _ = writeln!(text, "{name}: {count}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_above_the_line_is_not_shown() {
        assert_eq!(rate(1_000_000, 0, 1.0, 1_488_095.0), Some(1_000_000.0));
        assert_eq!(rate(1_600_000, 0, 1.0, 1_488_095.0), None);
        assert_eq!(pps(rate(1_600_000, 0, 1.0, 1_488_095.0)), "above line");
        assert!(rate(u64::MAX, 0, 1.0, f64::INFINITY).is_some());
    }
}
