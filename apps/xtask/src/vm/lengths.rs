//! What l2fwd's closing account says of the packets that were never cut.

use super::capture::Shape;
use super::qemu::Check;
use serde_json::Value;

/// Bytes of the longest frame that was cut: a greater mean says that most are longer.
const UNCUT: u64 = 1_514;
/// Frames that come of cutting, at least.
const SEGMENTS: u64 = 1_000;

/// A port's account of one direction.
#[derive(Debug, Default)]
struct Way {
    packets: u64,
    bytes: u64,
    segments: u64,
    refused: u64,
}

impl Way {
    fn of(port: &Value, way: &str) -> Self {
        let number = |name: &str| port["queues"][format!("{way}_{name}")].as_u64().unwrap_or(0);
        Self {
            packets: number("packets"),
            bytes: number("bytes"),
            segments: number("segments"),
            refused: number("offload"),
        }
    }

    fn mean(&self) -> u64 {
        self.bytes / self.packets.max(1)
    }
}

/// Each port of the account received and sent packets as they are to be, and cut none in software.
pub fn lengths(summary: &str, shape: Shape) -> Vec<Check> {
    let summary: Value = serde_json::from_str(summary).unwrap_or_default();
    let ports = summary["ports"].as_array().map_or(&[][..], Vec::as_slice);
    let mut checks: Vec<Check> = ports
        .iter()
        .enumerate()
        .map(|(index, port)| {
            let [rx, tx] = ["rx", "tx"].map(|way| Way::of(port, way));
            let long = [&rx, &tx].map(|way| way.mean() > UNCUT);
            let good = long == [shape == Shape::Long; 2] && tx.segments == 0 && tx.refused == 0;
            Check::new(format!("lengths-{index}"), good, text(&rx, &tx))
        })
        .collect();
    if checks.len() != 2 {
        checks.push(Check::new("lengths", false, "no account of two ports"));
    }
    checks
}

/// What ports say of which the second one's peer takes whole frames only: it makes them of long packets.
pub fn cut(summary: &str) -> Vec<Check> {
    let summary: Value = serde_json::from_str(summary).unwrap_or_default();
    let of = |index: usize, way| Way::of(&summary["ports"][index], way);
    let (rx, tx) = (of(0, "rx"), of(1, "tx"));
    let good = tx.segments > SEGMENTS && tx.mean() <= UNCUT && tx.refused == 0;
    let (back, there) = (of(1, "rx"), of(0, "tx"));
    let plain = there.segments == 0 && there.refused == 0;
    vec![
        Check::new("cut-in-software", good, text(&rx, &tx)),
        Check::new("not-cut", plain, text(&back, &there)),
    ]
}

fn text(rx: &Way, tx: &Way) -> String {
    format!(
        "received {} of {} bytes each, sent {} of {}; {} by cutting, {} refused",
        rx.packets,
        rx.mean(),
        tx.packets,
        tx.mean(),
        tx.segments,
        tx.refused
    )
}
