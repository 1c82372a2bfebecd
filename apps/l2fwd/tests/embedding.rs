//! A forwarder inside a larger program: two at a time, made and dropped again and again, and nothing left behind.

use barline::worker::Cores;
use l2fwd::{Forwarder, Options, Settings};
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// What a process has: threads, open files, mappings.
fn holdings() -> [usize; 3] {
    let entries = |path: &str| fs::read_dir(path).unwrap().count();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    [
        entries("/proc/self/task"),
        entries("/proc/self/fd"),
        maps.lines().count(),
    ]
}

fn signal_handlers() -> Vec<String> {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    // Not SigQ: it counts what is queued for all processes of the user.
    let of_signals =
        |line: &&str| !line.starts_with("SigQ") && (line.starts_with("Sig") || line.starts_with("Shd"));
    status.lines().filter(of_signals).map(str::to_owned).collect()
}

fn settings(ports: &str) -> Settings {
    let options = Options {
        ports: vec![ports.to_owned()],
        huge: Some("none".to_owned()),
        queues: Some(2),
        ..Options::default()
    };
    Settings::new(&options).unwrap()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < end, "{what} took 20 seconds");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Two forwarders at once; one is stopped and one is dropped as it runs.
fn once(first: &Settings, second: &Settings) {
    let mut one = Forwarder::start(first).unwrap();
    let two = Forwarder::start(second).unwrap();
    until("forwarding", || one.received() > 1000 && two.received() > 1000);
    assert!(one.links_up() && !one.is_dry() && !one.has_failed());
    assert!(one.account().balances());
    drop(two);
    let before = one.received();
    until("forwarding beside one that was dropped", || {
        one.received() > before + 1000
    });
    let (account, result) = one.stop();
    result.unwrap();
    assert!(account.balances() && account.held == 0);
}

/// What is wrong here is found only when the ports and the pool are there.
fn fail() {
    let mut wrong = settings("sim:82576,sim:82576");
    wrong.rx_ring = 100;
    let error = Forwarder::start(&wrong).unwrap_err();
    assert!(error.to_string().contains("a power of two"), "{error}");
}

// One test: what a process holds is seen only when nothing runs beside it.
#[test]
fn forwarders_leave_nothing_behind() {
    let (cores, signals) = (Cores::read().unwrap(), signal_handlers());
    let two = settings("sim:82576,sim:82576");
    let threads = settings("sim:82576,mode=thread,sim:82576,mode=thread");
    // The first round pays for what the allocator and the thread library keep for the next.
    once(&two, &threads);
    fail();
    let before = holdings();
    for round in 0..10 {
        once(&two, &threads);
        fail();
        let after = holdings();
        assert_eq!(after[..2], before[..2], "threads and files after round {round}");
        assert!(
            after[2] <= before[2] + 16,
            "{} mappings, {} before",
            after[2],
            before[2]
        );
    }
    assert_eq!(Cores::read().unwrap(), cores, "affinity");
    assert_eq!(signal_handlers(), signals, "signals");
}
