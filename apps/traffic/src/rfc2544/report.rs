//! Results: as a table, JSON and CSV.

use super::Outcome;
use crate::latency::Summary;
use crate::size::GAP;
use serde::Serialize;
use std::fmt::Write;

/// All that was found out.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// What was between the ports, in the user's words.
    pub title: String,
    /// Seconds of a trial.
    pub seconds: f64,
    /// Whether it was ended before all was done.
    pub partial: bool,
    /// By size.
    pub sizes: Vec<SizeReport>,
}

/// What was found out with frames of one size.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SizeReport {
    /// Bytes with FCS.
    pub size: usize,
    /// Packets a second that the line takes.
    pub line_pps: f64,
    /// The greatest rate without loss.
    pub ndr: Option<Throughput>,
    /// The greatest rate with little loss.
    pub pdr: Option<Throughput>,
    /// At the throughput and below.
    pub latency: Vec<Latency>,
    /// From the line's rate down.
    pub frame_loss: Vec<Loss>,
    /// Frames of the longest burst without loss.
    pub back_to_back: Option<u64>,
    /// Whether the sender was too slow for some of the rates: what was found is then its limit, not the device's.
    pub sender_limited: bool,
    /// The longest burst that was tried.
    pub back_to_back_limit: u64,
}

/// A rate.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Throughput {
    /// Packets a second.
    pub pps: f64,
    /// Bits on the wire a second.
    pub l1_bps: f64,
    /// Bits of frames a second.
    pub l2_bps: f64,
    /// Of the line.
    pub percent: f64,
    /// Share of loss in its trial.
    pub loss: f64,
}

/// Latency at one rate.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Latency {
    /// Packets a second.
    pub pps: f64,
    /// Frames lost in this trial.
    pub lost: u64,
    /// Nanoseconds.
    pub ns: Summary,
}

/// Loss at one rate.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Loss {
    /// Of the line's rate.
    pub percent: u32,
    /// Packets a second.
    pub pps: f64,
    /// Share of lost frames, 0 to 1.
    pub loss: f64,
}

impl Throughput {
    pub(super) fn new(size: usize, line: f64, pps: f64, outcome: &Outcome) -> Self {
        Self {
            pps,
            l1_bps: pps * (size + GAP) as f64 * 8.0,
            l2_bps: pps * size as f64 * 8.0,
            percent: if line > 0.0 { pps / line * 100.0 } else { 0.0 },
            loss: outcome.loss(),
        }
    }
}

/// A number, or a dash for none.
fn or_dash(value: Option<String>) -> String {
    value.unwrap_or_else(|| "-".to_owned())
}

impl Report {
    /// For a person.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:>6} {:>12} {:>12} {:>8} {:>12} {:>10} {:>10} {:>10} {:>13}\n",
            "size", "line pps", "NDR pps", "of line", "PDR pps", "p50 us", "p99 us", "max us", "back-to-back"
        );
        for of in &self.sizes {
            let latency = of.latency.first();
            let us = |of: fn(&Summary) -> u64| {
                or_dash(latency.map(|one| format!("{:.1}", of(&one.ns) as f64 / 1e3)))
            };
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{:>6} {:>12.0} {:>12} {:>8} {:>12} {:>10} {:>10} {:>10} {:>13}",
                of.size,
                of.line_pps,
                or_dash(of.ndr.map(|ndr| format!("{:.0}", ndr.pps))),
                or_dash(of.ndr.map(|ndr| format!("{:.2}%", ndr.percent))),
                or_dash(of.pdr.map(|pdr| format!("{:.0}", pdr.pps))),
                us(|ns| ns.p50),
                us(|ns| ns.p99),
                us(|ns| ns.max),
                or_dash(of.burst()),
            );
        }
        for of in self.sizes.iter().filter(|of| !of.frame_loss.is_empty()) {
            let steps = of
                .frame_loss
                .iter()
                .map(|one| format!("{}%: {:.3}%", one.percent, one.loss * 100.0));
            let _ = writeln!(
                text,
                "frame loss, {} bytes: {}",
                of.size,
                steps.collect::<Vec<_>>().join(", ")
            );
        }
        for of in self.sizes.iter().filter(|of| of.sender_limited) {
            let _ = writeln!(
                text,
                "{} bytes: the sender itself was too slow for the higher rates; give it cores: --cores, --queues",
                of.size
            );
        }
        if self.partial {
            text += "ended before all was done\n";
        }
        text
    }

    /// One row a size.
    pub fn csv(&self) -> String {
        let mut text = String::from(
            "size,line_pps,ndr_pps,ndr_percent,pdr_pps,latency_min_ns,latency_mean_ns,latency_p50_ns,latency_p99_ns,latency_p9999_ns,latency_max_ns,back_to_back,loss_at_line\n",
        );
        for of in &self.sizes {
            let rate = |rate: Option<f64>| rate.map_or(String::new(), |rate| format!("{rate:.1}"));
            let ns = of.latency.first().map(|one| one.ns);
            let whole = |of: fn(&Summary) -> u64| ns.map_or(String::new(), |ns| of(&ns).to_string());
            let _ = writeln!(
                text,
                "{},{:.1},{},{},{},{},{},{},{},{},{},{},{}",
                of.size,
                of.line_pps,
                rate(of.ndr.map(|ndr| ndr.pps)),
                rate(of.ndr.map(|ndr| ndr.percent)),
                rate(of.pdr.map(|pdr| pdr.pps)),
                whole(|ns| ns.min),
                rate(ns.map(|ns| ns.mean)),
                whole(|ns| ns.p50),
                whole(|ns| ns.p99),
                whole(|ns| ns.p9999),
                whole(|ns| ns.max),
                of.back_to_back.map_or(String::new(), |frames| frames.to_string()),
                of.frame_loss
                    .first()
                    .map_or(String::new(), |loss| format!("{:.6}", loss.loss)),
            );
        }
        text
    }
}

impl SizeReport {
    /// The longest burst, with a mark where a longer one was not tried.
    fn burst(&self) -> Option<String> {
        self.back_to_back
            .map(|frames| match frames >= self.back_to_back_limit {
                true => format!(">={frames}"),
                false => frames.to_string(),
            })
    }
}
