use super::*;
use serde_json::json;

#[derive(Debug)]
struct Fixed(Sample);

impl Side for Fixed {
    fn window(&mut self, _length: Duration) -> Result<Sample> {
        Ok(self.0)
    }
}

fn sample(packets: u64, cycles: Option<f64>, stolen: f64) -> Sample {
    Sample {
        packets,
        nanos: 100.0,
        cycles,
        stolen,
        blur: 0.0,
        work: None,
    }
}

fn take(ours: Sample, theirs: Sample) -> Option<Pair> {
    turns(ours, theirs).pair().unwrap()
}

fn turns(ours: Sample, theirs: Sample) -> Turns {
    Turns {
        ours: Box::new(Fixed(ours)),
        theirs: Box::new(Fixed(theirs)),
        ping_pong: None,
        length: Duration::ZERO,
        tolerance: TOLERANCE,
        theirs_first: false,
    }
}

fn named(name: &str) -> &'static Comparison {
    let comparison = COMPARISONS.iter().find(|comparison| comparison.name == name);
    comparison.expect("a comparison of this name")
}

#[test]
fn sides_take_turns_in_beginning() {
    let mut turns = turns(sample(50, Some(250.0), 0.0), sample(10, None, 0.0));
    for first in [false, true, false] {
        assert_eq!(turns.theirs_first, first);
        let pair = turns.pair().unwrap().unwrap();
        assert_eq!((pair.ours, pair.theirs), (5.0, 25.0));
    }
}

#[test]
fn time_is_turned_into_cycles_by_our_own_clock() {
    // 2.5 cycles a nanosecond: 100 ns are 250 cycles for 10 packets.
    let pair = take(sample(50, Some(250.0), 0.0), sample(10, None, 0.0)).unwrap();
    assert_eq!(
        (pair.ours, pair.theirs, pair.distance),
        (5.0, 25.0, Distance::None)
    );
}

#[test]
fn disturbed_and_empty_windows_do_not_count() {
    let good = sample(50, Some(250.0), 0.0);
    assert!(take(good, sample(10, None, 0.05)).is_none());
    assert!(take(sample(50, Some(250.0), 0.05), good).is_none());
    assert!(take(sample(0, Some(250.0), 0.0), good).is_none());
    let blurred = Sample { blur: 0.1, ..good };
    assert!(take(good, blurred).is_none());
}

#[test]
fn distance_needs_all_hops_to_agree() {
    assert_eq!(Distance::of(&[]), Distance::None);
    assert_eq!(Distance::of(&[70, 149, 90]), Distance::Near);
    assert_eq!(Distance::of(&[150, 440, 300]), Distance::Far);
    assert_eq!(Distance::of(&[70, 440, 70]), Distance::Mixed);
}

fn tally(pairs: &[(f64, f64, Distance, usize)]) -> Tally {
    let mut tally = Tally::default();
    for (ours, theirs, distance, times) in pairs.iter().copied() {
        for _ in 0..times {
            tally.add(Some(Pair {
                ours,
                theirs,
                work: None,
                distance,
            }));
        }
    }
    tally
}

fn debian() -> Peer {
    Peer::for_tests("dpdk-22.11-debian", Build::Debian)
}

#[test]
fn near_windows_are_reported_and_far_ones_only_for_want_of_them() {
    let both = tally(&[(5.0, 10.0, Distance::Near, 20), (30.0, 40.0, Distance::Far, 60)]);
    let outcome = both.outcome(named("spsc-32-two-cores"), &debian());
    assert_eq!(
        (outcome.distance, outcome.windows, outcome.discarded),
        (Distance::Near, 20, 60)
    );
    let far = tally(&[(5.0, 10.0, Distance::Near, 3), (30.0, 40.0, Distance::Far, 60)]);
    let outcome = far.outcome(named("spsc-32-two-cores"), &debian());
    assert_eq!((outcome.distance, outcome.ours.median), (Distance::Far, 30.0));
    assert_eq!(outcome.json()["distance"], "far");
}

#[test]
fn an_outcome_has_the_fields_that_scripts_rely_on() {
    let mut tally = tally(&[(4.0, 40.0, Distance::None, 20)]);
    tally.add(None);
    let object = tally.outcome(named("null-io"), &debian()).json();
    let wanted = json!({
        "bench": "null-io", "unit": "cycles/packet", "ours": 4.0, "peer": "dpdk-22.11-debian", "theirs": 40.0,
        "ratio": 0.1, "windows": 20, "spread": [0.1, 0.1], "discarded": 1,
    });
    for (name, value) in wanted.as_object().unwrap() {
        assert_eq!(&object[name], value, "{name}");
    }
    assert!(object["p"].as_f64().unwrap() < 1e-6 && object.get("distance").is_none());
}

#[test]
fn each_peer_has_its_target_and_few_windows_are_no_result() {
    let native = Peer::for_tests("dpdk-22.11-native", Build::Native);
    let tally_of = |ratio: f64, times| tally(&[(10.0 * ratio, 10.0, Distance::None, times)]);
    let good = |ratio, times, peer: &Peer| {
        let outcome = tally_of(ratio, times).outcome(named("null-io"), peer);
        (outcome.is_good(24, true), outcome.is_good(24, false))
    };
    assert_eq!(good(0.14, 20, &debian()), (true, true));
    assert_eq!(good(0.16, 20, &debian()), (false, true));
    assert_eq!(good(0.16, 20, &native), (true, true));
    assert_eq!(good(0.14, 19, &debian()), (false, false));
    let far = tally(&[(5.0, 10.0, Distance::Far, 24)]).outcome(named("spsc-32-two-cores"), &debian());
    assert!(!far.is_good(24, false));
    // 1.3 cycles, whatever the peer takes.
    let alone = tally(&[(1.31, 10.0, Distance::None, 24)]).outcome(named("spsc-32"), &debian());
    assert!(!alone.is_good(24, true) && alone.row().contains("MISSED"));
}

#[test]
fn what_ends_of_a_socket_worked_stands_beside_the_rate() {
    let work = |cycles, share| Work {
        cycles,
        share,
        other: 0.9,
    };
    let mut tally = Tally::default();
    for _ in 0..20 {
        let at_work = (work(50.0, 0.5), work(100.0, 1.0));
        tally.add(Some(Pair {
            ours: 10.0,
            theirs: 10.0,
            work: Some(at_work),
            distance: Distance::Near,
        }));
    }
    let outcome = tally.outcome(named("vhost-split-in"), &debian());
    let json = &outcome.json()["at_work"];
    assert_eq!(
        (&json["ratio"], &json["shares_ours"]),
        (&json!(0.5), &json!([0.5, 0.9]))
    );
    assert!(
        outcome
            .row()
            .contains("ours 50 % and the other end 90 %, theirs 100 %")
    );
    // The rate decides.
    assert!(!outcome.is_good(20, true));
}
