//! Traffic as it was captured, through l2fwd from one capture file to another.

use super::world::{Joint, World};
use crate::cmd;
use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::{Block, PcapNgReader};
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

/// What l2fwd writes into frames that leave by port 1.
const DESTINATION: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Captures, replays, compares, and lets tshark read the result.
pub fn run(l2fwd: &Path, dir: &Path) -> Result<String> {
    let (input, output) = (dir.join("in.pcap"), dir.join("out.pcapng"));
    capture(l2fwd, dir, &input)?;
    let ports = format!("pcap:rx={},pcap:tx={}", input.display(), output.display());
    // It ends by itself, when the file has.
    cmd::output(Command::new(l2fwd).args(["--ports", &ports, "--json"]))?;
    let (before, after) = (read_pcap(&input)?, read_pcapng(&output)?);
    ensure!(
        before.len() == after.len(),
        "{} frames in, {} out",
        before.len(),
        after.len()
    );
    for (index, (before, after)) in before.iter().zip(&after).enumerate() {
        ensure!(before[12..] == after[12..], "frame {index} is changed");
        ensure!(after[..6] == DESTINATION, "frame {index} goes elsewhere");
    }
    let fields = ["frame.interface_name", "frame.time_epoch"];
    let mut tshark = Command::new("tshark");
    tshark.args(["-r"]).arg(&output).args(["-T", "fields"]);
    for field in fields {
        tshark.args(["-e", field]);
    }
    let seen = cmd::text(&mut tshark)?;
    let mut rows = 0;
    for row in seen.lines() {
        let (name, time) = row.split_once('\t').context("two fields")?;
        let fraction = time.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        ensure!(name == "barline" && fraction == 9, "tshark reads {row:?}");
        rows += 1;
    }
    ensure!(
        rows == after.len(),
        "tshark reads {rows} frames of {}",
        after.len()
    );
    Ok(format!(
        "{rows} frames replayed, equal but for addresses; tshark reads them"
    ))
}

/// Pings and a short TCP run between two hosts, seen at the first one's interface.
fn capture(l2fwd: &Path, dir: &Path, path: &Path) -> Result<()> {
    let world = World::new(l2fwd, dir, [Joint::Tap, Joint::Tap], &[])?;
    let mut tcpdump = world.hosts[0].command("tcpdump");
    tcpdump
        .args(["-i", "eth0", "-s", "0", "-U", "-Z", "root", "-w"])
        .arg(path);
    tcpdump.stdout(Stdio::null()).stderr(Stdio::null());
    let tcpdump = super::Running::start(&mut tcpdump)?;
    // It listens when the file has its header.
    for _ in 0..200 {
        if std::fs::metadata(path).is_ok_and(|file| file.len() >= 24) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    world.ping(&["-c", "20", "-i", "0.02"])?;
    super::iperf(&world, &["-b", "5M"])?;
    tcpdump.stop(Signal::SIGINT)?;
    world.end().map(drop)
}

fn read_pcap(path: &Path) -> Result<Vec<Vec<u8>>> {
    let mut reader = PcapReader::new(File::open(path)?)?;
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        frames.push(packet?.data.into_owned());
    }
    ensure!(frames.len() > 100, "only {} frames were captured", frames.len());
    Ok(frames)
}

fn read_pcapng(path: &Path) -> Result<Vec<Vec<u8>>> {
    let mut reader = PcapNgReader::new(File::open(path)?)?;
    let mut frames = Vec::new();
    while let Some(block) = reader.next_block() {
        if let Block::EnhancedPacket(packet) = block? {
            frames.push(packet.data.into_owned());
        }
    }
    Ok(frames)
}
