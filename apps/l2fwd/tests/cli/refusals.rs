//! What is wrong or fails: one cause, one remedy, the right exit code.

use super::{SMALL, capture, fails, l2fwd};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Output};

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
        eprintln!("SKIPPED: no file system can be mounted here (unshare -rm)");
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
