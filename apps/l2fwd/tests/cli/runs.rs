//! Runs that end well, and what they print.

use super::{SMALL, capture, checked, fails, l2fwd, summary};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pcap_file::pcapng::{Block, PcapNgReader};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::{self, available_parallelism};
use std::time::{Duration, Instant};

#[test]
fn offloads_are_taken_as_far_as_ports_have_them() {
    for kind in ["off", "checksum", "on"] {
        for ports in ["sim:82576,sim:82576", "sim:virtio-net,null:", "ring:,null:"] {
            let rings = ["--rx-ring", "64", "--tx-ring", "64", "--seconds", "0.2"];
            let told = summary(&[&["--ports", ports, "--offloads", kind], &rings[..]].concat());
            assert_eq!(told["dropped"]["tx_offload"], 0);
        }
    }
}

#[test]
fn json_is_a_line_a_second_and_a_summary_that_balances() {
    let out = l2fwd(&[&SMALL[..], &["--json", "--seconds", "2.5"]].concat());
    let text = String::from_utf8(out.stdout).unwrap();
    let summary = checked(&text);
    // Started, once or twice a second's line (a busy machine may swallow one), the summary.
    assert!((3..=4).contains(&text.lines().count()), "{text}");
    assert!(summary["received"].as_u64().unwrap() > 1000);
    assert!(summary["seconds"].as_f64().unwrap() >= 2.5);
    assert_eq!(out.stderr, b"");
}

#[test]
fn without_json_the_summary_is_words_and_no_escape_codes() {
    let out = l2fwd(&["--seconds", "0.2"]);
    assert_eq!(out.status.code(), Some(0));
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.contains("received ") && !text.contains('\x1b'), "{text}");
    let message = String::from_utf8(out.stderr).unwrap();
    assert!(message.lines().count() <= 1, "{message}");
    assert!(
        message.is_empty() || message.contains("/nr_hugepages"),
        "{message}"
    );
}

#[test]
fn a_file_is_played_once_at_every_port_and_then_the_run_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = capture(dir.path(), 300);
    let name = path.to_str().unwrap();
    for (arguments, frames) in [
        (&["--burst", "1"][..], 600),
        (&["--queues", "4"], 600),
        (&["--ports", "sim:82576"], 300),
        (&["--ports", "sim:82576,sim:82576,sim:82576"], 900),
        (&["--no-mac-update", "--mtu", "9000"], 600),
    ] {
        let summary = summary(&[&["--replay", name], arguments].concat());
        let totals = ["received", "sent", "held"].map(|key| summary[key].as_u64().unwrap());
        assert_eq!(totals, [frames, frames, 0], "{arguments:?}: {summary}");
    }
    let more = summary(&["--replay", name, "--repeat", "--seconds", "0.3"]);
    assert!(more["received"].as_u64().unwrap() > 600);
    // Frames for another station, and only those for its own are wanted.
    let none = summary(&["--replay", name, "--no-promiscuous"]);
    assert_eq!(none["received"], 0);
}

/// Frames played at one port, watched there and where they are sent: both files have all of them.
#[test]
fn what_passes_a_port_is_in_its_capture() {
    let dir = tempfile::tempdir().unwrap();
    let path = capture(dir.path(), 200);
    let [first, second] = ["first.pcapng", "second.pcapng"].map(|name| dir.path().join(name));
    let ports = format!(
        "sim:82576+capture={},sim:82576+trace=1+capture={},limit=150",
        first.display(),
        second.display()
    );
    let arguments = ["--replay", path.to_str().unwrap(), "--ports", &ports, "--json"];
    let out = l2fwd(&[&SMALL[..], &arguments].concat());
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    assert!(
        String::from_utf8(out.stderr)
            .unwrap()
            .contains("IPv4 10.0.0.1 > 10.0.0.2")
    );
    let count = |file: &Path| {
        let mut reader = PcapNgReader::new(fs::File::open(file).unwrap()).unwrap();
        let mut frames = 0;
        while let Some(block) = reader.next_block() {
            frames += usize::from(matches!(block.unwrap(), Block::EnhancedPacket(_)));
        }
        frames
    };
    // Received and sent: 200 each at either port.
    assert_eq!((count(&first), count(&second)), (400, 150));
    let none = format!("sim:82576+capture={}/no/where", dir.path().display());
    fails(&["--ports", &none], 2, "name a file that this user may write");
}

#[test]
fn two_queues_on_two_cores_both_work() {
    if available_parallelism().map_or(1, usize::from) < 2 {
        eprintln!("SKIP: this machine has one core");
        return;
    }
    let cores = barline::worker::Cores::read().unwrap().all();
    let list = format!("{},{}", cores[0], cores[1]);
    let summary = summary(&["--queues", "2", "--cores", &list, "--seconds", "0.5"]);
    assert!(summary["received"].as_u64().unwrap() > 1000);
    fails(&["--queues", "1", "--cores", &list], 2, "--queues 2");
}

#[test]
fn devices_with_threads_of_their_own_work_too() {
    let port = "sim:82576,mode=thread";
    let summary = summary(&["--ports", &[port, port].join(","), "--seconds", "0.5"]);
    assert!(summary["sent"].as_u64().unwrap() > 0);
}

#[test]
fn settings_come_from_the_file_and_from_the_command_line() {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/l2fwd.toml");
    let summary = summary(&["--config", config, "--seconds", "0.2"]);
    assert_eq!(summary["ports"].as_array().unwrap().len(), 2);
}

#[test]
fn signals_end_it_in_good_order() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_l2fwd"));
        command.args(SMALL).arg("--json").stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut text = String::new();
        out.read_line(&mut text).unwrap();
        thread::sleep(Duration::from_millis(50));
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        let sent = Instant::now();
        out.read_to_string(&mut text).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{text}");
        assert!(sent.elapsed() < Duration::from_secs(60));
        assert!(checked(&text)["received"].as_u64().unwrap() > 0);
    }
}

#[test]
fn it_ends_when_nobody_reads_its_output() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_l2fwd"));
    command
        .args(SMALL)
        .arg("--json")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let out = child.wait_with_output().unwrap();
    assert_eq!((out.status.code(), out.stderr), (Some(0), vec![]));
}
