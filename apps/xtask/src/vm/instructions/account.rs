//! What the two programs say of themselves, and the result.

use super::SHIFT;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// Instructions in a second of the guest's time.
const A_SECOND: f64 = 1e9 / (1 << SHIFT) as f64;

/// What one program did.
#[derive(Debug, Default)]
pub struct Tally {
    /// Packets sent a second of the guest's time, a number for each window.
    pub rates: Vec<f64>,
    /// Packets sent in all boots, and writes to tail registers that QEMU saw.
    pub packets: u64,
    pub receive_doorbells: u64,
    pub transmit_doorbells: u64,
    /// Receive calls, and those that found nothing, in the windows; only our program says.
    pub polls: u64,
    pub idle_polls: u64,
}

/// Reads l2fwd's account after each window, one before them, and its summary.
pub fn of_l2fwd(lines: &[String], windows: usize, tally: &mut Tally) -> Result<()> {
    ensure!(
        lines.len() == windows + 2,
        "there are not as many lines as windows"
    );
    let accounts: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line))
        .collect::<Result<_, _>>()?;
    let sent = |account: &Value| account["sent"].as_u64().context("no packets sent");
    for pair in accounts[..=windows].windows(2) {
        let seconds = |account: &Value| account["seconds"].as_f64().context("no time");
        let time = seconds(&pair[1])? - seconds(&pair[0])?;
        tally
            .rates
            .push((sent(&pair[1])? - sent(&pair[0])?) as f64 / time);
    }
    let dropped = accounts[windows + 1]["dropped"].as_object().context("no drops")?;
    ensure!(dropped.values().all(|count| count == 0), "packets were dropped");
    tally.packets += sent(&accounts[windows + 1])?;
    let all = |account: &Value, name: &str| {
        let ports = account["ports"].as_array().map_or(&[][..], Vec::as_slice);
        ports
            .iter()
            .filter_map(|port| port["queues"][name].as_u64())
            .sum::<u64>()
    };
    let more = |name| all(&accounts[windows], name) - all(&accounts[0], name);
    tally.polls += more("rx_polls");
    tally.idle_polls += more("rx_idle_polls");
    Ok(())
}

/// Reads what testpmd shows of its ports after each window, two lines each, and the account of all ports at the end.
pub fn of_testpmd(lines: &[String], windows: usize, tally: &mut Tally) -> Result<()> {
    let rates: Vec<u64> = lines.iter().filter_map(|line| field(line, "Tx-pps:")).collect();
    ensure!(
        rates.len() >= 2 * windows && rates.len().is_multiple_of(2),
        "there are too few windows"
    );
    let measured = &rates[rates.len() - 2 * windows..];
    tally
        .rates
        .extend(measured.chunks(2).map(|ports| ports.iter().sum::<u64>() as f64));
    let all = lines
        .iter()
        .rfind(|line| line.contains("TX-dropped:"))
        .context("no account")?;
    ensure!(field(all, "TX-dropped:") == Some(0), "packets were dropped");
    tally.packets += field(all, "TX-packets:").context("no packets sent")?;
    Ok(())
}

/// The number after a name.
fn field(line: &str, name: &str) -> Option<u64> {
    line.split_once(name)?.1.split_whitespace().next()?.parse().ok()
}

impl Tally {
    /// Instructions a packet: the median window's, the least and the most.
    fn instructions(&self) -> [f64; 3] {
        let mut all: Vec<f64> = self.rates.iter().map(|rate| A_SECOND / rate).collect();
        all.sort_by(f64::total_cmp);
        let (middle, most) = (all.len() / 2, all.len() - 1);
        let median = (all[middle] + all[most - middle]) / 2.0;
        [median, all[0], all[most]]
    }

    /// Writes to receive and to transmit tail registers for each packet sent.
    fn doorbells(&self) -> [f64; 2] {
        [self.receive_doorbells, self.transmit_doorbells].map(|count| count as f64 / self.packets as f64)
    }
}

fn rounded(number: f64, digits: i32) -> f64 {
    let unit = 10_f64.powi(digits);
    (number * unit).round() / unit
}

/// The result for programs.
pub fn object(nic: &str, ours: &Tally, peer: &Tally, name: &str) -> Value {
    let ([our, low, high], [their, peer_low, peer_high]) = (ours.instructions(), peer.instructions());
    let bells = |tally: &Tally| rounded(tally.doorbells().iter().sum(), 4);
    json!({
        "bench": format!("vm-{nic}-io"),
        "unit": "instructions/packet",
        "ours": rounded(our, 1),
        "peer": name,
        "theirs": rounded(their, 1),
        "ratio": rounded(our / their, 3),
        "windows": ours.rates.len(),
        "spread": [rounded(low, 1), rounded(high, 1)],
        "peer_spread": [rounded(peer_low, 1), rounded(peer_high, 1)],
        "doorbells_per_packet": bells(ours),
        "peer_doorbells_per_packet": bells(peer),
        "idle_polls": rounded(ours.idle_polls as f64 / ours.polls.max(1) as f64, 4),
    })
}

/// The result for people; Markdown.
pub fn table(ours: &Tally, peer: &Tally, name: &str) -> String {
    let mut text =
        "| 64-byte frames, io, burst 32 | instructions a packet | windows [least..most] | k packets/s \
                    | RX doorbells a packet | TX doorbells a packet |\n|---|---|---|---|---|---|\n"
            .to_owned();
    for (name, tally) in [("l2fwd", ours), (name, peer)] {
        let ([median, low, high], [receive, transmit]) = (tally.instructions(), tally.doorbells());
        text.push_str(&format!(
            "| {name} | {median:.1} | {} [{low:.1}..{high:.1}] | {:.1} | {receive:.4} | {transmit:.4} |\n",
            tally.rates.len(),
            A_SECOND / median / 1e3,
        ));
    }
    text.push_str(&format!(
        "\nratio {:.3}; {} of {} receive calls of l2fwd found nothing\n",
        ours.instructions()[0] / peer.instructions()[0],
        ours.idle_polls,
        ours.polls
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn accounts_of_l2fwd_become_rates() {
        let said = lines(&[
            r#"{"seconds":2.0,"sent":100,"ports":[{"queues":{"rx_polls":10,"rx_idle_polls":5}}]}"#,
            r#"{"seconds":3.0,"sent":600,"ports":[{"queues":{"rx_polls":30,"rx_idle_polls":6}}]}"#,
            r#"{"seconds":3.5,"sent":700,"dropped":{"tx_full":0}}"#,
        ]);
        let mut tally = Tally::default();
        of_l2fwd(&said, 1, &mut tally).expect("read");
        assert_eq!((tally.rates.as_slice(), tally.packets), (&[500.0][..], 700));
        assert_eq!((tally.polls, tally.idle_polls), (20, 1));
        assert!(of_l2fwd(&said, 2, &mut tally).is_err());
    }

    #[test]
    fn the_last_outputs_of_testpmd_become_rates() {
        let said = lines(&[
            "  Tx-pps:            1          Tx-bps:            0",
            "  Tx-pps:            1          Tx-bps:            0",
            "  Tx-pps:         1000          Tx-bps:       480000",
            "  Tx-pps:         1001          Tx-bps:       480480",
            "  TX-packets: 7              TX-dropped: 0             TX-total: 7",
            "  TX-packets: 14             TX-dropped: 0             TX-total: 14",
        ]);
        let mut tally = Tally::default();
        of_testpmd(&said, 1, &mut tally).expect("read");
        assert_eq!((tally.rates.as_slice(), tally.packets), (&[2001.0][..], 14));
        assert!(of_testpmd(&said, 3, &mut tally).is_err());
        assert!(of_testpmd(&lines(&["  TX-packets: 1  TX-dropped: 2 "]), 0, &mut tally).is_err());
    }

    #[test]
    fn the_median_window_counts() {
        let tally = |rates: &[f64]| Tally {
            rates: rates.to_vec(),
            ..Tally::default()
        };
        assert_eq!(
            tally(&[1.25e6, 0.625e6, 1e6]).instructions(),
            [125.0, 100.0, 200.0]
        );
        assert_eq!(tally(&[1.25e6, 0.625e6]).instructions(), [150.0, 100.0, 200.0]);
    }
}
