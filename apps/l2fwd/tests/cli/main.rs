//! The program as a user or a script meets it: messages, exit codes, and what it prints.

mod refusals;
mod runs;

use pcap_file::pcap::{PcapPacket, PcapWriter};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

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
