//! Devices that go away in the middle of a test.

use clap::Parser;
use pktgen::{Options, Rig, Settings};
use std::sync::atomic::AtomicBool;
use std::thread::sleep;
use std::time::{Duration, Instant};

#[test]
fn a_port_that_dies_is_named_and_what_came_before_is_there() {
    let ports = "sim:82576,wire=a,sim:82576,wire=a";
    let options = Options::parse_from([
        "pktgen", "--ports", ports, "--rate", "10kpps", "--huge", "none", "--settle", "20",
    ]);
    let settings = Settings::new(&options).unwrap();
    let mut rig = Rig::start(&settings, &AtomicBool::new(false)).unwrap();
    rig.begin().unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while rig.account().sent < 100 && Instant::now() < end {
        sleep(Duration::from_millis(5));
    }
    assert!(rig.died().is_none());
    rig.far_ends().next().unwrap().remove();
    let died = loop {
        match rig.died() {
            Some(died) => break died,
            None if Instant::now() < end => sleep(Duration::from_millis(5)),
            None => panic!("it was not seen"),
        }
    };
    assert!(died.starts_with("sim:82576,wire=a: the port died"), "{died}");
    let (account, _) = rig.stop();
    assert!(account.sent >= 100 && account.balances(), "{account:?}");
    assert_eq!(account.flows.len(), 2);
}
