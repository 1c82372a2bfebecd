//! Through a forwarder in another process: this one forwards what a `pktgen` of its own sends.

#![allow(clippy::print_stderr, reason = "a test that cannot run says so")]

use barline_drivers::Fault;
use barline_netif::testing;
use l2fwd::{Account, Failure, Forwarder};
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

const COUNT: u64 = 3000;
/// Microseconds that the line takes.
const DELAY: u64 = 300;
/// Descriptors where nothing holds a sender back: what a program that is not running for a while would lose otherwise.
const RING: u32 = 4096;
/// One test at a time, for the same reason.
static ALONE: Mutex<()> = Mutex::new(());

fn number(value: &Value, path: &str) -> u64 {
    value
        .pointer(path)
        .and_then(Value::as_u64)
        .unwrap_or_else(|| panic!("{path} in {value}"))
}

/// A `pktgen` whose first port has a bad line.
fn tester(first: &str, second: &str, more: &[&str]) -> Child {
    let line = format!("impair=loss=3%,duplicate=2%,reorder=2%,delay={DELAY}us,seed=11");
    let (ports, count) = (format!("{first}+{line},{second}"), COUNT.to_string());
    let mut command = Command::new(env!("CARGO_BIN_EXE_pktgen"));
    command.args([
        "--ports", &ports, "--rate", "5kpps", "--count", &count, "--settle", "500", "--json", "--huge",
        "none",
    ]);
    command.args(more);
    let piped = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    piped.spawn().unwrap()
}

fn forwarder(first: &str, second: &str, rx_ring: Option<u32>) -> Result<Forwarder, Failure> {
    let options = l2fwd::Options {
        rx_ring,
        ports: vec![first.to_owned(), second.to_owned()],
        huge: Some("none".into()),
        ..l2fwd::Options::default()
    };
    Forwarder::start(&l2fwd::Settings::new(&options)?)
}

/// What was measured is what the line counted, and what the forwarder saw.
fn check(tester: Child, forwarder: Forwarder) {
    let output = tester.wait_with_output().unwrap();
    let (account, _): (Account, _) = forwarder.stop();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let text = String::from_utf8(output.stdout).unwrap();
    let summary: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let (there, back) = (&summary["flows"][0], &summary["flows"][1]);
    let device = |name: &str| number(&summary, &format!("/ports/0/device/{name}"));
    assert_eq!([there, back].map(|flow| number(flow, "/sent")), [COUNT; 2]);
    let (lost, doubled) = (device("impair_lost"), device("impair_doubled"));
    assert!(lost > 30 && doubled > 30 && device("impair_reordered") > 30);
    for name in ["lost", "duplicates", "reordered"] {
        assert_eq!(number(back, &format!("/{name}")), 0, "{summary}");
    }
    assert_eq!(number(there, "/lost"), lost, "{summary}");
    assert_eq!(number(there, "/duplicates"), doubled, "{summary}");
    assert_eq!(
        number(there, "/reordered"),
        device("impair_reordered"),
        "{summary}"
    );
    assert_eq!(number(there, "/latency_ns/count"), COUNT - lost + doubled);
    // Time goes by itself here: the delay is the least that a packet takes.
    assert!(number(there, "/latency_ns/min") >= DELAY * 1000, "{summary}");
    assert_eq!(number(&summary, "/foreign") + number(&summary, "/damaged"), 0);
    assert_eq!(account.received, 2 * COUNT - lost + doubled);
}

fn appeared(path: &Path) {
    let end = Instant::now() + Duration::from_secs(20);
    while !path.exists() {
        assert!(Instant::now() < end, "no {}", path.display());
        sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_a_bad_line_does_is_measured_through_a_forwarder_over_vhost_user() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
    let [one, two] = [&a, &b].map(|path| path.display().to_string());
    let tester = tester(&format!("vhost-user:{one}"), &format!("vhost-user:{two}"), &[]);
    appeared(&a);
    appeared(&b);
    let forwarder = forwarder(&format!("virtio-user:{one}"), &format!("virtio-user:{two}"), None);
    check(tester, forwarder.unwrap());
}

/// Two cables, each with the tester at one end and the forwarder at the other, in a network namespace of the test's own.
fn through_cables(kind: &str) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let cables = testing::enter().and_then(|()| Ok([testing::veth(1500)?, testing::veth(1500)?]));
    let [a, b] = match cables {
        Ok(cables) => cables,
        Err(why) => return eprintln!("SKIPPED: {why}"),
    };
    let port = |interface: &str| format!("{kind}:{interface}");
    // It is there first: a cable is up without it, and what comes too early would be lost.
    match forwarder(&port(&a[1]), &port(&b[1]), Some(RING)) {
        Err(why) if why.fault() == Fault::Machine => eprintln!("SKIPPED: {why}"),
        forwarder => {
            let ring = RING.to_string();
            let tester = tester(&port(&a[0]), &port(&b[0]), &["--rx-ring", &ring]);
            check(tester, forwarder.unwrap());
        }
    }
}

#[test]
fn and_over_af_xdp() {
    through_cables("af_xdp");
}

#[test]
fn and_over_af_packet() {
    through_cables("af_packet");
}
