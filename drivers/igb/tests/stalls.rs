//! A queue that stands still because of its device ends its port's run; one that stands still for another reason does not.

mod common;

use barline::mem::LocalDomain;
use barline::port::PortEvent;
use barline_conformance::{Lane, Mishap, pool};
use barline_sim::{Clock, Fault, Side, Spoiled};
use std::sync::Arc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const RING: u32 = 64;

struct Rig {
    lane: Lane,
    clock: Arc<Clock>,
}

fn rig(faults: Vec<Fault>, packets: usize) -> Rig {
    let (station, _, clock) = common::faulty(&Arc::new(LocalDomain::new()), faults);
    let short = |config: &mut barline::port::PortConfig| (config.rx_ring, config.tx_ring) = (RING, RING);
    Rig {
        lane: Lane::at(station, &pool(packets), short),
        clock,
    }
}

impl Rig {
    /// Looks once a second while `act` goes on; the first event, if there is one in twenty seconds.
    fn event(&mut self, mut act: impl FnMut(&mut Lane)) -> Option<PortEvent> {
        (0..20).find_map(|_| {
            act(&mut self.lane);
            self.clock.pass(SECOND);
            self.lane.port().event()
        })
    }

    /// Stopped and started it works, and nothing is missing.
    fn recovers(mut self) {
        self.lane.stop().unwrap();
        self.lane.cache.flush();
        assert_eq!(self.lane.pool.available(), self.lane.pool.packets());
        self.lane.start().unwrap();
        while self.lane.far.take().is_some() {}
        drop(self.lane.poll());
        let mac = self.lane.mac;
        self.lane
            .echo(200, 16, 16, |n| barline_conformance::frame(mac, 60, n));
        assert_eq!(self.event(drop_what_comes), None);
        self.lane.end();
    }
}

fn drop_what_comes(lane: &mut Lane) {
    drop(lane.poll());
}

fn feed(lane: &mut Lane) {
    for n in 0..20 {
        lane.far.inject(&lane.frame(60, n));
    }
    drop(lane.poll());
}

fn send(lane: &mut Lane) {
    for n in 0..20 {
        let frame = lane.frame(60, n);
        let mut batch = lane.batch(&[frame]);
        lane.tx[0].transmit(&mut lane.cache, &mut batch);
        lane.cache.free(&mut batch);
    }
    while lane.far.take().is_some() {}
}

fn spoiled(side: Side, nth: u64, how: Spoiled) -> Fault {
    Fault::WriteBack { side, nth, how }
}

#[test]
fn one_lost_report_is_made_up_for() {
    let mut rig = rig(vec![spoiled(Side::Tx, 0, Spoiled::Never)], 1024);
    let mut taken = 0;
    for n in 0..5000 {
        let frame = rig.lane.frame(60, n);
        let mut batch = rig.lane.batch(&[frame]);
        taken += rig.lane.tx[0].transmit(&mut rig.lane.cache, &mut batch);
        rig.lane.cache.free(&mut batch);
        rig.lane.far.take();
    }
    assert!(taken > 3000, "{taken}");
    assert_eq!(rig.lane.tx_sum("tx_reports_lost"), 1);
    assert_eq!(rig.event(send), None);
    rig.recovers();
}

#[test]
fn a_queue_whose_reports_are_all_lost_is_told_of() {
    let faults = (0..RING.into()).map(|nth| spoiled(Side::Tx, nth, Spoiled::Never));
    let mut rig = rig(faults.collect(), 1024);
    assert_eq!(rig.event(send), Some(PortEvent::Stalled));
    assert_eq!(rig.lane.tx[0].in_flight(), 63);
    rig.recovers();
}

#[test]
fn a_transmit_descriptor_that_the_device_has_overwritten_is_told_of() {
    let mut rig = rig(Vec::new(), 1024);
    rig.lane.far.hold(true);
    rig.lane.far.mishap(Mishap::MisplaceReport(3));
    send(&mut rig.lane);
    rig.lane.far.hold(false);
    assert_eq!(rig.event(send), Some(PortEvent::Stalled));
    assert!(rig.lane.tx_sum("tx_full") > 0);
    rig.recovers();
}

#[test]
fn a_lost_or_misplaced_completion_is_told_of() {
    for how in [
        Spoiled::Never,
        Spoiled::Elsewhere(3),
        Spoiled::Elsewhere(RING - 1),
    ] {
        for nth in [1, 5, 100] {
            let mut rig = rig(vec![spoiled(Side::Rx, nth, how)], 1024);
            if how != Spoiled::Never {
                rig.lane.far.mishap(Mishap::MisplaceReceive(0)); // what follows is the device's doing
            }
            let event = rig.event(feed);
            assert_eq!(event, Some(PortEvent::Stalled), "{how:?} of {nth}");
            rig.recovers();
        }
    }
}

#[test]
fn a_frame_without_an_end_is_told_of() {
    let mut rig = rig(Vec::new(), 1024);
    let endless = |lane: &mut Lane| {
        (0..80).for_each(|_| assert!(lane.far.mishap(Mishap::Unended)));
        (0..4).for_each(|_| feed(lane));
    };
    assert_eq!(rig.event(endless), Some(PortEvent::Stalled));
    assert_eq!(rig.lane.rx_sum("rx_packets"), 0);
    rig.recovers();
}

#[test]
fn a_port_without_work_is_not_taken_for_one_that_does_none() {
    // No traffic; nobody polls although frames come; nobody polls and the pool is empty.
    let mut rig = rig(Vec::new(), 40);
    assert_eq!(rig.event(|_| {}), None);
    assert_eq!(rig.event(drop_what_comes), None);
    let held: Vec<_> = std::iter::from_fn(|| rig.lane.cache.alloc()).collect();
    let flood = |lane: &mut Lane| (0..90).for_each(|n| _ = lane.far.inject(&lane.frame(60, n)));
    assert_eq!(rig.event(flood), None, "nobody polls");
    assert_eq!(
        rig.event(|lane| {
            flood(lane);
            lane.poll()
                .into_iter()
                .for_each(|(_, packet)| std::mem::forget(packet))
        }),
        None
    );
    drop(held);
}

#[test]
fn a_ring_that_waits_for_a_link_is_not_taken_for_one_that_hangs() {
    let mut rig = rig(Vec::new(), 1024);
    rig.lane.far.set_link(false);
    assert_eq!(rig.event(send), None);
    assert!(rig.lane.tx_sum("tx_full") > 0);
    rig.lane.far.set_link(true);
    assert_eq!(rig.event(send), None);
    rig.recovers();
}
