//! The program as a user or a script meets it: messages, exit codes, and what it prints.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pcap_file::pcap::{PcapPacket, PcapWriter};
use pcap_file::pcapng::{Block, PcapNgReader};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::{self, available_parallelism};
use std::time::{Duration, Instant};

/// Small enough for any machine; 4 KiB pages on purpose, so that tests do not take each other's huge pages.
const SMALL: [&str; 2] = ["--huge", "none"];

fn l2fwd(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_l2fwd"));
    command.args(arguments).output().unwrap()
}

/// Runs it to a failure: exit code, one line of message that says `wanted`, nothing on standard output.
#[track_caller]
fn fails(arguments: &[&str], code: i32, wanted: &str) {
    let out = l2fwd(arguments);
    let text = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(code), "{arguments:?}: {text}");
    assert!(
        text.contains(wanted),
        "{arguments:?}: {text:?} does not say {wanted:?}"
    );
    assert!(
        text.starts_with("l2fwd: ") || text.starts_with("error: "),
        "{text}"
    );
    assert_eq!(out.stdout, b"", "{arguments:?}");
}

/// Runs it with `--json` and checks every line; the summary.
#[track_caller]
fn summary(arguments: &[&str]) -> Value {
    let out = l2fwd(&[&SMALL[..], &["--json"], arguments].concat());
    let message = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(0), "{arguments:?}: {message}");
    checked(&String::from_utf8(out.stdout).unwrap())
}

#[track_caller]
fn checked(text: &str) -> Value {
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(text.starts_with(r#"{"type":"started","#), "{text}");
    assert!(
        text.lines()
            .last()
            .unwrap()
            .starts_with(r#"{"type":"summary","seconds":"#),
        "{text}"
    );
    let kinds: Vec<&str> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert!(
        kinds[1..kinds.len() - 1].iter().all(|kind| *kind == "stats"),
        "{kinds:?}"
    );
    lines[1..].iter().for_each(balances);
    lines.last().unwrap().clone()
}

#[track_caller]
fn balances(line: &Value) {
    let number = |value: &Value| value.as_u64().unwrap();
    let dropped: u64 = line["dropped"].as_object().unwrap().values().map(number).sum();
    let rest = number(&line["sent"]) + dropped + number(&line["held"]);
    assert_eq!(number(&line["received"]), rest, "{line}");
    let ports = line["ports"].as_array().unwrap();
    let sum = |name: &str| {
        ports
            .iter()
            .map(|port| number(&port["queues"][name]))
            .sum::<u64>()
    };
    if line["type"] == "summary" {
        assert_eq!(number(&line["received"]), sum("rx_packets"));
        assert_eq!(number(&line["sent"]) + number(&line["held"]), sum("tx_packets"));
    }
}

/// A capture of `count` UDP frames, each of its own flow.
fn capture(dir: &Path, count: u16) -> PathBuf {
    let path = dir.join("frames.pcap");
    let mut writer = PcapWriter::new(fs::File::create(&path).unwrap()).unwrap();
    for flow in 0..count {
        let mut frame = vec![0; 60];
        frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
        frame[14..34].copy_from_slice(&[0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame[34..36].copy_from_slice(&flow.to_be_bytes());
        let packet = PcapPacket::new(Duration::ZERO, frame.len() as u32, &frame);
        writer.write_packet(&packet).unwrap();
    }
    path
}

#[test]
fn wrong_usage_is_refused_with_the_remedy() {
    fails(&["--burst", "0"], 2, "1 to 64");
    fails(&["--burst", "x"], 2, "--burst");
    fails(&["--bursts", "1"], 2, "--burst");
    fails(&["--queues", "17"], 2, "1 to 16");
    // 160 GB of packets, if any were made before the ports are asked.
    fails(
        &["--queues", "20000"],
        2,
        "--queues 20000: sim:82576 takes 1 to 16",
    );
    let dir = tempfile::tempdir().unwrap();
    let file = format!("pcap:tx={}", dir.path().join("a.pcap").display());
    fails(&["--queues", "2", "--ports", &file], 2, "takes 1 and no other");
    fails(&["--rx-ring", "100"], 2, "a power of two from 64 to 4096");
    fails(&["--tx-ring", "4294967295"], 2, "64 to 4096");
    fails(&["--mtu", "99999"], 2, "68 to 9500");
    fails(&["--huge", "3m"], 2, "2m, 1g, private");
    fails(&["--offloads", "tso"], 2, "write off, checksum or on");
    for seconds in ["-1", "0", "1e-10", "1e10", "1e19", "1e30", "nan", "inf"] {
        fails(
            &["--seconds", seconds],
            2,
            "a time above 0 and up to 1000000000 is needed",
        );
    }
    fails(&["--repeat"], 2, "--replay FILE.pcap");
}

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
fn wrong_ports_are_refused_with_the_nearest_right_form() {
    fails(&["--ports", "sim:82567"], 2, "did you mean sim:82576?");
    fails(&["--ports", "0000:01:00"], 2, "did you mean pci:0000:01:00.0?");
    fails(&["--ports", "eth0"], 2, "readlink /sys/class/net/eth0/device");
    fails(&["--ports", "sim:82576,"], 2, "nothing behind the last comma");
    // No machine has this bus and this segment.
    fails(
        &["--ports", "fffe:fe:1f.7"],
        2,
        "there is no PCI device fffe:fe:1f.7; list the devices: lspci -D",
    );
    fails(
        &["--ports", &["sim:82576"; 33].join(",")],
        2,
        "32 simulated ports are the most",
    );
}

#[test]
fn wrong_cores_are_refused_with_those_there_are() {
    fails(
        &["--cores", "9999"],
        2,
        "there is no core 9999 for this process; it may use ",
    );
    fails(&["--cores", "0-18446744073709551615"], 2, "there is no core");
    fails(&["--cores", "a"], 2, "write it as 0,2-3");
}

#[test]
fn a_device_no_driver_is_for_is_named() {
    let devices = fs::read_dir("/sys/bus/pci/devices")
        .into_iter()
        .flatten()
        .flatten();
    let other = devices.filter(|device| {
        let id = fs::read_to_string(device.path().join("device")).unwrap_or_default();
        !["0x10c9", "0x10e6", "0x10e7", "0x10e8", "0x1518", "0x1526"].contains(&id.trim())
    });
    let Some(device) = other.into_iter().next() else {
        eprintln!("SKIP: this machine has no PCI device");
        return;
    };
    let address = device.file_name().into_string().unwrap();
    fails(&["--ports", &address], 2, "no driver of this build is for");
}

#[test]
fn a_wrong_configuration_is_refused_with_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("l2fwd.toml");
    let path = file.to_str().unwrap();
    for (text, wanted) in [
        ("bursts = 1", "unknown field `bursts`"),
        ("config = \"x\"", "unknown field `config`"),
        ("burst = \"many\"", "line 1"),
        ("burst = 0", "1 to 64"),
        ("ports = \"sim:82576\"", "ports"),
        ("burst", "line 1"),
    ] {
        fs::write(&file, text).unwrap();
        fails(&["--config", path], 2, wanted);
    }
    fails(
        &["--config", "/nonexistent/l2fwd.toml"],
        2,
        "/nonexistent/l2fwd.toml",
    );
}

#[test]
fn an_unreadable_capture_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = capture(dir.path(), 3);
    let name = path.to_str().unwrap();
    fails(
        &["--replay", "/nonexistent.pcap"],
        2,
        "/nonexistent.pcap: No such file",
    );
    fails(&["--replay", dir.path().to_str().unwrap()], 2, "directory");
    fails(&["--replay", name, "--ports", "01:00.0"], 2, "add sim:82576");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 9]).unwrap();
    fails(&["--replay", name], 2, "cut off after 2 whole frames");
    fs::write(&path, "no capture at all, but long enough for a header").unwrap();
    fails(&["--replay", name], 2, "not a readable pcap");
    fs::write(&path, &whole[..24]).unwrap();
    fails(&["--replay", name], 2, "holds no frames");
}

#[test]
fn too_few_huge_pages_are_named_with_the_command() {
    // More than any machine has reserved: 32 ports with 16 queues of 4,096 descriptors each way take 9 GB.
    let ports = ["sim:82576"; 32].join(",");
    let most = [
        "--ports",
        &ports,
        "--queues",
        "16",
        "--rx-ring",
        "4096",
        "--tx-ring",
        "4096",
    ];
    for (kind, size) in [("2m", "2048kB"), ("1g", "1048576kB"), ("private", "2048kB")] {
        let path = format!("sudo tee /sys/kernel/mm/hugepages/hugepages-{size}/nr_hugepages");
        fails(&[&most[..], &["--huge", kind]].concat(), 3, &path);
    }
}

#[test]
fn json_is_a_line_a_second_and_a_summary_that_balances() {
    let out = l2fwd(&[&SMALL[..], &["--json", "--seconds", "1.5"]].concat());
    let text = String::from_utf8(out.stdout).unwrap();
    let summary = checked(&text);
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(summary["received"].as_u64().unwrap() > 1000);
    assert!(summary["seconds"].as_f64().unwrap() >= 1.5);
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

/// What it says to a launcher that sends `bytes` and ends.
fn launched(bytes: &[u8]) -> Output {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.write_all(bytes).unwrap();
    drop(ours);
    let mut command = Command::new(env!("CARGO_BIN_EXE_l2fwd"));
    command
        .arg("--passed")
        .stdin(OwnedFd::from(theirs))
        .output()
        .unwrap()
}

#[test]
fn a_launcher_that_passes_no_devices_is_told() {
    fails(&["--passed"], 2, "standard input is no socket");
    for (bytes, wanted) in [
        (&b""[..], "the launcher closed the socket first"),
        (b"a message of something else", "use one version on both sides"),
    ] {
        let out = launched(bytes);
        let text = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(1), "{text}");
        assert!(
            text.starts_with("l2fwd: ") && text.contains(wanted) && text.lines().count() == 1,
            "{text}"
        );
    }
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    for form in [&["--json"][..], &[]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_l2fwd"));
        command
            .args(SMALL)
            .args(["--seconds", "0.1"])
            .args(form)
            .stdout(full());
        let out = command.output().unwrap();
        let text = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(1), "{text}");
        assert!(
            text.starts_with("l2fwd: cannot write to standard output: No space left"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}

#[test]
fn a_file_that_cannot_be_written_is_a_failed_run() {
    let dir = tempfile::tempdir().unwrap();
    // A disk of 16 KiB, in a namespace of its own.
    let on_a_disk = |program: &[&str]| {
        let mut command = Command::new("unshare");
        command
            .args([
                "-rm",
                "sh",
                "-c",
                "mount -t tmpfs -o size=16k disk \"$0\" && exec \"$@\"",
            ])
            .arg(dir.path())
            .args(program);
        command.output()
    };
    if !on_a_disk(&["true"]).is_ok_and(|out| out.status.success()) {
        println!("SKIPPED: no file system can be mounted here (unshare -rm)");
        return;
    }
    let file = dir.path().join("a.pcapng").display().to_string();
    for (ports, wanted) in [
        (
            "sim:82576+capture=FILE,sim:82576",
            "a.pcapng could not be written",
        ),
        ("sim:82576,pcap:tx=FILE", "a.pcapng failed while it ran"),
    ] {
        let ports = ports.replace("FILE", &file);
        let program = [
            env!("CARGO_BIN_EXE_l2fwd"),
            "--json",
            "--seconds",
            "1",
            "--ports",
            &ports,
        ];
        let out = on_a_disk(&[&program[..], &SMALL].concat()).unwrap();
        let text = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(1), "{ports}: {text}");
        assert!(
            text.contains(wanted) && !text.contains("the bus"),
            "{ports}: {text}"
        );
        let summary = String::from_utf8(out.stdout).unwrap();
        let summary: Value = serde_json::from_str(summary.lines().last().unwrap()).unwrap();
        assert_eq!(summary["type"], "summary");
    }
}

#[test]
fn help_explains_itself() {
    let out = l2fwd(&["--help"]);
    let text = String::from_utf8(out.stdout).unwrap();
    assert_eq!(out.status.code(), Some(0));
    assert!(text.contains("Exit codes:") && text.contains("Examples:"));
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}
