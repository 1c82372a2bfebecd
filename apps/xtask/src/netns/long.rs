//! TCP with offloads: the kernel leaves checksums and segments to whoever can do them, through l2fwd.

use super::world::{Joint, Namespace, World};
use crate::cmd;
use anyhow::{Context, Result, ensure};
use std::path::Path;

/// Mean bytes of a received packet that say that packets came through that were never cut: the MTU is 1,500.
const UNCUT: u64 = 3_000;

/// Between taps, which cut and sum up nothing, and between a tap and a port for which software does all of it.
const PAIRS: [[Joint; 2]; 3] = [
    [Joint::Tap, Joint::Tap],
    [Joint::Tap, Joint::AfPacket],
    [Joint::AfPacket, Joint::Tap],
];

/// iperf3 both ways over each pair.
pub fn run(l2fwd: &Path, dir: &Path) -> Result<String> {
    let done = PAIRS.map(|joints| {
        let name = format!("{}-{}", joints[0].name(), joints[1].name());
        pair(l2fwd, dir, joints).with_context(|| name.clone())
    });
    let done: Vec<String> = done.into_iter().collect::<Result<_>>()?;
    Ok(done.join("; "))
}

fn pair(l2fwd: &Path, dir: &Path, joints: [Joint; 2]) -> Result<String> {
    let options = ["--offloads", "on", "--rx-ring", "256", "--tx-ring", "256"];
    let world = World::new(l2fwd, dir, joints, &options)?;
    let means = [one_way(&world, 1, &[])?, one_way(&world, 0, &["-R"])?];
    for host in &world.hosts {
        let bad = checksum_errors(host)?;
        ensure!(bad == 0, "{bad} segments of TCP had a wrong checksum");
    }
    let summary = world.end()?;
    let ports = summary["ports"].as_array().context("no ports")?;
    for (index, joint) in joints.into_iter().enumerate() {
        // Long packets come out of a tap as they are if they went into one, and are cut for others.
        let segments = ports[index]["queues"]["tx_segments"].as_u64().unwrap_or(0);
        let (cuts, from) = (joint != Joint::Tap, joints[1 - index]);
        ensure!(cuts == (segments > 0), "port {index} has cut {segments} segments");
        let uncut = means[1 - index] > UNCUT;
        let both = joint == Joint::Tap && from == Joint::Tap;
        ensure!(
            !both || uncut,
            "packets of {} bytes on average, none is long",
            means[1 - index]
        );
    }
    Ok(format!(
        "{}-{} with packets of {} and {} bytes on average",
        joints[0].name(),
        joints[1].name(),
        means[0],
        means[1]
    ))
}

/// A run of iperf3; the mean length of packets that the host received during it.
fn one_way(world: &World, to: usize, options: &[&str]) -> Result<u64> {
    let host = &world.hosts[to];
    let before = [counter(host, "rx_bytes")?, counter(host, "rx_packets")?];
    let report = super::iperf(world, options)?;
    let rate = report["end"]["sum_received"]["bits_per_second"].as_f64();
    ensure!(
        rate.is_some_and(|rate| rate > 0.0),
        "no byte came through: {report}"
    );
    let after = [counter(host, "rx_bytes")?, counter(host, "rx_packets")?];
    Ok((after[0] - before[0]) / (after[1] - before[1]).max(1))
}

fn counter(host: &Namespace, name: &str) -> Result<u64> {
    let path = format!("/sys/class/net/eth0/statistics/{name}");
    let text = cmd::text(host.command("cat").arg(path))?;
    text.trim().parse().context("no number")
}

/// Segments that the kernel's TCP threw away.
fn checksum_errors(host: &Namespace) -> Result<u64> {
    let text = cmd::text(host.command("cat").arg("/proc/net/snmp"))?;
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next().context("no Tcp:")?, lines.next().context("no Tcp:")?);
    let at = names.split_whitespace().position(|name| name == "InCsumErrors");
    let value = at.and_then(|at| values.split_whitespace().nth(at));
    value.context("no InCsumErrors")?.parse().context("no number")
}
