//! The same seed is the same run; plans do what they are for; and each plan that ever failed is kept.

use barline_sim::{Fault, Impairment, Side, Spoiled};
use barline_simulate::{End, Outcome, Plan, PortPlan, run};
use std::time::Duration;

fn sum(seeds: std::ops::Range<u64>) -> Outcome {
    seeds.fold(Outcome::default(), |mut sum, seed| {
        sum += run(&Plan::new(seed)).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        sum
    })
}

#[test]
fn a_seed_is_a_run() {
    for seed in 0..60 {
        assert_eq!(format!("{:?}", Plan::new(seed)), format!("{:?}", Plan::new(seed)));
        assert_eq!(sum(seed..seed + 1), sum(seed..seed + 1), "seed {seed}");
    }
}

#[test]
fn plans_are_not_idle() {
    let all = sum(0..300);
    assert!(all.started > 150 && all.started < 300, "{all}");
    assert!(all.removed > 50 && all.refused > 10, "{all}");
    assert!(
        all.delivered > 5000 && all.sent > 4000 && all.dropped > 1000,
        "{all}"
    );
}

fn plain(faults: Vec<Fault>) -> Plan {
    let port = PortPlan {
        frames: 200,
        sizes: vec![60, 1514],
        rate: 16,
        patient: true,
        runts: 0,
        strangers: 0,
        mtu: 1500,
        promiscuous: true,
        link: true,
        impairment: Impairment::default(),
        faults: Vec::new(),
        changes: Vec::new(),
    };
    Plan {
        seed: 1,
        subject: 0,
        queues: 1,
        rings: (64, 64),
        burst: 32,
        packets: 1200,
        lives: 1,
        rounds: 3000,
        step: Some(8),
        round: Duration::from_micros(2),
        end: End::Stop,
        ports: vec![
            PortPlan {
                faults,
                ..port.clone()
            },
            port,
        ],
    }
}

#[test]
fn without_faults_everything_arrives() {
    let outcome = run(&plain(Vec::new())).unwrap();
    assert_eq!(
        (outcome.arrived, outcome.delivered, outcome.sent),
        (400, 400, 400)
    );
}

/// A fault of port 0 is felt by the traffic: frames delivered and sent, of 400.
#[test]
fn each_fault_is_felt() {
    let spoiled = |side, how| Fault::WriteBack { side, nth: 10, how };
    let late = Duration::from_micros(8);
    let length = Spoiled::Words {
        clear: [0, 0xffff << 32],
        flip: [0; 2],
    };
    let at = |us| Duration::from_micros(us);
    let felt: [(Fault, fn(&Outcome) -> bool); 9] = [
        (spoiled(Side::Rx, Spoiled::Late(late)), |o| {
            (o.delivered, o.sent) == (400, 400)
        }),
        // The frame is taken for one of no length, and its place in the ring for a second one.
        (spoiled(Side::Rx, Spoiled::Torn(late)), |o| {
            o.delivered == 400 && o.sent >= 399
        }),
        // The driver waits for it for ever.
        (spoiled(Side::Rx, Spoiled::Never), |o| o.sent == 210),
        (spoiled(Side::Rx, length), |o| (o.delivered, o.sent) == (400, 399)),
        // The one behind it, which it wrote over, comes when the ring has gone round.
        (spoiled(Side::Rx, Spoiled::Elsewhere(1)), |o| o.sent < 400),
        // Later reports cover it.
        (spoiled(Side::Tx, Spoiled::Never), |o| {
            (o.delivered, o.sent) == (400, 400)
        }),
        (Fault::Dma { nth: 100 }, |o| o.refused == 1 && o.sent < 400),
        (Fault::Removed { access: 300 }, |o| o.removed == 1 && o.sent < 400),
        (Fault::Link { at: at(4), up: false }, |o| o.sent < 400),
    ];
    for (fault, good) in felt {
        let outcome = run(&plain(vec![fault])).unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert!(good(&outcome), "{fault:?}: {outcome}");
    }
}

#[test]
fn a_device_that_does_not_come_up_is_an_error_in_good_time() {
    // CTRL.RST of the 82576 reads as 1 for ever.
    let stuck = Fault::Stuck {
        bar: 0,
        offset: 0,
        set: 1 << 26,
        clear: 0,
        after: 0,
        reads: u32::MAX,
    };
    let outcome = run(&plain(vec![stuck])).unwrap();
    assert_eq!((outcome.started, outcome.arrived), (0, 0));
    let link = Fault::Link {
        at: Duration::ZERO,
        up: true,
    };
    assert_eq!(run(&plain(vec![link])).unwrap().sent, 400);
}
