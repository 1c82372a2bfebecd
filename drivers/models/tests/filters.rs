//! Which frames arrive, at which queue, and what the counters say.

mod common;

use barline_sim::{FrameSpec, Generator, Sink, Source, Traffic, Wire, WireEnd};
use common::{MAC, Rig, frame};

const RCTL: usize = 0x0100;
const BASE: u32 = 1 << 1 | 1 << 26;

fn rig() -> (Rig, WireEnd) {
    let (near, far) = Wire::pair();
    let mut rig = Rig::new(near);
    rig.start(1);
    (rig, far)
}

/// Whether a frame to this address arrives.
fn arrives(rig: &mut Rig, far: &WireEnd, to: [u8; 6]) -> bool {
    far.send(&frame(to, 60, 1));
    rig.receive(0).is_some()
}

#[test]
fn unicast_broadcast_and_promiscuous() {
    let (mut rig, far) = rig();
    let other = [0x02, 9, 9, 9, 9, 9];
    rig.write(RCTL, BASE);
    assert!(arrives(&mut rig, &far, MAC));
    assert!(!arrives(&mut rig, &far, other));
    assert!(!arrives(&mut rig, &far, [0xff; 6]));
    rig.write(RCTL, BASE | 1 << 15);
    assert!(arrives(&mut rig, &far, [0xff; 6]));
    rig.write(RCTL, BASE | 1 << 3);
    assert!(arrives(&mut rig, &far, other));
    assert!(!arrives(&mut rig, &far, [0x01, 0, 0x5e, 0, 0, 1]));
    rig.write(RCTL, BASE);
    // Exact filter 20 stands in the second block; it counts only with address valid.
    let words = [u32::from_le_bytes([2, 9, 9, 9]), 0x0909];
    rig.write(0x54E0 + 4 * 8, words[0]);
    rig.write(0x54E4 + 4 * 8, words[1]);
    assert!(!arrives(&mut rig, &far, other));
    rig.write(0x54E4 + 4 * 8, words[1] | 1 << 31);
    assert!(arrives(&mut rig, &far, other));
    rig.write(RCTL, 0);
    assert!(!arrives(&mut rig, &far, MAC), "receiver off");
    rig.assert_clean();
}

#[test]
fn multicast_goes_by_the_table_or_promiscuous() {
    let (mut rig, far) = rig();
    let group = [0x01, 0x00, 0x5e, 0x12, 0x34, 0x56];
    rig.write(RCTL, BASE);
    assert!(!arrives(&mut rig, &far, group));
    // Data sheet 7.1.1.1.4: MO 0 takes address bits 47:36, that is the last byte and the upper half of the one
    // before it: 0x563.
    for (offset, hash) in [(0, 0x563u32), (1, 0xac6), (2, 0x58d), (3, 0x634)] {
        rig.write(RCTL, BASE | offset << 12);
        rig.write(0x5200 + (hash >> 5) as usize * 4, 1 << (hash & 31));
        assert!(arrives(&mut rig, &far, group), "MO {offset}");
        rig.write(0x5200 + (hash >> 5) as usize * 4, 0);
        assert!(!arrives(&mut rig, &far, group), "MO {offset}");
    }
    rig.write(RCTL, BASE | 1 << 4);
    assert!(arrives(&mut rig, &far, group));
    rig.assert_clean();
}

#[test]
fn vlan_tags_are_filtered_and_stripped() {
    let (mut rig, far) = rig();
    let mut tagged = frame(MAC, 64, 7);
    tagged.splice(12..12, [0x81, 0x00, 0x20, 0x0a]);
    rig.write(RCTL, BASE | 1 << 18);
    far.send(&tagged);
    assert!(rig.receive(0).is_none());
    rig.write(0x5600, 1 << 10);
    far.send(&tagged);
    assert_eq!(rig.receive(0).unwrap().frame, tagged);
    let control = rig.read(0x0000);
    rig.write(0x0000, control | 1 << 30);
    far.send(&tagged);
    let received = rig.receive(0).unwrap();
    assert_eq!(received.frame, frame(MAC, 64, 7));
    assert_eq!((received.word1 >> 48, received.word1 >> 3 & 1), (0x200a, 1));
    assert_eq!(received.word0 >> 16 & 1, 1, "packet type: VLAN");
    rig.assert_clean();
}

#[test]
fn the_crc_stays_where_it_is_not_stripped() {
    let (mut rig, far) = rig();
    rig.write(RCTL, 1 << 1);
    far.send(&frame(MAC, 60, 1));
    assert_eq!(rig.receive(0).unwrap().frame.len(), 64);
}

#[test]
fn lengths_are_checked_and_counted() {
    let (mut rig, far) = rig();
    far.send(&frame(MAC, 59, 1));
    far.send(&frame(MAC, 1514, 1));
    far.send(&frame(MAC, 1515, 1));
    let mut tagged = frame(MAC, 1518, 1);
    tagged[12..16].copy_from_slice(&[0x81, 0, 0, 1]);
    far.send(&tagged);
    assert_eq!(rig.receive(0).unwrap().frame.len(), 1514);
    assert_eq!(rig.receive(0).unwrap().frame, tagged);
    assert!(rig.receive(0).is_none());
    assert_eq!((rig.read(0x40A4), rig.read(0x40AC)), (1, 1), "RUC, ROC");
    rig.write(0x5004, 3000);
    rig.write(RCTL, BASE | 1 << 5);
    far.send(&frame(MAC, 2996, 1));
    far.send(&frame(MAC, 2997, 1));
    assert!(rig.receive(0).is_some() && rig.receive(0).is_some() && rig.receive(0).is_none());
    assert_eq!(rig.read(0x40AC), 1);
    assert_eq!(rig.read(0x40AC), 0, "cleared by reading");
    rig.assert_clean();
}

#[test]
fn statistics_count_what_crossed() {
    let (mut rig, far) = rig();
    for (to, len) in [
        (MAC, 60),
        (MAC, 61),
        (MAC, 1000),
        ([0xff; 6], 300),
        ([2, 9, 9, 9, 9, 9], 100),
    ] {
        far.send(&frame(to, len, 1));
        rig.receive(0);
    }
    for (to, len) in [
        ([2, 0, 0, 0, 0, 2], 60),
        ([1, 0, 0, 0, 0, 2], 500),
        ([0xff; 6], 1514),
    ] {
        rig.send(0, &frame(to, len, 1));
    }
    // GPRC, BPRC, MPRC, TPR, and the bins 64, 65-127, 256-511, 512-1023, 1024 on.
    let received = [
        0x4074, 0x4078, 0x407C, 0x40D0, 0x405C, 0x4060, 0x4068, 0x406C, 0x4070,
    ];
    assert_eq!(received.map(|at| rig.read(at)), [4, 1, 0, 5, 1, 1, 1, 1, 0]);
    // GPTC, TPT, MPTC, BPTC, and bins 64, 256-511, 512-1023, 1024 on.
    let sent = [0x4080, 0x40D4, 0x40F0, 0x40F4, 0x40D8, 0x40E4, 0x40E8, 0x40EC];
    assert_eq!(sent.map(|at| rig.read(at)), [3, 3, 1, 1, 1, 1, 0, 1]);
    let octets = [0x4088, 0x408C, 0x4090, 0x4094, 0x40C0, 0x40C4, 0x40C8, 0x40CC];
    let good = 64 + 65 + 1004 + 304;
    assert_eq!(
        octets.map(|at| rig.read(at)),
        [good, 0, 2086, 0, good + 104, 0, 2086, 0]
    );
    assert_eq!(octets.map(|at| rig.read(at)), [0; 8]);
    rig.assert_clean();
}

#[test]
fn without_descriptors_frames_wait_then_are_missed() {
    let (near, far) = Wire::pair();
    let mut rig = Rig::new(near);
    rig.start_stopped(1);
    rig.write(0x2404, 1);
    for fill in 0..12 {
        far.send(&frame(MAC, 100, fill));
    }
    // A packet buffer of 1 KiB holds ten.
    assert_eq!((rig.read(0x40A0), rig.read(0x4010)), (10, 2), "RNBC, MPC");
    rig.post(0, 20);
    for fill in 0..10 {
        assert_eq!(rig.receive(0).unwrap().frame[99], fill);
    }
    assert!(rig.receive(0).is_none());
    assert_eq!(rig.read(0x4104), 10, "to host");
    assert_eq!(
        (rig.read(0x4074), rig.read(0x40D0)),
        (10, 12),
        "missed packets are not good ones, but packets"
    );
    rig.assert_clean();
}

#[test]
fn without_descriptors_a_dropping_queue_drops() {
    let (near, far) = Wire::pair();
    let mut rig = Rig::new(near);
    rig.start_stopped(1);
    rig.write(0xC00C, 2 | 1 << 25 | 1 << 31);
    for _ in 0..5 {
        far.send(&frame(MAC, 60, 1));
    }
    assert_eq!(
        (rig.read(0xC030), rig.read(0xC030)),
        (5, 0),
        "RQDPC, cleared by reading"
    );
    assert_eq!(rig.read(0x40A0), 5);
    rig.post(0, 5);
    assert!(rig.receive(0).is_none());
    rig.assert_clean();
}

#[test]
fn a_patient_source_loses_nothing() {
    let spec = FrameSpec {
        destination: MAC,
        limit: Some(500),
        flows: 9,
        ..FrameSpec::default()
    };
    let mut rig = Rig::new(Traffic::new(Generator::new(&spec), &Sink::new()));
    rig.start(1);
    // The ring is full; the next frame is still at its source, and not counted.
    assert_eq!(
        (rig.read(0x4104), rig.device.model(|model| model.peek(0x4074))),
        (63, 63)
    );
    let mut number = 0u64;
    while let Some(received) = rig.receive(0) {
        assert_eq!(received.frame[42..50], number.to_be_bytes());
        number += 1;
    }
    assert_eq!(
        (number, rig.read(0x40A0), rig.read(0x4010), rig.read(0x4074)),
        (500, 0, 0, 500)
    );
    rig.assert_clean();
}

#[test]
fn rss_spreads_flows_and_keeps_each_in_order() {
    let (near, far) = Wire::pair();
    let mut rig = Rig::new(near);
    rig.start(4);
    for word in 0..10 {
        rig.write(0x5C80 + word * 4, 0x6d5a_56da_u32.rotate_left(word as u32 * 3));
    }
    for word in 0..32 {
        rig.write(0x5C00 + word * 4, 0x0302_0100);
    }
    // PCSD, so that the hash is reported; RSS over UDP and TCP on IPv4.
    rig.write(0x5000, 1 << 13);
    rig.write(0x5818, 2 | 1 << 16 | 1 << 17 | 1 << 22);
    let spec = FrameSpec {
        destination: MAC,
        flows: 64,
        limit: Some(2000),
        ..FrameSpec::default()
    };
    let mut source = Generator::new(&spec);
    let (mut sent, mut counts, mut homes) = (Vec::new(), [0u32; 4], std::collections::HashMap::new());
    while source.next(&mut sent) {
        far.send(&sent);
        let (queue, received) = (0..4)
            .find_map(|queue| rig.receive(queue).map(|received| (queue, received)))
            .unwrap();
        assert_eq!(received.frame, sent);
        assert_eq!(received.word0 & 0xf, 7, "UDP over IPv4");
        assert_eq!(received.word0 >> 4 & 0x1fff, 0x21, "packet type");
        let hash = (received.word0 >> 32) as u32;
        assert_eq!(queue as u32, hash & 3, "by the low bits through the table");
        assert_eq!(*homes.entry(sent[26..38].to_vec()).or_insert(hash), hash);
        counts[queue] += 1;
    }
    assert!(counts.iter().all(|count| *count > 200), "{counts:?}");
    far.send(&frame(MAC, 60, 1));
    assert_eq!(rig.receive(0).unwrap().word0, 0, "no IP: queue 0, no hash");
    rig.assert_clean();
}
