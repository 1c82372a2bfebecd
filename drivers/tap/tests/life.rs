//! The interface comes with the port and goes with it.

use barline::port::PortEvent;
use barline::wait::{Armed, Watch};
use barline_conformance::{Lane, Patience, Station, pool};
use barline_netif::Interface;
use barline_netif::testing::{RawSocket, enter, fresh, ip};
use barline_tap::{Tap, TapError};
use std::time::Duration;

macro_rules! or_skip {
    () => {
        if let Err(why) = enter() {
            return eprintln!("SKIPPED: {why}");
        }
        if let Err(error) = std::fs::File::open("/dev/net/tun") {
            return eprintln!("SKIPPED: no /dev/net/tun: {error}");
        }
    };
}

#[derive(Debug)]
struct Nobody;

impl barline_conformance::FarEnd for Nobody {
    fn inject(&self, _: &[u8]) -> bool {
        false
    }

    fn take(&self) -> Option<Vec<u8>> {
        None
    }

    fn pending(&self) -> usize {
        0
    }

    fn complaints(&self) -> Vec<String> {
        Vec::new()
    }
}

fn station(name: &str) -> Station {
    let name = name.to_owned();
    Station {
        open: Box::new(move || Ok(Box::new(Tap::open(&name).unwrap()))),
        far: std::sync::Arc::new(Nobody),
    }
}

fn lane(name: &str, queues: u16) -> Lane {
    Lane::at(station(name), &pool(4096), |config| {
        (config.rx_queues, config.tx_queues) = (queues, queues);
    })
}

#[test]
fn the_interface_goes_with_the_port() {
    or_skip!();
    let name = fresh("bt");
    let lane = lane(&name, 4);
    let facts = Interface::find(&name).unwrap().facts().unwrap();
    assert!(facts.up && facts.running && facts.mtu == 1500);
    assert_ne!(facts.mac, lane.mac, "two ends of a cable are two stations");
    lane.end();
    // A process that another test is starting (`ip`) has all descriptors, those of this interface too, until its program runs.
    let patience = Patience::new();
    while Interface::find(&name).is_ok() {
        patience.wait("the interface to go");
    }
}

#[test]
fn a_name_that_is_taken_is_said() {
    or_skip!();
    let name = fresh("bt");
    ip(&format!("link add {name} type veth peer name {name}p")).unwrap();
    let error = Tap::open(&name).unwrap_err();
    assert!(matches!(error, TapError::Taken { .. }), "{error}");
    assert!(error.to_string().contains("ip link del"), "{error}");
    for wrong in ["", "a b", "a/b", "much-too-long-a-name", "."] {
        let error = Tap::open(wrong).unwrap_err();
        assert!(matches!(error, TapError::Name { .. }), "{wrong:?}: {error}");
    }
}

#[test]
fn a_tap_that_is_named_twice_is_refused_with_the_remedy() {
    or_skip!();
    let name = fresh("bt");
    let first = Tap::open(&name).unwrap();
    let error = Tap::open(&name).unwrap_err();
    assert!(matches!(error, TapError::InUse { .. }), "{error}");
    let text = error.to_string();
    for part in [
        name.as_str(),
        "in use by another port or program",
        "name each interface once",
    ] {
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
    drop(first);
    let patience = Patience::new();
    while Interface::find(&name).is_ok() {
        patience.wait("the interface to go");
    }
    assert!(Tap::open(&name).is_ok(), "it can be had again");
}

#[test]
fn a_deleted_interface_is_gone_and_a_frame_wakes() {
    or_skip!();
    let name = fresh("bt");
    let mut lane = lane(&name, 1);
    ip(&format!("link set {name} arp off")).unwrap();
    let socket = RawSocket::open(&name).unwrap();
    // What the kernel said when the interface came up.
    let patience = Patience::new();
    while lane.rx[0].arm() == Armed::Pending {
        lane.poll();
        patience.wait("silence");
    }
    let watch = Watch::new().unwrap();
    watch.add(lane.rx[0].wake_fd().unwrap()).unwrap();
    for n in 0..10 {
        let frame = lane.frame(60, n);
        assert!(socket.send(&frame));
        assert!(watch.wait(Duration::from_secs(60)).unwrap());
        assert_eq!(lane.rx[0].arm(), Armed::Pending);
        let packets = lane.receive(1);
        assert_eq!(packets[0][..], frame[..]);
        assert_eq!(lane.rx[0].arm(), Armed::Wakes);
    }
    ip(&format!("link del {name}")).unwrap();
    assert_eq!(lane.port().event(), Some(PortEvent::Gone));
    assert!(lane.poll().is_empty() && !lane.port().link().up);
    lane.end();
}

/// What the kernel has no room for, since nobody polls, is counted with the rest: a start counts anew, a stop keeps it.
#[test]
fn what_finds_no_room_is_counted() {
    or_skip!();
    const ALL: u64 = 300;
    let name = fresh("bt");
    let mut lane = Lane::at(station(&name), &pool(4096), |config| config.rx_ring = 64);
    ip(&format!("link set {name} arp off")).unwrap();
    let socket = RawSocket::open(&name).unwrap();
    for _ in 0..2 {
        // What the kernel said when the interface came up.
        let (mut patience, mut early) = (Patience::new(), u64::MAX);
        while early != lane.device_counters()["nic_rx_total"] {
            early = lane.device_counters()["nic_rx_total"];
            lane.poll();
            patience.renew();
        }
        let before = lane.device_counters();
        let frame = lane.frame(60, 1);
        let taken = (0..ALL).filter(|_| socket.send(&frame)).count() as u64;
        assert!((64..ALL).contains(&taken), "{taken} of {ALL}");
        assert_eq!(lane.receive(taken as usize).len() as u64, taken);
        let counters = lane.device_counters();
        let since = |name: &str| counters[name] - before[name];
        assert_eq!(since("nic_rx_missed"), ALL - taken, "{counters:?}");
        assert_eq!(since("nic_rx_total"), ALL);
        assert_eq!(since("nic_rx_packets"), taken);
        lane.stop().unwrap();
        assert_eq!(lane.device_counters(), counters, "a stop does not lose them");
        lane.start().unwrap();
        assert_eq!(lane.device_counters()["nic_rx_missed"], 0);
    }
    lane.end();
}

/// As containers do it: the interface works on in a namespace that the port is not in.
#[test]
fn an_interface_can_be_moved_to_another_namespace() {
    or_skip!();
    let (name, space) = (fresh("bt"), format!("barline-{}", std::process::id()));
    let mut lane = lane(&name, 1);
    if let Err(why) = ip(&format!("netns add {space}")) {
        return eprintln!("SKIPPED: {why}");
    }
    let moved = ip(&format!("link set {name} netns {space}"));
    let (event, link) = (lane.port().event(), lane.port().link());
    let deleted = ip(&format!("-n {space} link del {name}"));
    let end = lane.port().event();
    ip(&format!("netns del {space}")).unwrap();
    moved.and(deleted).unwrap();
    assert_eq!((event, link.up), (None, true));
    assert_eq!(end, Some(PortEvent::Gone));
    lane.end();
}
