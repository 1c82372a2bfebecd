//! What happens to interfaces and their programs, and what is said about it. What other programs can do to ours: `src/port/tests.rs`.

mod common;

use barline::port::{Port, PortConfig, PortError, PortEvent};
use barline::wait::Watch;
use barline_af_xdp::{AfXdp, Options, Umems, XdpError};
use barline_conformance::{FarEnd, Patience, pool};
use barline_netif::program_on;
use barline_netif::testing;
use common::{ip, lane, pair};
use std::process::Command;
use std::time::Duration;

fn open(interface: &str) -> Result<AfXdp, XdpError> {
    AfXdp::open(&Options::new(interface), &Umems::default())
}

#[test]
fn mistakes_have_one_remedy() {
    let Some(pair) = pair(2) else { return };
    let error = open("nowhere").unwrap_err();
    assert!(
        error.is_usage() && error.to_string().contains("nowhere"),
        "{error}"
    );
    let beyond = Options {
        queue: 2,
        ..Options::new(&pair.near)
    };
    let error = AfXdp::open(&beyond, &Umems::default()).unwrap_err();
    assert!(
        error.is_usage() && error.to_string().contains("has no queue 2: it has 2"),
        "{error}"
    );
    assert_eq!(program_on(&pair.near).unwrap(), None);
    let first = open(&pair.near).unwrap();
    let id = program_on(&pair.near).unwrap().expect("a program");
    let error = open(&pair.near).unwrap_err();
    let text = error.to_string();
    assert!(
        error.is_machine() && text.contains(&format!("number {id}")) && text.contains("xdp off"),
        "{text}"
    );
    assert_eq!(program_on(&pair.near).unwrap(), Some(id));
    drop(first);
    assert_eq!(program_on(&pair.near).unwrap(), None);
    let ports = [0, 1].map(|queue| Options {
        queue,
        ..Options::new(&pair.near)
    });
    let umems = Umems::default();
    let [one, other] =
        ports.map(|options| AfXdp::open(&options, &umems).expect("ports of one process share a program"));
    drop(one);
    assert!(program_on(&pair.near).unwrap().is_some());
    drop(other);
    assert_eq!(pair.complaints(), Vec::<String>::new());
}

/// Nobody takes the interface away by force while the port runs: the kernel protects a program that a link attaches.
#[test]
fn a_program_is_not_replaced_by_force() {
    let Some(pair) = pair(1) else { return };
    let mut lane = lane(&pair, |_| {});
    let id = program_on(&pair.near).unwrap().expect("a program");
    for force in ["", "-force "] {
        for mode in ["xdp", "xdpdrv", "xdpgeneric"] {
            // Some are refused, some do nothing where there is no program of that mode.
            let _ = testing::ip(&format!("{force}link set dev {} {mode} off", pair.near));
        }
    }
    assert_eq!(program_on(&pair.near).unwrap(), Some(id));
    assert_eq!(lane.port().event(), None);
    lane.expect(&[lane.frame(60, 1)]);
    lane.end();
}

/// As containers do it. The program went with the interface, and goes with the port.
#[test]
fn an_interface_that_is_moved_to_another_namespace_is_gone() {
    let Some(pair) = pair(1) else { return };
    let space = format!("barline-xdp-{}", std::process::id());
    if let Err(why) = testing::ip(&format!("netns add {space}")) {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let mut lane = lane(&pair, |_| {});
    ip(&format!("link set {} netns {space}", pair.near));
    assert!(pair.was_removed());
    let (event, link) = (lane.port().event(), lane.port().link());
    lane.end();
    let shown = || {
        let mut show = Command::new("ip");
        let output = show
            .args(["-n", &space, "-d", "link", "show", &pair.near])
            .output();
        String::from_utf8_lossy(&output.unwrap().stdout).into_owned()
    };
    let patience = Patience::new();
    while shown().contains("xdp") {
        patience.wait("the program to go");
    }
    assert!(shown().contains(&pair.near), "{}", shown());
    ip(&format!("netns del {space}"));
    assert_eq!((event, link.up), (Some(PortEvent::Gone), false));
}

#[test]
fn a_removed_interface_ends_the_run_and_a_renamed_one_does_not() {
    let Some(pair) = pair(1) else { return };
    let mut lane = lane(&pair, |config| config.promiscuous = true);
    let watch = Watch::new().unwrap();
    let fds = lane.port().event_fds();
    fds.into_iter().for_each(|fd| watch.add(fd).unwrap());
    ip(&format!("link set {} down", pair.near));
    assert!(watch.wait(Duration::from_secs(20)).unwrap());
    assert_eq!(lane.port().event(), None);
    assert!(!lane.port().link().up);
    ip(&format!("link set {} name another", pair.near));
    ip("link set another up");
    let patience = Patience::new();
    while !lane.port().link().up {
        patience.wait("the link");
    }
    assert_eq!(lane.port().event(), None);
    lane.expect(&[lane.frame(100, 1)]);
    ip("link del another");
    assert!(pair.was_removed());
    let patience = Patience::new();
    while lane.port().event() != Some(PortEvent::Gone) {
        patience.wait("the end");
    }
    assert!(!lane.port().link().up);
    assert!(lane.poll().is_empty());
    lane.end();
}

#[test]
fn a_queue_in_use_is_said_to_be() {
    let Some(pair) = pair(1) else { return };
    let (pool, umems) = (pool(2048), Umems::default());
    let config = PortConfig::new(&pool);
    let mut ports = [0, 1].map(|_| AfXdp::open(&Options::new(&pair.near), &umems).unwrap());
    let queues = ports[0].start(&config).unwrap();
    let error = ports[1].start(&config).unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(error, PortError::Config(_))
            && text.contains("queue 0")
            && text.contains("another port's of this program"),
        "{text}"
    );
    ports[0].stop(queues).unwrap();
    let queues = ports[1].start(&config).unwrap();
    ports[1].stop(queues).unwrap();
    assert_eq!(pool.available(), pool.packets());
}
