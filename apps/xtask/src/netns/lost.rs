//! Interfaces that are lost while l2fwd runs: their ports say so, and the others go on.

use super::world::{Joint, World};
use crate::cmd;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs::read_to_string;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Ports beside those that join the hosts: one of each kind that has an interface, and some that have none.
const BESIDE: [&str; 6] = [
    "af_packet:x0",
    "af_xdp:x1",
    "tap:x2",
    "null:sink",
    "af_xdp:x3",
    "null:sink",
];
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
        told(&world, port, "gone")?;
        others_go_on(&world, port)?;
    }
    take_off(&world, "x3").context("taking the program off x3")?;
    let event = told(&world, "af_xdp:x3", "taken")?;
    let reason = event["reason"].as_str().unwrap_or_default();
    ensure!(
        reason.contains("was taken off") && reason.contains("open the port again"),
        "no cause and remedy: {event}"
    );
    others_go_on(&world, "af_xdp:x3")?;
    ensure!(program(&world, "x3")?.is_none(), "a program is left on x3");
    // One that was taken over is a failure.
    world.end_with(1)?;
    let lost = losses.map(|(port, _)| port).join(", ");
    Ok(format!(
        "{lost}, and af_xdp:x3, which another program took over, are told, the others go on"
    ))
}

fn others_go_on(world: &World, port: &str) -> Result<()> {
    let ping = world.ping(&["-c", "20", "-i", "0.02", "-q"])?;
    ensure!(
        ping.contains(" 0% packet loss"),
        "without {port} the others do not go on: {ping}"
    );
    Ok(())
}

/// The number of the XDP program on an interface.
fn program(world: &World, interface: &str) -> Result<Option<u64>> {
    let mut show = world.middle.command("ip");
    let text = cmd::text(show.args(["-j", "-d", "link", "show", interface]))?;
    let shown: Value = serde_json::from_str(&text)?;
    Ok(shown[0]["xdp"]["prog"]["id"].as_u64())
}

/// Takes the program off an interface, as anybody with the right can.
fn take_off(world: &World, interface: &str) -> Result<()> {
    let program = program(world, interface)?.context("no program")?;
    let tool = |arguments: &[&str]| cmd::text(world.middle.command("bpftool").args(arguments));
    let links: Value = serde_json::from_str(&tool(&["-j", "link", "show"])?)?;
    let mut links = links.as_array().into_iter().flatten();
    let link = links.find(|link| link["type"] == "xdp" && link["prog_id"] == program);
    let id = link.and_then(|link| link["id"].as_u64()).context("no link")?;
    tool(&["link", "detach", "id", &id.to_string()]).map(drop)
}

/// Waits until the forwarder says that this happened to a port; what it said.
fn told(world: &World, port: &str, event: &str) -> Result<Value> {
    let end = Instant::now() + LIMIT;
    loop {
        let text = read_to_string(&world.log)?;
        // The last line may not be whole yet, and is none then.
        let mut lines = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let said = lines.find(|line| line["type"] == "event" && line["name"] == port);
        if let Some(line) = said {
            ensure!(line["event"] == event, "{port}: {line}");
            return Ok(line);
        }
        ensure!(
            Instant::now() < end,
            "{port} is not said to be {event}: {}",
            world.said()
        );
        sleep(Duration::from_millis(20));
    }
}
