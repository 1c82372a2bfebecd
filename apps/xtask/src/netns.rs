//! Two hosts (network namespaces) joined only by l2fwd, over interfaces of the kernel; and a capture through capture files.

mod long;
mod lost;
mod replay;
mod spread;
pub mod world;

use crate::cmd;
use crate::host::{Missing, need_packages};
use crate::paths::Paths;
use crate::program;
use crate::test::Outcome;
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Instant;
use world::{ADDRESSES, Joint, Running, World};

/// What is copied in MiB unless `BARLINE_NETNS_MIB` says otherwise.
const FILE_MIB: u64 = 64;
/// Seconds of each run of iperf3: what a run shows, bytes that come through, the first second does.
const SECONDS: &str = "1";
/// Bits a second of UDP: 900 datagrams, of which a receive ring holds some seconds' worth.
const UDP_RATE: &str = "10M";
/// Descriptors of it, so that a forwarder that is not running for a while loses nothing.
const RING: &str = "4096";
/// Percent of the datagrams that may be lost: iperf3's own socket holds few, and others use the processors too.
const LOSS: f64 = 5.0;
/// How often that is tried: it is of the hosts' processors that they are lost, since the forwarder's own account is looked at.
const TRIES: usize = 5;

/// Where the file is received.
const PORT: u16 = 5001;

const PAIRS: [[Joint; 2]; 8] = [
    [Joint::AfPacket, Joint::AfPacket],
    [Joint::AfXdp, Joint::AfXdp],
    [Joint::AfXdp, Joint::AfPacket],
    [Joint::Tap, Joint::AfXdp],
    [Joint::AfXdp, Joint::Tap],
    [Joint::Tap, Joint::Tap],
    [Joint::AfPacket, Joint::Tap],
    [Joint::Tap, Joint::AfPacket],
];

/// The whole step.
pub fn run(paths: &Paths) -> Result<Outcome> {
    if !geteuid().is_root() {
        return Err(Missing(vec!["root: network namespaces need it".to_owned()]).into());
    }
    need_packages(&[
        "bpftool",
        "iperf3",
        "iproute2",
        "iputils-ping",
        "procps",
        "tcpdump",
        "tshark",
    ])?;
    let (l2fwd, dir) = (program::L2FWD_CHECKED.build(paths)?, paths.run_dir("netns"));
    std::fs::create_dir_all(&dir).context("cannot make a directory")?;
    let file = made(&dir)?;
    let long = long::run(&l2fwd, &dir).context("offloads")?;
    println!("    offloads: {long}");
    let lost = lost::run(&l2fwd, &dir).context("interfaces that are lost")?;
    println!("    interfaces that are lost: {lost}");
    let mut done = Vec::new();
    for joints in PAIRS {
        let name = format!("{}-{}", joints[0].name(), joints[1].name());
        let text = pair(&l2fwd, &dir, joints, &file).with_context(|| name.clone())?;
        println!("    {name}: {text}");
        done.push(name);
    }
    let replayed = replay::run(&l2fwd, &dir).context("capture files")?;
    println!("    capture files: {replayed}");
    let spread = spread::run(&l2fwd, &dir).context("several queues")?;
    println!("    several queues: {spread}");
    let killed = killed(&l2fwd, &dir).context("a forwarder that is killed")?;
    println!("    killed: {killed}");
    // It may be a gigabyte.
    std::fs::remove_file(&file)?;
    Ok(Outcome::Passed(format!("{}; {replayed}", done.join(", "))))
}

/// A file of random bytes.
fn made(dir: &Path) -> Result<PathBuf> {
    let mib = match std::env::var("BARLINE_NETNS_MIB") {
        Ok(text) => text.parse().context("BARLINE_NETNS_MIB is a number of MiB")?,
        Err(_) => FILE_MIB,
    };
    let path = dir.join("file");
    let mut from = std::io::Read::take(File::open("/dev/urandom")?, mib << 20);
    std::io::copy(&mut from, &mut File::create(&path)?)?;
    Ok(path)
}

/// Ping, iperf3 both ways, UDP, and the file.
fn pair(l2fwd: &Path, dir: &Path, joints: [Joint; 2], file: &Path) -> Result<String> {
    let world = World::new(l2fwd, dir, joints, &["--rx-ring", RING])?;
    let ping = world.ping(&["-c", "20", "-i", "0.05", "-q"])?;
    ensure!(ping.contains(" 0% packet loss"), "ping: {ping}");
    let times = ping
        .lines()
        .find(|line| line.starts_with("rtt"))
        .unwrap_or_default();
    let there = iperf(&world, &[])?;
    let back = iperf(&world, &["-R"])?;
    let lost = udp(&world)?;
    let rate = |report: &serde_json::Value| report["end"]["sum_received"]["bits_per_second"].as_f64();
    let (there, back) = (rate(&there).context("no rate")?, rate(&back).context("no rate")?);
    ensure!(there > 0.0 && back > 0.0, "no byte came through");
    let copied = copy(&world, dir, file)?;
    let summary = world.end()?;
    let number = |key: &str| summary[key].as_u64().unwrap_or(0);
    let dropped: u64 = summary["dropped"]
        .as_object()
        .into_iter()
        .flat_map(|reasons| reasons.values())
        .filter_map(serde_json::Value::as_u64)
        .sum();
    ensure!(
        number("received") == number("sent") + dropped + number("held"),
        "the account does not balance: {summary}"
    );
    Ok(format!(
        "{times}; TCP {:.0} and {:.0} Mbit/s; UDP {UDP_RATE} with {lost:.2} % lost; {copied}",
        there / 1e6,
        back / 1e6
    ))
}

/// Percent of the datagrams that did not arrive.
fn udp(world: &World) -> Result<f64> {
    let mut least = f64::INFINITY;
    for _ in 0..TRIES {
        let report = iperf(world, &["-u", "-b", UDP_RATE, "-l", "1400"])?;
        let lost = report["end"]["sum"]["lost_percent"].as_f64();
        least = least.min(lost.with_context(|| format!("iperf3 does not say what was lost: {report}"))?);
        if least <= LOSS {
            return Ok(least);
        }
    }
    bail!("{least} % of the datagrams were lost, of {TRIES} runs in the best");
}

/// One run from the first host to the second, as iperf3 reports it.
fn iperf(world: &World, options: &[&str]) -> Result<serde_json::Value> {
    let mut serve = world.hosts[1].command("iperf3");
    let serve = serve
        .args(["-s", "-1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _server = Running::start(serve)?;
    let mut last = None;
    // The server takes a moment to listen.
    for _ in 0..50 {
        let mut client = world.hosts[0].command("iperf3");
        client
            .args(["-c", ADDRESSES[1], "-t", SECONDS, "-J"])
            .args(options);
        match cmd::text(&mut client) {
            Ok(text) => {
                let report: serde_json::Value = serde_json::from_str(&text)?;
                // It ends with 0 then too.
                let Some(error) = report["error"].as_str() else {
                    return Ok(report);
                };
                last = Some(anyhow::anyhow!("iperf3: {error}"));
            }
            Err(error) => last = Some(error),
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    Err(last.context("iperf3 was not tried")?)
}

/// Copies the file from the first host to the second, and compares hashes.
fn copy(world: &World, dir: &Path, file: &Path) -> Result<String> {
    let copy = dir.join("copy");
    let begin = Instant::now();
    let (listening, ready) = channel();
    let to = copy.clone();
    let receiver = world.hosts[1].run(move || {
        let listener = TcpListener::bind((ADDRESSES[1], PORT))?;
        let _ = listening.send(());
        let (mut from, _) = listener.accept()?;
        Ok(std::io::copy(&mut from, &mut File::create(to)?)?)
    });
    let from = file.to_owned();
    let sender = world.hosts[0].run(move || {
        ready.recv().context("nobody listens")?;
        let mut to = TcpStream::connect((ADDRESSES[1], PORT))?;
        Ok(std::io::copy(&mut File::open(from)?, &mut to)?)
    });
    for side in [sender, receiver] {
        let ended = side
            .join()
            .map_err(|_| anyhow::anyhow!("a side of the copy panicked"))?;
        ended.context("copying")?;
    }
    let seconds = begin.elapsed().as_secs_f64();
    let hash = |path: &Path| -> Result<String> {
        let text = cmd::text(Command::new("sha256sum").arg(path))?;
        Ok(text.split_whitespace().next().unwrap_or_default().to_owned())
    };
    let (here, there) = (hash(file)?, hash(&copy)?);
    let mib = std::fs::metadata(&copy)?.len() >> 20;
    std::fs::remove_file(&copy)?;
    ensure!(
        here == there && !here.is_empty(),
        "hashes differ: {here} and {there}"
    );
    Ok(format!("{mib} MiB copied in {seconds:.1} s, hashes equal"))
}

/// Nothing is left of a forwarder that is killed: no interface, no promiscuous mode, no program.
fn killed(l2fwd: &Path, dir: &Path) -> Result<String> {
    killed_over(l2fwd, dir, Joint::AfPacket, "promiscuity 1")?;
    killed_over(l2fwd, dir, Joint::AfXdp, "prog/xdp")
}

/// `sign` is what shows that the first joint is in use.
fn killed_over(l2fwd: &Path, dir: &Path, joint: Joint, sign: &str) -> Result<String> {
    let world = World::new(l2fwd, dir, [joint, Joint::Tap], &[])?;
    let show = |space: &world::Namespace| cmd::text(space.command("ip").args(["-d", "link", "show"]));
    ensure!(show(&world.middle)?.contains(sign), "{sign} was there");
    ensure!(show(&world.hosts[1])?.contains("eth0"), "it had an interface");
    let World {
        forwarder,
        hosts,
        middle,
        ..
    } = world;
    forwarder.stop(Signal::SIGKILL)?;
    ensure!(
        !show(&middle)?.contains("promiscuity 1") && !show(&middle)?.contains("prog/xdp"),
        "{sign} is left"
    );
    ensure!(!show(&hosts[1])?.contains("eth0"), "an interface is left");
    Ok("nothing left".to_owned())
}
