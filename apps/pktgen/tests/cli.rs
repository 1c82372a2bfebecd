//! The program, as a user meets it.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

fn pktgen(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pktgen"));
    command
        .args(arguments)
        .args(["--huge", "none"])
        .stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    pktgen(arguments).output().unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn number(value: &Value, path: &str) -> u64 {
    value
        .pointer(path)
        .and_then(Value::as_u64)
        .unwrap_or_else(|| panic!("{path} in {value}"))
}

fn balances(summary: &Value) {
    let dropped: u64 = summary["dropped"]
        .as_object()
        .unwrap()
        .values()
        .map(|n| n.as_u64().unwrap())
        .sum();
    let of = |name: &str| number(summary, &format!("/{name}"));
    assert_eq!(of("received"), of("sent") + dropped + of("held"), "{summary}");
}

/// The last line of a run that ended well.
fn summary(arguments: &[&str]) -> Value {
    let output = run(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", said(&output));
    let summary = lines(&output).pop().unwrap();
    assert_eq!(summary["type"], "summary");
    balances(&summary);
    summary
}

#[test]
fn two_simulated_ports_lose_nothing() {
    let summary = summary(&["--rate", "20kpps", "--count", "3000"]);
    for port in 0..2 {
        let flow = &summary["flows"][port];
        assert_eq!(
            (
                number(flow, "/sent"),
                number(flow, "/received"),
                number(flow, "/lost")
            ),
            (3000, 3000, 0)
        );
        assert_eq!(number(flow, "/latency_ns/count"), 3000);
        assert!(number(flow, "/latency_ns/max") >= number(flow, "/latency_ns/p99"));
    }
    assert_eq!(
        (number(&summary, "/foreign"), number(&summary, "/damaged")),
        (0, 0)
    );
}

/// What is done to frames on purpose is what is measured.
#[test]
fn loss_duplicates_and_order_are_measured_exactly() {
    let ports = "sim:82576,wire=a+impair=loss=3%,duplicate=2%,reorder=2%,delay=200us,seed=7,sim:82576,wire=a";
    let summary = summary(&[
        "--ports", ports, "--send", "0", "--rate", "20kpps", "--count", "5000", "--settle", "300",
    ]);
    let (flow, device) = (&summary["flows"][0], &summary["ports"][0]["device"]);
    let count = |name: &str| number(device, &format!("/{name}"));
    assert!(
        count("impair_lost") > 50 && count("impair_doubled") > 50 && count("impair_reordered") > 50,
        "{device}"
    );
    assert_eq!(number(flow, "/lost"), count("impair_lost"));
    assert_eq!(number(flow, "/duplicates"), count("impair_doubled"));
    assert_eq!(number(flow, "/reordered"), count("impair_reordered"));
    assert_eq!(number(flow, "/extent_max"), 1);
    assert!(number(flow, "/latency_ns/min") >= 200_000);
}

#[test]
fn streams_and_mixes_come_from_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("streams.toml");
    let text = "rate = '20kpps'\ncount = 1200\n[[streams]]\nname = 'a'\nsize = 'imix'\nweight = 2\n\
                [[streams]]\nname = 'b'\nframe = 'ethernet/vlan(id=7)/ipv6/udp'\nsize = '100-200'\nvary = ['udp.src=count']\n";
    std::fs::write(&path, text).unwrap();
    let summary = summary(&["--config", path.to_str().unwrap(), "--verify"]);
    let flows = summary["flows"].as_array().unwrap();
    let sent: Vec<u64> = flows.iter().map(|flow| number(flow, "/sent")).collect();
    assert_eq!(sent, [800, 400, 800, 400]);
    assert!(flows.iter().all(|flow| number(flow, "/lost") == 0));
    assert_eq!(flows[1]["stream"], "b");
}

#[test]
fn mistakes_are_answered_with_2_and_what_would_be_right() {
    for (arguments, wanted) in [
        (
            &["--rate", "2Gbps-l1", "--seconds", "1"][..],
            "more than the line takes",
        ),
        (&["--rate", "5"], "100kpps"),
        (&["--rate", "50%", "--ports", "null:"], "not known"),
        (&["--frame", "ethernet/ipv5"], "did you mean ipv4?"),
        (&["--vary", "ipv4.scr=count"], "did you mean src?"),
        (&["--size", "63"], "64-1518"),
        (&["--frame", "ethernet/ipv6/udp"], "size = \"82\""),
        (&["--send", "2"], "0 to 1"),
        (&["--shape", "bursts"], "burst:32"),
        (&["--rfc2544", "thruput"], "did you mean throughput?"),
        (&["--speed", "2"], "--replay"),
        (&["--replay", "/nonexistent.pcap"], "/nonexistent.pcap"),
        (
            &["--ports", "null:", "--rfc2544", "throughput", "--sizes", "64"],
            "greatest rate",
        ),
        (&["--burst", "65"], "1 to 64"),
        (&["--control", "/proc/control"], "can be written to"),
        (&["--report", "/tmp/x"], "--rfc2544"),
        (&["--ports", "sim:82577"], "sim:82576"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(wanted), "{arguments:?}: {}", said(&output));
    }
}

#[test]
fn nothing_that_comes_back_is_a_failure_and_the_summary_is_there() {
    let output = run(&[
        "--ports",
        "sim:82576,wire=a,sim:82576,wire=b",
        "--count",
        "100",
        "--json",
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("none came back"), "{}", said(&output));
    balances(&lines(&output).pop().unwrap());
}

#[test]
fn ctrl_c_ends_the_run_in_good_order() {
    let mut child = pktgen(&[
        "--ports",
        "sim:82576,wire=a,sim:82576,wire=a",
        "--rate",
        "5kpps",
        "--json",
    ])
    .stdout(Stdio::piped())
    .spawn()
    .unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    // Two lines: it has begun to send.
    for _ in 0..2 {
        line.clear();
        reader.read_line(&mut line).unwrap();
    }
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(child.id() as i32),
        nix::sys::signal::SIGINT,
    )
    .unwrap();
    let last = reader.lines().map_while(Result::ok).last().unwrap();
    assert!(child.wait().unwrap().success());
    let summary: Value = serde_json::from_str(&last).unwrap();
    balances(&summary);
    assert!(number(&summary, "/made") > 0 && summary["type"] == "summary");
}

#[test]
fn a_socket_takes_orders() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control");
    let ports = "sim:82576,wire=a,sim:82576,wire=a";
    let child = pktgen(&[
        "--ports",
        ports,
        "--rate",
        "5kpps",
        "--json",
        "--control",
        path.to_str().unwrap(),
    ])
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    let begin = Instant::now();
    let stream = loop {
        match UnixStream::connect(&path) {
            Ok(stream) => break stream,
            Err(_) if begin.elapsed() < Duration::from_secs(20) => sleep(Duration::from_millis(20)),
            Err(error) => panic!("{error}"),
        }
    };
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut ask = |order: Value| {
        (&stream).write_all(format!("{order}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        reader.read_line(&mut answer).unwrap();
        serde_json::from_str::<Value>(&answer).unwrap()
    };
    assert_eq!(
        ask(json!({"do": "rate", "rate": "1kpps"})),
        json!({"ok": true, "rate": "1kpps"})
    );
    let refused = ask(json!({"do": "rate", "rate": "5Gbps"}));
    assert!(refused["ok"] == false && refused["rate"] == "1kpps", "{refused}");
    assert!(
        ask(json!({"do": "stpo"}))["error"]
            .as_str()
            .unwrap()
            .contains("did you mean stop?")
    );
    assert_eq!(ask(json!({"do": "stop"}))["ok"], true);
    sleep(Duration::from_millis(200));
    let still = number(&ask(json!({"do": "read"})), "/account/made");
    sleep(Duration::from_millis(200));
    assert_eq!(number(&ask(json!({"do": "read"})), "/account/made"), still);
    assert_eq!(ask(json!({"do": "start"}))["ok"], true);
    sleep(Duration::from_millis(300));
    assert!(number(&ask(json!({"do": "read"})), "/account/made") > still);
    assert_eq!(ask(json!({"do": "quit"}))["ok"], true);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(!path.exists());
    balances(&lines(&output).pop().unwrap());
}

#[test]
fn a_capture_is_replayed_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("frames.pcap");
    // Written by hand: the header of the classic format, then three frames a millisecond apart.
    let mut bytes = Vec::new();
    for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65535, 1] {
        bytes.extend(word.to_le_bytes());
    }
    for number in 0..3u32 {
        for word in [7, number * 1000, 100, 100] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend([number as u8; 100]);
    }
    std::fs::write(&path, bytes).unwrap();
    let summary = summary(&["--send", "0", "--replay", path.to_str().unwrap(), "--speed", "1"]);
    assert_eq!(number(&summary, "/ports/0/queues/tx_packets"), 3);
    assert_eq!(number(&summary, "/ports/1/queues/rx_bytes"), 300);
    assert_eq!(number(&summary, "/foreign"), 3);
}

#[test]
fn rfc2544_finds_what_a_simulated_wire_takes_and_writes_its_report() {
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("report");
    // 10 kpps at most behind this port, far below what a test machine makes; 20 kpps are offered.
    let ports = "sim:82576,wire=a+impair=rate=10kpps,buffer=64,sim:82576,wire=a";
    let output = run(&[
        "--ports",
        ports,
        "--send",
        "0",
        "--rate",
        "20kpps",
        "--rfc2544",
        "throughput,back-to-back",
        "--sizes",
        "64",
        "--trial",
        "0.3",
        "--resolution",
        "20",
        "--json",
        "--report",
        report.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{}", said(&output));
    let all = lines(&output);
    let results = &all[all.len() - 2];
    assert_eq!(results["type"], "rfc2544");
    let ndr = results
        .pointer("/sizes/0/ndr/pps")
        .and_then(Value::as_f64)
        .unwrap();
    assert!(ndr > 1000.0 && ndr < 10_500.0, "{results}");
    assert!(number(results, "/sizes/0/back_to_back") >= 60, "{results}");
    for name in ["report.json", "report.csv", "report.html"] {
        assert!(report.join(name).exists(), "{name}");
    }
    assert!(said(&output).contains("s left"));
}
