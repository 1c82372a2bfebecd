//! Through a forwarder in another process: this one forwards, over sockets, what a `pktgen` of its own sends.

use l2fwd::Forwarder;
use serde_json::Value;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const COUNT: u64 = 3000;

fn number(value: &Value, path: &str) -> u64 {
    value
        .pointer(path)
        .and_then(Value::as_u64)
        .unwrap_or_else(|| panic!("{path} in {value}"))
}

#[test]
fn what_a_bad_line_does_is_measured_through_a_forwarder_over_vhost_user() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let [a, b] = ["a", "b"].map(|name| path(name).display().to_string());
    let ports = format!("vhost-user:{a}+impair=loss=3%,duplicate=2%,reorder=2%,seed=11,vhost-user:{b}");
    let count = COUNT.to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pktgen"));
    command.args([
        "--ports", &ports, "--rate", "5kpps", "--count", &count, "--settle", "500", "--json", "--huge",
        "none",
    ]);
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while !(path("a").exists() && path("b").exists()) {
        assert!(Instant::now() < end, "no sockets");
        sleep(Duration::from_millis(10));
    }
    let options = l2fwd::Options {
        ports: vec![format!("virtio-user:{a}"), format!("virtio-user:{b}")],
        huge: Some("none".into()),
        ..l2fwd::Options::default()
    };
    let forwarder = Forwarder::start(&l2fwd::Settings::new(&options).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    let (account, _) = forwarder.stop();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let text = String::from_utf8(output.stdout).unwrap();
    let summary: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let (there, back) = (&summary["flows"][0], &summary["flows"][1]);
    let device = |name: &str| number(&summary, &format!("/ports/0/device/{name}"));
    assert_eq!([there, back].map(|flow| number(flow, "/sent")), [COUNT; 2]);
    assert_eq!(number(back, "/lost"), 0, "{summary}");
    assert!(device("impair_lost") > 30);
    assert_eq!(number(there, "/lost"), device("impair_lost"));
    assert_eq!(number(there, "/duplicates"), device("impair_doubled"));
    assert_eq!(number(there, "/reordered"), device("impair_reordered"));
    assert_eq!(
        account.received,
        2 * COUNT - device("impair_lost") + device("impair_doubled")
    );
}
