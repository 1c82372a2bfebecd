//! Flows spread over the receive queues of one interface, an `af_xdp:` port on each.

use super::world::{ADDRESSES, Namespace, Running};
use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use std::fs::{File, read_to_string};
use std::net::UdpSocket;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Receive queues. A veth's sender chooses by a hash of the flow.
const QUEUES: usize = 4;
/// Flows, of which each queue is to get its share within a factor of two.
const FLOWS: usize = 512;
const LIMIT: Duration = Duration::from_secs(30);

/// Frames that each queue received.
pub fn run(l2fwd: &Path, dir: &Path) -> Result<String> {
    let (host, middle) = (Namespace::new("s")?, Namespace::new("t")?);
    let queues = QUEUES.to_string();
    let shape = ["numrxqueues", &queues, "numtxqueues", &queues];
    let pair = [
        &["link", "add", "m0"][..],
        &shape,
        &["type", "veth", "peer", "name", "eth0"],
        &shape,
        &["netns", &host.0],
    ];
    middle.ip(&pair.concat())?;
    middle.ip(&["link", "set", "m0", "up"])?;
    let ports: Vec<String> = (0..QUEUES)
        .map(|queue| format!("af_xdp:m0,queue={queue}"))
        .collect();
    let log = dir.join("spread.json");
    let mut command = middle.command(l2fwd);
    command.args(["--ports", &ports.join(","), "--no-mac-update", "--json"]);
    let errors = File::create(log.with_extension("log"))?;
    command
        .stdin(Stdio::null())
        .stdout(File::create(&log)?)
        .stderr(errors);
    let mut forwarder = Running::start(&mut command)?;
    await_line(&log, &mut forwarder, |line| line["type"] == "started")?;
    host.ip(&["link", "set", "eth0", "up"])?;
    host.ip(&["addr", "add", &format!("{}/24", ADDRESSES[0]), "dev", "eth0"])?;
    let to = [
        "neigh",
        "add",
        ADDRESSES[1],
        "lladdr",
        "02:00:00:00:00:99",
        "dev",
        "eth0",
    ];
    host.ip(&to)?;
    let sender = host.run(|| {
        for _ in 0..FLOWS {
            let socket = UdpSocket::bind((ADDRESSES[0], 0))?;
            socket.send_to(&[0; 64], (ADDRESSES[1], 9))?;
        }
        Ok(())
    });
    sender
        .join()
        .map_err(|_| anyhow::anyhow!("the sender panicked"))??;
    let mut sum = 0;
    await_line(&log, &mut forwarder, |line| {
        if line["type"] == "stats" {
            sum = line["received"].as_u64().unwrap_or(0);
        }
        sum >= FLOWS as u64
    })?;
    let status = forwarder.stop(Signal::SIGINT)?;
    ensure!(status.success(), "l2fwd ended with {status}");
    let text = read_to_string(&log)?;
    let summary: serde_json::Value = serde_json::from_str(text.lines().last().context("no summary")?)?;
    let received = |port: &serde_json::Value| port["queues"]["rx_packets"].as_u64().unwrap_or(0);
    let counts: Vec<u64> = summary["ports"]
        .as_array()
        .into_iter()
        .flatten()
        .map(received)
        .collect();
    let share = (FLOWS / QUEUES) as u64;
    ensure!(
        counts.len() == QUEUES && counts.iter().all(|count| (share / 2..=share * 2).contains(count)),
        "{FLOWS} flows came to the queues as {counts:?}"
    );
    Ok(format!("{FLOWS} flows came to {QUEUES} queues as {counts:?}"))
}

/// Waits for a line that is as wanted; looks at every line once.
fn await_line(
    log: &Path,
    forwarder: &mut Running,
    mut wanted: impl FnMut(&serde_json::Value) -> bool,
) -> Result<()> {
    let (end, mut seen) = (Instant::now() + LIMIT, 0);
    loop {
        let text = read_to_string(log)?;
        // The last one may not be whole yet.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in whole.lines().skip(seen) {
            seen += 1;
            if wanted(&serde_json::from_str(line)?) {
                return Ok(());
            }
        }
        let said = || read_to_string(log.with_extension("log")).unwrap_or_default();
        ensure!(forwarder.has_ended()?.is_none(), "l2fwd ended: {}", said());
        ensure!(
            Instant::now() < end,
            "l2fwd does not say what was waited for: {}",
            said()
        );
        sleep(Duration::from_millis(20));
    }
}
