//! Every frame ends in exactly one counter.

use crate::{Lane, Patience, Spoil, Subject, skip};
use barline::telemetry::DEVICE_COUNTERS;

/// The names under which every driver counts what its device dropped of the frames that were for the port.
const DROPS: [&str; 8] = [
    "nic_rx_missed",
    "nic_rx_queue_drops",
    "nic_rx_crc_errors",
    "nic_rx_errors",
    "nic_rx_length_errors",
    "nic_rx_undersize",
    "nic_rx_oversize",
    "nic_rx_other_drops",
];

const NO_COUNTERS: &str = "the device does not tell what it drops";

/// Frames accounted for: delivered, dropped by the driver, dropped by the device.
fn fates(lane: &mut Lane) -> [u64; 4] {
    let device = lane.device_counters();
    let drops = DROPS.iter().filter_map(|name| device.get(name)).sum();
    [
        lane.rx_sum("rx_packets"),
        lane.rx_sum("rx_errors"),
        lane.rx_sum("rx_lengths"),
        drops,
    ]
}

/// Receives until every one of `all` frames is accounted for, then looks whether it stays at that.
fn account(lane: &mut Lane, all: u64) -> [u64; 4] {
    let mut patience = Patience::new();
    let mut last = 0;
    for settled in 0..20 {
        loop {
            for (_, packet) in lane.poll() {
                lane.cache.free_one(packet);
            }
            let fates = fates(lane);
            let sum = fates.iter().sum();
            assert!(sum <= all, "{fates:?} of {all} frames: one is in two counters");
            if sum == all && lane.far.pending() == 0 {
                break;
            }
            if sum != last {
                patience.renew();
            }
            last = sum;
            patience.wait(&format!("a counter: {fates:?} of {all} frames, look {settled}"));
        }
    }
    fates(lane)
}

pub fn every_frame_is_in_one_counter(subject: &dyn Subject) {
    let queues = {
        let station = subject.bench(1).pop().expect("a station");
        (station.open)().expect("opens").caps().rx_queues.min(2)
    };
    for queues in 1..=queues {
        let mut lane = Lane::with(subject, |config| {
            (config.rx_ring, config.rx_queues) = (64, queues);
        });
        if lane.device_counters().is_empty() {
            return skip(NO_COUNTERS);
        }
        let mut all = 0;
        for round in 0..8 {
            // More than ring and device can hold, and nobody polls.
            for n in 0..400 {
                let len = [60, 300, 1514][n as usize % 3];
                lane.inject(&lane.frame(len, n));
            }
            lane.inject(&lane.frame(1600, 0));
            lane.inject(&lane.frame(40, 0));
            all += 402;
            if round % 2 == 0 {
                let patience = Patience::new();
                while lane.far.pending() > 0 {
                    patience.wait("the device to see all frames");
                }
            }
            let seen = account(&mut lane, all);
            // The long and the short one, by driver or device.
            let odd = seen[2] + seen[3];
            assert!(seen[0] > 0 && odd >= 2 * (round + 1), "{seen:?}");
        }
        let [delivered, .., drops] = fates(&mut lane);
        assert!(drops > 16, "the ring was never full: {delivered}, {drops}");
        lane.end();
    }
}

pub fn damaged_frames_and_wrong_lengths_are_counted(subject: &dyn Subject) {
    let mut lane = Lane::up(subject);
    if !lane.far.spoil(Spoil::Damaged) {
        return skip("the back end cannot spoil a frame");
    }
    lane.far.spoil(Spoil::Length(0));
    lane.far.spoil(Spoil::Length(u16::MAX));
    lane.far.spoil(Spoil::Damaged);
    let beyond = lane.pool.data_room() as u16 + 1;
    lane.far.spoil(Spoil::Length(beyond));
    for n in 0..20 {
        lane.inject(&lane.frame(60, n));
    }
    let packets = lane.receive(15);
    for (packet, n) in packets.iter().zip(5..) {
        crate::lane::same(packet, &lane.frame(60, n));
    }
    let damaged = if subject.nature().marks_damage { 2 } else { 0 };
    let wanted = [15, damaged, 5 - damaged, 0];
    assert_eq!(account(&mut lane, 20), wanted);
    drop(packets);
    lane.end();
}

pub fn the_device_shows_names_of_the_table_only(subject: &dyn Subject) {
    let mut lane = Lane::up(subject);
    let mut shown = Vec::new();
    lane.port().counters(&mut |name, _| shown.push(name));
    for (at, name) in shown.iter().enumerate() {
        let known = DEVICE_COUNTERS.iter().any(|(known, _)| known == name);
        assert!(known, "{name} is not in engine/docs/counters.md");
        assert!(!shown[..at].contains(name), "{name} is shown twice");
    }
    lane.end();
}

pub fn the_device_counts_what_we_count(subject: &dyn Subject) {
    let mut lane = Lane::up(subject);
    if lane.device_counters().is_empty() {
        return skip(NO_COUNTERS);
    }
    let mac = lane.mac;
    lane.echo(500, 32, 64, |n| crate::frame(mac, 60 + n as usize, n));
    let device = lane.device_counters();
    let ours = [
        ("nic_rx_packets", lane.rx_sum("rx_packets")),
        ("nic_tx_packets", lane.tx_sum("tx_packets")),
    ];
    for (name, value) in ours {
        assert_eq!((device.get(name), value), (Some(&500), 500), "{name}");
    }
    let bytes = (0..500).map(|n| 60 + n).sum::<u64>();
    assert_eq!(lane.rx_sum("rx_bytes"), bytes);
    assert_eq!(lane.tx_sum("tx_bytes"), bytes);
    // What is read twice is not counted twice, and a stop does not lose it.
    assert_eq!(lane.device_counters(), device);
    lane.stop().expect("stops");
    assert_eq!(lane.device_counters(), device);
    lane.start().expect("starts");
    let fresh = lane.device_counters();
    assert!(fresh.values().all(|value| *value == 0), "{fresh:?}");
    lane.end();
}
