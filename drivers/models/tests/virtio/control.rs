//! The control queue: modes, addresses, VLANs, pairs, RSS, statistics.

use crate::driver::{MAC, Rig, bit, frame, udp};
use barline_models::virtio::{Offer, RssOffer};
use barline_sim::{Fate, WireEnd};

const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 0x77];
const GROUP: [u8; 6] = [1, 0, 0x5e, 1, 2, 3];
const ALL: [u8; 6] = [0xff; 6];
const BASE: u64 = bit(32) | bit(5) | bit(17);
const FILTERS: u64 = BASE | bit(18) | bit(20) | bit(23);

/// Which of the probes come in.
fn passes(rig: &mut Rig, far: &WireEnd, to: &[[u8; 6]]) -> Vec<bool> {
    let one = |to: &[u8; 6]| {
        assert!(far.send(&frame(*to, 60, 1)));
        !rig.receive_all(0).is_empty()
    };
    to.iter().map(one).collect()
}

#[test]
fn modes_and_addresses_filter() {
    for set in [0, bit(34), bit(29), bit(35) | bit(34)] {
        let (mut rig, far) = Rig::new(Offer::default());
        rig.start(FILTERS | set, 1, 16);
        let probe = |rig: &mut Rig| {
            let seen = passes(rig, &far, &[MAC, OTHER, GROUP, ALL]);
            [0, 1, 2, 3].map(|at| seen[at])
        };
        assert_eq!(probe(&mut rig), [true, false, false, true]);
        // Mode, and what passes with it alone.
        for (mode, seen) in [
            (0, [true; 4]),
            (1, [true, false, true, true]),
            (2, [true, true, false, true]),
            (3, [true, false, false, true]),
            (4, [false, false, false, true]),
            (5, [true, false, false, false]),
        ] {
            assert_eq!(rig.command(0, mode, &[1], 0).0, 0);
            assert_eq!(probe(&mut rig), seen, "mode {mode}");
            assert_eq!(rig.command(0, mode, &[0], 0).0, 0);
        }
        // One unicast and one multicast address.
        let table = [&[1, 0, 0, 0][..], &OTHER, &[1, 0, 0, 0], &GROUP].concat();
        assert_eq!(rig.command(1, 0, &table, 0).0, 0);
        assert_eq!(probe(&mut rig), [true; 4]);
        assert_eq!(rig.command(1, 0, &[0; 8], 0).0, 0);
        assert_eq!(rig.command(1, 1, &OTHER, 0).0, 0);
        assert_eq!(probe(&mut rig), [false, true, false, true]);
        let shown: Vec<u8> = (0..6).map(|at| rig.read(4, at, 1) as u8).collect();
        assert_eq!(shown, OTHER);
        rig.assert_clean();
        rig.set_status(0);
        assert_eq!(rig.read(4, 5, 1), 1, "a reset brings the address back");
    }
}

#[test]
fn without_filters_everything_comes_in() {
    let (mut rig, far) = Rig::new(Offer::default());
    rig.start(BASE, 1, 16);
    assert_eq!(passes(&mut rig, &far, &[MAC, OTHER, GROUP, ALL]), [true; 4]);
}

#[test]
fn vlans_are_filtered_where_that_was_negotiated() {
    let tagged = |vlan: u16| {
        let mut frame = frame(MAC, 64, 1);
        frame[12..16].copy_from_slice(&[0x81, 0, 0x20 | (vlan >> 8) as u8, vlan as u8]);
        frame
    };
    for filters in [bit(19), FILTERS | bit(19), BASE] {
        let (mut rig, far) = Rig::new(Offer::default());
        rig.start(BASE | filters, 1, 16);
        let seen = |rig: &mut Rig, vlan| {
            assert!(far.send(&tagged(vlan)));
            !rig.receive_all(0).is_empty()
        };
        if filters == BASE {
            assert!(seen(&mut rig, 5));
            continue;
        }
        assert!(!seen(&mut rig, 5));
        assert_eq!(rig.command(2, 0, &[5, 0], 0).0, 0);
        assert_eq!(rig.command(2, 0, &[0xff, 0xf], 0).0, 0);
        assert_eq!(
            [5, 6, 0xfff].map(|vlan| seen(&mut rig, vlan)),
            [true, false, true]
        );
        assert_eq!(rig.command(2, 1, &[5, 0], 0).0, 0);
        assert!(!seen(&mut rig, 5));
        rig.assert_clean();
        assert_eq!(rig.command(2, 0, &[0, 0x10], 0).0, 1);
        assert_eq!(rig.misuses(), ["2: data of command 2.0"]);
    }
}

#[test]
fn the_mtu_is_kept_both_ways() {
    let (mut rig, far) = Rig::new(Offer {
        mtu: Some(1000),
        ..Offer::default()
    });
    rig.start(BASE | bit(3), 1, 16);
    assert!(far.send(&frame(MAC, 1014, 1)) && far.send(&frame(MAC, 1015, 2)));
    assert_eq!(rig.receive_all(0).len(), 1);
    assert_eq!(rig.device.ledger().count(Fate::Long), 1);
    rig.send(0, &frame(MAC, 1014, 1));
    rig.assert_clean();
    rig.send(0, &frame(MAC, 1015, 1));
    assert_eq!(rig.misuses(), ["1: packet of 1015 bytes"]);
    assert_eq!(
        (far.next_frame().map(|frame| frame.len()), far.next_frame()),
        (Some(1014), None)
    );
    assert_eq!(rig.reclaim(0), 2, "a packet that is not sent is given back");
}

/// Frames by pair.
fn spread(rig: &mut Rig, far: &WireEnd, flows: u16, pairs: u16) -> Vec<Vec<u16>> {
    let mut places = vec![Vec::new(); pairs.into()];
    for flow in 0..flows {
        assert!(far.send(&udp(MAC, flow, false)));
        for pair in 0..pairs {
            let frames = rig.receive_all(pair).len();
            places[usize::from(pair)].extend(vec![flow; frames]);
        }
    }
    places
}

#[test]
fn pairs_are_used_when_they_are_asked_for() {
    for packed in [0, bit(34)] {
        let (mut rig, far) = Rig::new(Offer {
            pairs: 4,
            ..Offer::default()
        });
        rig.start(BASE | bit(22) | bit(29) | packed, 4, 32);
        let before = spread(&mut rig, &far, 64, 4);
        assert_eq!(before.iter().map(Vec::len).collect::<Vec<_>>(), [64, 0, 0, 0]);
        assert_eq!(rig.command(4, 0, &[3, 0], 0).0, 0);
        let after = spread(&mut rig, &far, 64, 4);
        assert_eq!(after, spread(&mut rig, &far, 64, 4), "a flow stays");
        let counts: Vec<_> = after.iter().map(Vec::len).collect();
        assert!(
            counts[..3].iter().all(|count| *count > 5) && counts[3] == 0,
            "{counts:?}"
        );
        // What a flow is sent on is where it comes in.
        for flow in 0..64 {
            rig.send(2, &udp(MAC, flow, true));
            rig.reclaim(2);
        }
        assert_eq!(spread(&mut rig, &far, 64, 4)[2].len(), 64);
        rig.assert_clean();
        for (pairs, why) in [(0, "none"), (5, "too many")] {
            assert_eq!(rig.command(4, 0, &[pairs, 0], 0).0, 1, "{why}");
        }
        assert_eq!(rig.misuses(), ["8: data of command 4.0"; 2]);
        assert_eq!(rig.command(4, 0, &[1, 0], 0).0, 0);
        assert_eq!(spread(&mut rig, &far, 16, 4)[0].len(), 16);
        rig.send(1, &udp(MAC, 1, false));
        assert_eq!(
            rig.misuses()[2..],
            ["3: packet on a queue beyond the pairs in use"]
        );
    }
}

#[test]
fn a_queue_that_is_being_reset_gets_nothing() {
    let (mut rig, far) = Rig::new(Offer {
        pairs: 2,
        ..Offer::default()
    });
    rig.start(BASE | bit(22) | bit(40), 2, 64);
    assert_eq!(rig.command(4, 0, &[2, 0], 0).0, 0);
    rig.select(0);
    rig.write(1, 0x3a, 2, 1);
    for flow in 0..32 {
        assert!(far.send(&udp(MAC, flow, false)));
    }
    assert_eq!(rig.receive_all(1).len(), 32);
    rig.assert_clean();
}

/// A configuration of RSS: types, table, queue of the rest, transmit queues, key.
fn rss(types: u32, table: &[u16], rest: u16, transmit: u16, key: &[u8]) -> Vec<u8> {
    let mut bytes = types.to_le_bytes().to_vec();
    bytes.extend((table.len() as u16 - 1).to_le_bytes());
    bytes.extend(rest.to_le_bytes());
    table.iter().for_each(|entry| bytes.extend(entry.to_le_bytes()));
    bytes.extend(transmit.to_le_bytes());
    bytes.push(key.len() as u8);
    bytes.extend(key);
    bytes
}

#[test]
fn rss_follows_table_key_and_types() {
    let (mut rig, far) = Rig::new(Offer {
        pairs: 4,
        rss: Some(RssOffer::default()),
        ..Offer::default()
    });
    rig.start(BASE | bit(60), 4, 64);
    let key: Vec<u8> = (0..40u8).map(|n| n.wrapping_mul(37) ^ 11).collect();
    let udp4 = 1 << 2;
    assert_eq!(rig.command(4, 1, &rss(udp4, &[0, 1, 2, 3], 3, 4, &key), 0).0, 0);
    let places = spread(&mut rig, &far, 64, 4);
    assert!(places.iter().all(|flows| flows.len() > 4), "{places:?}");
    // The hash of a frame, worked out here from the definition: the key's bits, shifted.
    let hash = |flow: u16| {
        let input = &udp(MAC, flow, false)[26..38];
        let bit_of = |bytes: &[u8], at: usize| bytes[at / 8] >> (7 - at % 8) & 1;
        (0..32).fold(0u32, |hash, n| {
            let parity = (0..96).fold(0, |sum, at| sum ^ (bit_of(input, at) & bit_of(&key, at + n)));
            hash << 1 | u32::from(parity)
        })
    };
    for (pair, flows) in places.iter().enumerate() {
        assert!(flows.iter().all(|flow| hash(*flow) % 4 == pair as u32));
    }
    assert!(far.send(&frame(MAC, 60, 1)));
    assert_eq!(rig.receive_all(3).len(), 1, "unclassified");
    // Not the ports, and all to one queue.
    assert_eq!(rig.command(4, 1, &rss(1, &[2, 2], 0, 4, &key), 0).0, 0);
    assert_eq!(spread(&mut rig, &far, 16, 4)[2].len(), 16);
    rig.assert_clean();
    let bad = [
        rss(1 << 9, &[0], 0, 1, &key),
        rss(1, &[0, 1, 2], 0, 1, &key),
        rss(1, &[4], 0, 1, &key),
        rss(1, &[0], 4, 1, &key),
        rss(1, &[0], 0, 0, &key),
        rss(1, &[0], 0, 1, &[0; 41]),
        rss(1, &[0; 256], 0, 1, &key),
        rss(1, &[0], 0, 1, &key)[..20].to_vec(),
    ];
    for (n, bad) in bad.iter().enumerate() {
        assert_eq!(rig.command(4, 1, bad, 0).0, 1, "{n}");
    }
    assert_eq!(rig.misuses().len(), bad.len());
    assert_eq!(
        spread(&mut rig, &far, 16, 4)[2].len(),
        16,
        "a refused command changes nothing"
    );
}

#[test]
fn statistics_are_told() {
    let (mut rig, far) = Rig::new(Offer {
        statistics: true,
        ..Offer::default()
    });
    rig.start(BASE | bit(50), 1, 4);
    for n in 0..6 {
        assert!(far.send(&frame(MAC, 100, n)));
    }
    rig.send(0, &frame(MAC, 70, 1));
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(std::array::from_fn(|n| bytes[at + n]));
    let (ack, types) = rig.command(8, 0, &[], 8);
    assert_eq!((ack, word(&types, 0)), (0, 1 | 1 << 16 | 1 << 32));
    let mut ask = vec![0; 32];
    ask[8] = 1;
    (ask[16], ask[26]) = (1, 1);
    let (ack, reply) = rig.command(8, 1, &ask, 112);
    assert_eq!((ack, reply.len()), (0, 112));
    assert_eq!(reply[..8], [0, 0, 0, 0, 0, 0, 56, 0]);
    let rx: Vec<_> = (1..7).map(|at| word(&reply, at * 8)).collect();
    assert_eq!(rx[1..], [4, 400, rx[3], 2, 2]);
    assert_eq!(reply[56..64], [16, 0, 1, 0, 0, 0, 56, 0]);
    let tx: Vec<_> = (8..14).map(|at| word(&reply, at * 8)).collect();
    assert_eq!(tx, [1, 1, 70, tx[3], 0, 0]);
    rig.assert_clean();
    // Transmit numbers of a receive queue.
    ask[10] = 1;
    assert_eq!(rig.command(8, 1, &ask, 112).0, 1);
}

#[test]
fn commands_that_were_not_negotiated_are_refused() {
    let (mut rig, _far) = Rig::new(Offer::default());
    rig.start(BASE, 1, 16);
    for (class, command) in [
        (0, 0),
        (0, 3),
        (1, 0),
        (1, 1),
        (2, 0),
        (4, 0),
        (8, 0),
        (3, 0),
        (99, 9),
    ] {
        assert_eq!(rig.command(class, command, &[0], 0).0, 1, "{class}.{command}");
    }
    let misuses = rig.misuses();
    assert_eq!(misuses[0], "2: command 0.0 was not negotiated");
    assert_eq!(misuses.len(), 9);
}
