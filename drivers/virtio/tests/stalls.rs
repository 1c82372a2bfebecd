//! A transmit queue that stands still because of its device ends its port's run; one that stands still for another reason does not.

mod on_model;

use barline::mem::LocalDomain;
use barline::port::PortEvent;
use barline_conformance::{Lane, pool};
use barline_sim::{Clock, Fault, Mode, Side, Spoiled};
use on_model::OnModel;
use std::sync::Arc;
use std::time::Duration;

const RING: u64 = 64;

/// The first event in twenty seconds in which packets are sent.
fn event(lane: &mut Lane, clock: &Clock) -> Option<PortEvent> {
    (0..20).find_map(|_| {
        for n in 0..20 {
            let frame = lane.frame(60, n);
            let mut batch = lane.batch(&[frame]);
            lane.tx[0].transmit(&mut lane.cache, &mut batch);
            lane.cache.free(&mut batch);
        }
        while lane.far.take().is_some() {}
        clock.pass(Duration::from_secs(1));
        lane.port().event()
    })
}

fn lane(subject: &OnModel, faults: Vec<Fault>) -> (Lane, Arc<Clock>) {
    let (station, _, clock) = subject.faulty(&Arc::new(LocalDomain::new()), faults);
    let short = |config: &mut barline::port::PortConfig| {
        (config.rx_ring, config.tx_ring) = (RING as u32, RING as u32);
    };
    (Lane::at(station, &pool(1024), short), clock)
}

#[test]
fn a_ring_whose_reports_are_all_lost_is_told_of() {
    for subject in [OnModel::split(Mode::Sync), OnModel::packed(Mode::Sync)] {
        let lost = |nth| Fault::WriteBack {
            side: Side::Tx,
            nth,
            how: Spoiled::Never,
        };
        let (mut lane, clock) = lane(&subject, (0..RING).map(lost).collect());
        assert_eq!(event(&mut lane, &clock), Some(PortEvent::Stalled));
        assert!(lane.tx_sum("tx_full") > 0);
        lane.stop().expect("stops");
        lane.start().expect("starts");
        assert_eq!(event(&mut lane, &clock), None);
        lane.end();
    }
}

#[test]
fn a_held_device_without_a_link_is_not_taken_for_one_that_hangs() {
    for subject in [OnModel::split(Mode::Sync), OnModel::packed(Mode::Sync)] {
        let (mut lane, clock) = lane(&subject, Vec::new());
        lane.far.set_link(false);
        lane.far.hold(true);
        assert_eq!(event(&mut lane, &clock), None);
        assert!(lane.tx_sum("tx_full") > 0);
        lane.far.set_link(true);
        assert_eq!(event(&mut lane, &clock), Some(PortEvent::Stalled));
        lane.far.hold(false);
        lane.end();
    }
}
