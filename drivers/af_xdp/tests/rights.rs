//! Other processes: one that may not, one that lacks a right, one that is killed.

#![allow(clippy::print_stdout, reason = "a second process tells the first")]

mod common;

use barline::port::{Port, PortConfig};
use barline_af_xdp::{AfXdp, Options, Umems};
use barline_conformance::{FarEnd, Patience, pool};
use barline_netif::program_on;
use common::pair;
use std::env;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// What the second process of a test is to do: the name of the interface.
const OPEN: &str = "BARLINE_TEST_OPEN";

/// This test, in another process, which `limits` may change into another program that runs it.
fn again(name: &str, interface: &str, limits: Option<&[&str]>) -> Command {
    let this = env::current_exe().unwrap();
    let mut command = match limits {
        Some([program, arguments @ ..]) => {
            let mut command = Command::new(program);
            command.args(arguments).arg(this);
            command
        }
        _ => Command::new(this),
    };
    command
        .args([name, "--exact", "--nocapture"])
        .env(OPEN, interface);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// In the second process: says what comes of opening the interface.
fn tried() -> bool {
    let Ok(interface) = env::var(OPEN) else {
        return false;
    };
    let error = AfXdp::open(&Options::new(interface), &Umems::default()).unwrap_err();
    println!("\nERROR {} {error}", error.is_machine());
    true
}

/// What the second process says. None where it cannot run.
fn said(mut command: Command) -> Option<String> {
    let output = command.output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    match text {
        Ok(text) if text.contains("ERROR") => Some(text),
        other => {
            eprintln!("SKIPPED: this test's file may not be run so: {other:?}");
            None
        }
    }
}

const REMEDY: &str = "setcap cap_net_raw,cap_net_admin,cap_bpf";

#[test]
fn who_may_not_is_told_what_is_needed() {
    if tried() {
        return;
    }
    let Some(pair) = pair(1) else { return };
    let mut command = again("who_may_not_is_told_what_is_needed", &pair.near, None);
    command.uid(65534).gid(65534);
    let Some(text) = said(command) else { return };
    assert!(text.contains("ERROR true") && text.contains(REMEDY), "{text}");
    assert_eq!(pair.complaints(), Vec::<String>::new());
}

/// Each right that is missing alone, the others being there: told with the same remedy, and nothing is attached.
#[test]
fn one_missing_right_is_told_as_well() {
    if tried() {
        return;
    }
    let Some(pair) = pair(1) else { return };
    // CAP_SYS_ADMIN stands for CAP_BPF and, to bpf(2), for CAP_NET_ADMIN too.
    for without in ["-net_raw", "-bpf,-sys_admin", "-net_admin,-sys_admin"] {
        let limits: &[&str] = &["setpriv", "--bounding-set", without];
        let command = again("one_missing_right_is_told_as_well", &pair.near, Some(limits));
        let Some(text) = said(command) else { return };
        assert!(
            text.contains("ERROR true no right to") && text.contains(REMEDY),
            "without {without}: {text}"
        );
        assert_eq!(pair.complaints(), Vec::<String>::new(), "without {without}");
    }
}

#[test]
fn nothing_is_left_of_a_process_that_is_killed() {
    if let Ok(interface) = env::var(OPEN) {
        let pool = pool(2048);
        let mut port = AfXdp::open(&Options::new(interface), &Umems::default()).unwrap();
        let config = PortConfig {
            promiscuous: true,
            ..PortConfig::new(&pool)
        };
        let _queues = port.start(&config).unwrap();
        println!("\nSTARTED");
        loop {
            std::thread::park();
        }
    }
    let Some(pair) = pair(1) else { return };
    let mut child = again("nothing_is_left_of_a_process_that_is_killed", &pair.near, None)
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(
        lines.map_while(Result::ok).any(|line| line == "STARTED"),
        "it does not start"
    );
    assert!(program_on(&pair.near).unwrap().is_some());
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    let patience = Patience::new();
    while program_on(&pair.near).unwrap().is_some() {
        patience.wait("the program to go");
    }
    let shown = Command::new("ip")
        .args(["-d", "link", "show", &pair.near])
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        !shown.contains("xdp") && shown.contains("promiscuity 0"),
        "{shown}"
    );
}
