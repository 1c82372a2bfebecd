//! Ports that go away while others forward on, and come back when that is asked for.

use barline::bus::PowerEvent;
use l2fwd::{Account, Forwarder, Incident, Options, Settings};
use std::time::{Duration, Instant};

fn settings(change: impl FnOnce(&mut Options)) -> Settings {
    let mut options = Options {
        ports: vec!["sim:82576".to_owned(); 4],
        huge: Some("none".to_owned()),
        queues: Some(2),
        ..Options::default()
    };
    change(&mut options);
    Settings::new(&options).unwrap()
}

/// Attends until `done`; only a test that fails takes that long.
fn until(
    forwarder: &mut Forwarder,
    what: &str,
    mut done: impl FnMut(&mut Forwarder, &[Incident]) -> bool,
) -> Vec<Incident> {
    let (end, mut incidents) = (Instant::now() + Duration::from_secs(30), Vec::new());
    while !done(forwarder, &incidents) {
        assert!(Instant::now() < end, "waited 30 s for {what}; {incidents:?}");
        incidents.extend(forwarder.attend(Duration::from_millis(5)));
    }
    incidents
}

fn sent(account: &Account, port: usize) -> u64 {
    account.ports[port].queues["tx_packets"]
}

/// All of `ports` send on.
fn forwards(forwarder: &mut Forwarder, ports: &[usize]) {
    let before = forwarder.account();
    until(forwarder, "forwarding", |forwarder, _| {
        let now = forwarder.account();
        ports
            .iter()
            .all(|port| sent(&now, *port) > sent(&before, *port) + 500)
    });
}

fn end(forwarder: Forwarder) -> Account {
    let (account, result) = forwarder.stop();
    // A port that failed and stayed away is a run that failed.
    let failed = account.ports.iter().any(|port| port.state == "failed");
    assert_eq!(result.is_err(), failed, "{result:?}");
    assert!(account.balances());
    account
}

type Act = fn(&barline_drivers::SimEnd);

const ENDS: [(&str, &str, Act); 4] = [
    ("unplug-request", "released", |far| far.request_unplug().unwrap()),
    ("gone", "gone", |far| far.remove()),
    ("error", "failed", |far| far.report_error().unwrap()),
    ("reset", "reset", |far| far.reset()),
];

fn far(forwarder: &Forwarder, port: usize) -> barline_drivers::SimEnd {
    forwarder.far_ends().nth(port).unwrap().clone()
}

#[test]
fn a_port_that_goes_away_leaves_the_others_forwarding() {
    for (event, state, act) in ENDS {
        let mut forwarder = Forwarder::start(&settings(|_| {})).unwrap();
        forwards(&mut forwarder, &[0, 1, 2, 3]);
        act(&far(&forwarder, 1));
        let incidents = until(&mut forwarder, event, |_, incidents| !incidents.is_empty());
        assert_eq!(
            (incidents.len(), incidents[0].port, incidents[0].event),
            (1, 1, event)
        );
        assert_eq!(incidents[0].error, None, "{event}");
        forwards(&mut forwarder, &[2, 3]);
        let before = forwarder.account();
        assert_eq!(
            before.ports.iter().map(|port| port.state).collect::<Vec<_>>(),
            ["running", state, "running", "running"]
        );
        // Its partner has nobody to forward to and nothing to forward.
        assert_eq!(sent(&forwarder.account(), 0), sent(&before, 0));
        assert!(!forwarder.has_failed() && forwarder.links_up());
        end(forwarder);
    }
}

#[test]
fn a_port_comes_back_on_request() {
    for (event, _, act) in ENDS {
        let mut forwarder = Forwarder::start(&settings(|options| options.replug = Some(true))).unwrap();
        forwards(&mut forwarder, &[0, 1]);
        act(&far(&forwarder, 0));
        let incidents = until(&mut forwarder, "the return", |_, incidents| incidents.len() == 2);
        assert_eq!((incidents[0].event, incidents[1].event), (event, "back"));
        forwards(&mut forwarder, &[0, 1, 2, 3]);
        let account = end(forwarder);
        assert!(
            account.ports.iter().all(|port| port.state == "running"),
            "{:?}",
            account.ports
        );
    }
}

#[test]
fn the_machine_sleeps_and_all_ports_go_on() {
    let mut forwarder = Forwarder::start(&settings(|_| {})).unwrap();
    forwards(&mut forwarder, &[0, 1, 2, 3]);
    let ends: Vec<_> = forwarder.far_ends().cloned().collect();
    ends.iter()
        .for_each(|end| end.announce(PowerEvent::Suspend).unwrap());
    let incidents = until(&mut forwarder, "the sleep", |_, incidents| incidents.len() == 4);
    assert!(
        incidents
            .iter()
            .all(|it| it.event == "suspend" && it.error.is_none()),
        "{incidents:?}"
    );
    assert!(ends.iter().all(|end| end.unacknowledged().is_none()));
    let asleep = forwarder.account();
    assert!(
        asleep.ports.iter().all(|port| port.state == "asleep"),
        "{:?}",
        asleep.ports
    );
    ends.iter()
        .for_each(|end| end.announce(PowerEvent::Resume).unwrap());
    let incidents = until(&mut forwarder, "the end of it", |_, incidents| {
        incidents.len() == 4
    });
    assert!(
        incidents
            .iter()
            .all(|it| it.event == "resume" && it.error.is_none()),
        "{incidents:?}"
    );
    assert!(ends.iter().all(|end| end.unacknowledged().is_none()));
    forwards(&mut forwarder, &[0, 1, 2, 3]);
    // One that slept before anybody could stop it: its registers were reset under its queues.
    far(&forwarder, 2).announce(PowerEvent::Resume).unwrap();
    until(&mut forwarder, "the restart", |_, incidents| {
        !incidents.is_empty()
    });
    forwards(&mut forwarder, &[0, 1, 2, 3]);
    end(forwarder);
}

#[test]
fn all_ports_may_go_one_by_one_and_both_of_a_pair_come_back() {
    let mut forwarder = Forwarder::start(&settings(|_| {})).unwrap();
    for port in 0..4 {
        far(&forwarder, 0).request_unplug().unwrap(); // the first of those that are left
        until(&mut forwarder, "the end", |forwarder, _| {
            forwarder.account().ports[port].state == "released"
        });
    }
    assert_eq!(forwarder.far_ends().count(), 0);
    end(forwarder);
    let mut forwarder = Forwarder::start(&settings(|options| options.replug = Some(true))).unwrap();
    far(&forwarder, 0).remove();
    far(&forwarder, 1).remove();
    until(&mut forwarder, "both returns", |_, incidents| {
        incidents
            .iter()
            .filter(|incident| incident.event == "back")
            .count()
            == 2
    });
    forwards(&mut forwarder, &[0, 1, 2, 3]);
    end(forwarder);
}

#[test]
fn a_port_without_a_partner_and_a_sleeping_core_are_no_obstacle() {
    let mut forwarder = Forwarder::start(&settings(|options| {
        options.ports = vec!["sim:82576,rate=0".to_owned()];
        options.idle.sleep_ms = Some(10_000);
    }))
    .unwrap();
    until(&mut forwarder, "sleep", |forwarder, _| {
        // The first sleeps end by themselves; then both cores lie in a long one.
        std::thread::sleep(Duration::from_millis(50));
        forwarder.links_up()
    });
    far(&forwarder, 0).request_unplug().unwrap();
    let begin = Instant::now();
    let incidents = until(&mut forwarder, "the end", |_, incidents| !incidents.is_empty());
    assert_eq!(
        (incidents[0].event, incidents[0].error.clone()),
        ("unplug-request", None)
    );
    assert!(
        begin.elapsed() < Duration::from_secs(9),
        "the cores were woken, they did not wake by themselves"
    );
    end(forwarder);
}

#[test]
fn a_link_that_flaps_ends_nothing() {
    let mut forwarder = Forwarder::start(&settings(|_| {})).unwrap();
    for _ in 0..3 {
        far(&forwarder, 2).set_link(false);
        assert!(!forwarder.links_up());
        forwards(&mut forwarder, &[0, 1]);
        far(&forwarder, 2).set_link(true);
        forwards(&mut forwarder, &[0, 1, 2, 3]);
    }
    assert!(forwarder.attend(Duration::ZERO).is_empty());
    end(forwarder);
}
