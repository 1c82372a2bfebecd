//! Interfaces that are lost while l2fwd runs: their ports say so, and the others go on.

use super::world::{Joint, World};
use anyhow::{Result, ensure};
use std::fs::read_to_string;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Ports beside those that join the hosts: one of each kind that has an interface, and one that has none.
const BESIDE: [&str; 4] = ["af_packet:x0", "af_xdp:x1", "tap:x2", "null:sink"];
const LIMIT: Duration = Duration::from_secs(30);

/// Loses one after the other, and pings through the ports that are left.
pub fn run(l2fwd: &Path, dir: &Path) -> Result<String> {
    let world = World::beside(l2fwd, dir, [Joint::AfPacket, Joint::AfXdp], &[], &BESIDE)?;
    let other = world.hosts[0].0.clone();
    let losses: [(&str, &[&str]); 3] = [
        ("af_packet:x0", &["link", "del", "x0"]),
        ("af_xdp:x1", &["link", "set", "x1", "netns", &other]),
        ("tap:x2", &["link", "del", "x2"]),
    ];
    for (port, loss) in losses {
        world.middle.ip(loss)?;
        told(&world, port)?;
        let ping = world.ping(&["-c", "20", "-i", "0.02", "-q"])?;
        ensure!(
            ping.contains(" 0% packet loss"),
            "without {port} the others do not go on: {ping}"
        );
    }
    world.end()?;
    Ok(format!(
        "{} are told, the others go on",
        losses.map(|(port, _)| port).join(", ")
    ))
}

/// Waits until the forwarder says that a port is gone.
fn told(world: &World, port: &str) -> Result<()> {
    let end = Instant::now() + LIMIT;
    loop {
        let text = read_to_string(&world.log)?;
        // The last line may not be whole yet, and is none then.
        let mut lines = text
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        if lines.any(|line| line["type"] == "event" && line["name"] == port && line["event"] == "gone") {
            return Ok(());
        }
        ensure!(
            Instant::now() < end,
            "{port} is not said to be gone: {}",
            world.said()
        );
        sleep(Duration::from_millis(20));
    }
}
