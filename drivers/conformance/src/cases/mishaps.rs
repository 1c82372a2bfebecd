//! A device that loses or misplaces what it owes, or does not obey.

use crate::{Lane, Mishap, Subject, skip};
use barline::pool::Packet;
use barline::port::PortEvent;
use barline::wait::Armed;
use std::collections::HashSet;
use std::time::{Duration, Instant};

const RING: u32 = 64;
/// Far above what a driver's own limits sum up to.
const BOUND: Duration = Duration::from_secs(20);
const CANNOT: &str = "the back end cannot do that";

/// A port with short rings, so that they are full soon.
fn short(subject: &dyn Subject) -> Lane {
    Lane::with(subject, |config| (config.rx_ring, config.tx_ring) = (RING, RING))
}

/// The port can be stopped and started, and then all is well.
fn recovers(mut lane: Lane) {
    lane.stop().expect("stops");
    lane.cache.flush();
    assert_eq!(lane.pool.available(), lane.pool.packets(), "packets are missing");
    lane.start().expect("starts again");
    settle(&mut lane);
    let mac = lane.mac;
    lane.echo(200, 16, 16, |n| crate::frame(mac, 60, n));
    lane.end();
}

/// What was on the cable, or left over when the device was stopped, goes.
fn settle(lane: &mut Lane) {
    let patience = crate::Patience::new();
    let mut quiet = 0;
    while quiet < 200 {
        let came = lane.far.pending() > 0 || lane.far.take().is_some() || !lane.poll().is_empty();
        quiet = if came { 0 } else { quiet + 1 };
        patience.wait("an end of what was under way");
    }
}

/// Injects twice as many frames as the ring has descriptors, and takes what comes: no buffer is in two packets.
fn fill(lane: &mut Lane) -> u64 {
    let mut held: Vec<Packet> = Vec::new();
    for n in 0..u64::from(RING) * 2 {
        lane.inject(&lane.frame(60, n));
        held.extend(lane.poll().into_iter().map(|(_, packet)| packet));
        held.iter_mut().for_each(|packet| packet.fill(0xee));
    }
    let (patience, mut quiet) = (crate::Patience::new(), 0);
    while quiet < 200 {
        let packets = lane.poll();
        let came = lane.far.pending() > 0 || !packets.is_empty();
        held.extend(packets.into_iter().map(|(_, packet)| packet));
        quiet = if came { 0 } else { quiet + 1 };
        patience.wait("the device to see all frames");
    }
    let places: HashSet<_> = held.iter().map(|packet| packet.as_ptr() as usize).collect();
    assert_eq!(places.len(), held.len(), "one buffer in two packets");
    let room = lane.pool.data_room();
    assert!(held.iter().all(|packet| (1..=room).contains(&packet.len())));
    held.len() as u64
}

pub fn a_lost_completion_is_missed_and_nothing_else(subject: &dyn Subject) {
    for before in [0, 5, u64::from(RING)] {
        let mut lane = short(subject);
        let mac = lane.mac;
        if before > 0 {
            lane.echo(before, 8, 8, |n| crate::frame(mac, 60, n));
        }
        if !lane.far.mishap(Mishap::LoseReceive) {
            return skip(CANNOT);
        }
        let got = fill(&mut lane);
        let counted = lane.rx_sum("rx_packets") - before;
        assert_eq!(counted, got);
        let lost = lane.rx_sum("rx_errors") + lane.rx_sum("rx_lengths");
        // What was not reported is in no counter. One that tells of the last of several alone, and then goes back, has
        // said that frames are done that were not reported, and which ones is not clear any more.
        let few = got + lost <= u64::from(RING) * 2;
        assert!(few && (lost == 0 || subject.nature().speaks_for_others), "{lost}");
        recovers(lane);
    }
}

pub fn a_completion_of_another_descriptor_is_survived(subject: &dyn Subject) {
    // The next one, some further on, one never posted, and the one before.
    for further in [1, 7, RING / 2, RING - 2, RING - 1] {
        let mut lane = short(subject);
        if !lane.far.mishap(Mishap::MisplaceReceive(further)) {
            return skip(CANNOT);
        }
        let got = fill(&mut lane);
        assert!(got <= u64::from(RING) * 2);
        assert_eq!(lane.rx_sum("rx_packets"), got);
        recovers(lane);
    }
}

/// Sends one frame at a time until `count` are taken or that many calls took none; how many were.
fn send(lane: &mut Lane, count: u64) -> u64 {
    let (mut taken, mut refused) = (0, 0);
    while taken < count && refused < 20_000 {
        let frame = lane.frame(60, taken);
        let mut batch = lane.batch(&[frame]);
        let took = lane.tx[0].transmit(&mut lane.cache, &mut batch) as u64;
        lane.cache.free(&mut batch);
        taken += took;
        refused = if took == 0 { refused + 1 } else { 0 };
        if took == 0 {
            std::thread::yield_now();
        }
    }
    assert!(lane.tx[0].in_flight() <= RING as usize);
    assert_eq!(lane.tx_sum("tx_packets"), taken);
    taken
}

pub fn a_lost_report_does_not_stop_its_queue(subject: &dyn Subject) {
    let mut lane = short(subject);
    if !lane.far.mishap(Mishap::LoseReport) {
        return skip(CANNOT);
    }
    let count = u64::from(RING) * 5;
    let taken = send(&mut lane, count);
    if taken < count {
        assert!(subject.nature().speaks_for_others, "the queue stands still");
        stands_still(&mut lane);
        return recovers(lane);
    }
    if subject.nature().makes_up_for_reports {
        assert_eq!(lane.tx_sum("tx_reports_lost"), 1);
        assert!(lane.tx_sum("tx_full") > 0);
    }
    let sent = lane.take(count as usize);
    for (frame, n) in sent.iter().zip(0..) {
        crate::lane::same(frame, &lane.frame(60, n));
    }
    recovers(lane);
}

/// A queue that has ended, or does not get on, is told of.
fn stands_still(lane: &mut Lane) {
    let patience = crate::Patience::new();
    let mut event = None;
    while event.is_none() {
        let frame = lane.frame(60, 0);
        let mut batch = lane.batch(&[frame]);
        lane.tx[0].transmit(&mut lane.cache, &mut batch);
        lane.cache.free(&mut batch);
        event = lane.port().event();
        patience.wait("the port to say that a queue stands still");
    }
    let wanted = match lane.tx[0].has_ended() {
        true => PortEvent::Error,
        false => PortEvent::Stalled,
    };
    assert_eq!(event, Some(wanted));
}

pub fn a_report_of_another_descriptor_is_survived(subject: &dyn Subject) {
    for further in [1, 7, RING / 2, RING - 1] {
        let mut lane = short(subject);
        lane.far.hold(true);
        if !lane.far.mishap(Mishap::MisplaceReport(further)) {
            return skip(CANNOT);
        }
        // Posted, and not fetched yet: what is written over is a descriptor of the driver's.
        let handed = send(&mut lane, 40);
        lane.far.hold(false);
        lane.take(1);
        let mut more = 0;
        for n in 0..4000 {
            let frame = lane.frame(60, n);
            let mut batch = lane.batch(&[frame]);
            more += lane.tx[0].transmit(&mut lane.cache, &mut batch) as u64;
            lane.tx[0].reclaim(&mut lane.cache);
            lane.cache.free(&mut batch);
        }
        let handed = handed + more;
        assert_eq!(lane.tx_sum("tx_packets"), handed);
        // It goes on, or stands still: then that is counted, and no more than a ring is held.
        let full = lane.tx_sum("tx_full");
        assert!(handed == 4040 || full > 0, "{handed} taken, {full} refused");
        assert!(lane.tx[0].in_flight() <= RING as usize);
        recovers(lane);
    }
}

pub fn a_frame_that_does_not_end_is_one_counted_frame(subject: &dyn Subject) {
    let mut lane = short(subject);
    let parts = u64::from(RING) * 5;
    for n in 0..parts {
        if !lane.far.mishap(Mishap::Unended) {
            return skip(CANNOT);
        }
        lane.inject(&lane.frame(60, n));
        let patience = crate::Patience::new();
        while lane.far.pending() > 0 {
            patience.wait("the device to take a frame");
        }
        assert!(lane.poll().is_empty(), "a part of a frame is no frame");
    }
    let patience = crate::Patience::new();
    // The frame that ends it goes with it; the one after it is whole.
    lane.inject(&lane.frame(60, parts));
    while lane.rx_sum("rx_lengths") == 0 {
        assert!(lane.poll().is_empty());
        patience.wait("the end of the frame");
    }
    assert_eq!((lane.rx_sum("rx_lengths"), lane.rx_sum("rx_packets")), (1, 0));
    let mac = lane.mac;
    lane.echo(100, 16, 16, |n| crate::frame(mac, 60, n));
    recovers(lane);
}

pub fn a_wrong_number_of_buffers_is_survived(subject: &dyn Subject) {
    let ring = RING as u16;
    for parts in [0, 2, 3, ring - 1, ring, ring + 1, u16::MAX] {
        let mut lane = short(subject);
        if !lane.far.mishap(Mishap::Parts(parts)) {
            return skip(CANNOT);
        }
        let got = fill(&mut lane);
        assert_eq!(lane.rx_sum("rx_packets"), got);
        // With the frames that it takes with it, it is one frame: received where they fit together, or dropped.
        let dropped = lane.rx_sum("rx_lengths");
        assert_eq!(dropped, u64::from(parts == 0 || parts > 3), "{parts} buffers");
        recovers(lane);
    }
}

pub fn interrupts_without_a_cause_change_nothing(subject: &dyn Subject) {
    let mut lane = Lane::with(subject, |config| config.interrupts = true);
    if !lane.far.mishap(Mishap::Interrupt) {
        return skip(CANNOT);
    }
    for round in 0..50 {
        let armed = lane.rx[0].arm();
        if armed == Armed::Silent {
            return skip("the port has no interrupts");
        }
        assert_eq!(armed, Armed::Wakes, "nothing has come");
        for _ in 0..200 {
            lane.far.mishap(Mishap::Interrupt);
        }
        lane.rx[0].disarm();
        assert!(lane.poll().is_empty());
        let frame = lane.frame(60, round);
        lane.expect(&[frame]);
    }
    assert_eq!(lane.rx_sum("rx_packets"), 50);
    assert_eq!(lane.port().event(), None);
    lane.end();
}

pub fn a_device_that_does_not_stop_is_cut_off(subject: &dyn Subject) {
    let mut lane = short(subject);
    let mac = lane.mac;
    lane.echo(100, 16, 16, |n| crate::frame(mac, 60, n));
    let frame = lane.frame(60, 0);
    lane.far.hold(true);
    let mut batch = lane.batch(&[frame]);
    lane.tx[0].transmit(&mut lane.cache, &mut batch);
    if !lane.far.mishap(Mishap::Wedge) {
        return skip(CANNOT);
    }
    let begin = Instant::now();
    lane.stop().expect_err("it has not stopped, and that is said");
    assert!(begin.elapsed() < BOUND, "{:?}", begin.elapsed());
    lane.cache.flush();
    assert_eq!(lane.pool.available(), lane.pool.packets(), "packets are missing");
    let standing = lane.far.mappings().unwrap_or_default().standing;
    assert_eq!(standing, 0, "it can still reach memory");
    lane.start().expect_err("nor does it start");
    assert!(begin.elapsed() < BOUND, "{:?}", begin.elapsed());
    lane.far.hold(false);
    lane.far.mishap(Mishap::Mend);
    lane.start().expect("and then it does");
    settle(&mut lane);
    lane.echo(100, 16, 16, |n| crate::frame(mac, 60, n));
    lane.end();
}

pub fn pointers_beyond_the_ring_are_not_followed(subject: &dyn Subject) {
    let mut lane = short(subject);
    if !lane.far.mishap(Mishap::Lose) {
        return skip(CANNOT);
    }
    let mac = lane.mac;
    for _ in 0..5 {
        lane.echo(100, 16, 16, |n| crate::frame(mac, 60, n));
        let event = lane.port().event();
        assert!(matches!(event, None | Some(PortEvent::Stalled)), "{event:?}");
        lane.device_counters();
    }
    lane.far.mishap(Mishap::Mend);
    recovers(lane);
}
