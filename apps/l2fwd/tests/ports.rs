//! Ports over what the machine has: how runs end, and what is said where one cannot begin.

use nix::unistd::geteuid;
use pcap_file::DataLink;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapReader, PcapWriter};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_l2fwd");

fn run(ports: &str) -> Output {
    let arguments = ["--huge", "none", "--ports", ports];
    Command::new(PROGRAM).args(arguments).output().unwrap()
}

#[track_caller]
fn fails(output: &Output, code: i32, wanted: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(wanted), "{text:?} does not say {wanted:?}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

fn write(path: &Path, count: u8) {
    let header = PcapHeader {
        datalink: DataLink::ETHERNET,
        ..PcapHeader::default()
    };
    let mut writer = PcapWriter::with_header(File::create(path).unwrap(), header).unwrap();
    for n in 0..count {
        let frame = [n; 61];
        let packet = PcapPacket::new(Duration::from_millis(n.into()), 61, &frame);
        writer.write_packet(&packet).unwrap();
    }
}

fn frames(path: &Path) -> Vec<Vec<u8>> {
    let mut reader = PcapReader::new(File::open(path).unwrap()).unwrap();
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        frames.push(packet.unwrap().data.into_owned());
    }
    frames
}

/// Nothing else ends these runs: no time is given.
#[test]
fn a_run_ends_when_all_files_are_forwarded() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let show = |name: &str| at(name).display().to_string();
    write(&at("one"), 200);
    write(&at("two"), 100);
    let ports = format!(
        "pcap:rx={},tx={},pcap:rx={},tx={},pace=original",
        show("one"),
        show("a"),
        show("two"),
        show("b")
    );
    let output = run(&ports);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for (from, to, count, port) in [("one", "b", 200, 1), ("two", "a", 100, 0)] {
        let (from, to) = (frames(&at(from)), frames(&at(to)));
        assert_eq!((from.len(), to.len()), (count, count));
        assert!(from.iter().zip(&to).all(|(from, to)| from[12..] == to[12..]));
        assert!(to.iter().all(|to| to[..6] == [2, 0, 0, 0, 0, port]));
    }
}

/// The cause and the remedy, on one line.
#[test]
fn what_cannot_be_opened_is_said_with_its_code() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a").display().to_string();
    write(Path::new(&file), 1);
    let text = dir.path().join("text").display().to_string();
    std::fs::write(&text, "no capture file").unwrap();
    for (ports, cause, remedy) in [
        (
            "af_packet:none-such",
            "there is no interface \"none-such\"",
            "all of them: ip link",
        ),
        (
            "tap:much-too-long-for-a-name",
            "1 to 15 characters",
            "write tap:tap0",
        ),
        ("pcap:rx=/none/such", "/none/such", "there is no folder /none"),
        (
            &format!("pcap:rx={text}"),
            "is no capture file",
            "as tcpdump -w writes them",
        ),
        (
            &format!("pcap:rx={file},tx={file}"),
            "to be read and written",
            "name another file for tx",
        ),
        (
            &format!("pcap:tx={file},pcap:tx={file}"),
            "in use by another port",
            "name another file",
        ),
    ] {
        let output = run(&format!("{ports},ring:"));
        fails(&output, 2, cause);
        fails(&output, 2, remedy);
    }
}

/// A command in a network namespace of its own.
fn elsewhere(script: &str) -> Option<Output> {
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-ec", script, PROGRAM]);
    let made = geteuid().is_root()
        && Command::new("unshare")
            .args(["--net", "ip", "link"])
            .output()
            .is_ok_and(|made| made.status.success());
    if !made {
        eprintln!("SKIPPED: root, unshare (util-linux) and ip (iproute2) are needed for a network namespace");
        return None;
    }
    Some(command.output().unwrap())
}

#[test]
fn a_tap_that_is_named_twice_is_said_with_the_remedy() {
    if !Path::new("/dev/net/tun").exists() {
        return eprintln!("SKIPPED: there is no /dev/net/tun");
    }
    let Some(output) = elsewhere("exec $0 --huge none --ports tap:twice,tap:twice") else {
        return;
    };
    fails(&output, 2, "twice is in use by another port or program");
    fails(&output, 2, "name each interface once");
}

#[test]
fn a_port_without_a_link_is_said_with_the_remedy() {
    let script = "ip link add near type veth peer name far; exec $0 --huge none --seconds 0.1 --ports af_packet:near,ring:";
    let Some(output) = elsewhere(script) else { return };
    let text = String::from_utf8_lossy(&output.stderr);
    for part in ["(af_packet:near) has no link", "sudo ip link set near up"] {
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
    assert!(!text.contains("ring:) has no link"), "{text}");
}

/// An ordinary user is told what right is missing, before anything is made.
#[test]
fn a_missing_right_ends_with_3_and_the_remedy() {
    if !geteuid().is_root() {
        return eprintln!("SKIPPED: root is needed to run it as nobody");
    }
    // Where nobody can run it.
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("l2fwd");
    std::fs::copy(PROGRAM, &program).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path(), open).unwrap();
    for (port, wanted) in [
        ("af_packet:lo", "sudo setcap cap_net_raw=ep"),
        ("tap:barline-no", "sudo ip tuntap add barline-no"),
    ] {
        let ports = format!("{port},ring:");
        let mut command = Command::new(&program);
        command
            .args(["--huge", "none", "--ports", &ports])
            .uid(65534)
            .gid(65534);
        fails(&command.output().unwrap(), 3, wanted);
    }
}
