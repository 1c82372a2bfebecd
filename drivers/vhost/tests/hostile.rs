//! Rings, memory and messages of a peer that lies: a fault is counted, the queue stops, and works again when it is set up
//! anew.

mod common;

use barline::port::Port;
use common::memory::GUEST;
use common::ring::Ring;
use common::*;
use proptest::prelude::*;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use vhost::VhostBackend;
use vhost::vhost_user::VhostUserFrontend;

const NEXT: u64 = 1 << 32;
const WRITE: u64 = 2 << 32;
const TABLE: u64 = 4 << 32;

type Spoil = fn(&Peer, &Ring);

/// The first descriptor of a split ring, and that it is available.
fn post(peer: &Peer, ring: &Ring, descriptors: &[(u64, u64)]) {
    for (n, (address, rest)) in descriptors.iter().enumerate() {
        peer.memory.set_u64(ring.desc + n as u64 * 16, *address);
        peer.memory.set_u64(ring.desc + n as u64 * 16 + 8, *rest);
    }
    peer.memory
        .set_u16(ring.driver + 4 + u64::from(ring.next % ring.shape.size) * 2, 0);
    peer.memory.set_u16(ring.driver + 2, ring.next.wrapping_add(1));
}

/// What can be wrong with a ring from which we read, and what is counted.
const WRONG: &[(&str, &str, Spoil)] = &[
    ("peer_bad_index", "an index too far", |peer, ring| {
        peer.memory.set_u16(ring.driver + 2, ring.next.wrapping_add(65));
    }),
    ("peer_bad_index", "an index that went back", |peer, ring| {
        peer.memory.set_u16(ring.driver + 2, ring.next.wrapping_sub(1));
    }),
    ("peer_bad_descriptor", "a head beyond the table", |peer, ring| {
        post(peer, ring, &[(GUEST, 100)]);
        peer.memory
            .set_u16(ring.driver + 4 + u64::from(ring.next % 64) * 2, 64);
    }),
    ("peer_bad_descriptor", "a link beyond the table", |peer, ring| {
        post(peer, ring, &[(GUEST, 100 | NEXT | 64 << 48)]);
    }),
    ("peer_bad_address", "no memory", |peer, ring| {
        post(peer, ring, &[(1, 100)])
    }),
    ("peer_bad_address", "memory that ends", |peer, ring| {
        post(peer, ring, &[(GUEST, u64::from(u32::MAX))]);
    }),
    ("peer_bad_address", "an address that wraps", |peer, ring| {
        post(peer, ring, &[(u64::MAX - 5, 100)]);
    }),
    ("peer_bad_address", "the front end's address", |peer, ring| {
        post(peer, ring, &[(common::memory::USER, 100)]);
    }),
    ("peer_bad_chain", "a chain without end", |peer, ring| {
        post(peer, ring, &[(GUEST, 100 | NEXT)]);
    }),
    ("peer_bad_chain", "the wrong direction", |peer, ring| {
        post(peer, ring, &[(GUEST, 100 | WRITE)]);
    }),
    ("peer_bad_chain", "shorter than the header", |peer, ring| {
        post(peer, ring, &[(GUEST, 11)])
    }),
    ("peer_bad_chain", "an empty table", |peer, ring| {
        post(peer, ring, &[(GUEST, TABLE)])
    }),
    ("peer_bad_chain", "a table of odd length", |peer, ring| {
        post(peer, ring, &[(GUEST, 17 | TABLE)])
    }),
    ("peer_bad_chain", "a table that goes on", |peer, ring| {
        post(peer, ring, &[(GUEST, 16 | TABLE | NEXT)])
    }),
    ("peer_bad_address", "a table nowhere", |peer, ring| {
        post(peer, ring, &[(8, 16 | TABLE)])
    }),
    ("peer_bad_chain", "a table in a table", |peer, ring| {
        let table = ring.desc + 63 * 16;
        peer.memory.set_u64(table, GUEST);
        peer.memory.set_u64(table + 8, 16 | TABLE);
        post(peer, ring, &[(GUEST + table, 16 | TABLE)]);
    }),
    ("peer_bad_chain", "a table that is a circle", |peer, ring| {
        let table = ring.desc + 63 * 16;
        peer.memory.set_u64(table, GUEST);
        peer.memory.set_u64(table + 8, 16 | NEXT);
        post(peer, ring, &[(GUEST + table, 16 | TABLE)]);
    }),
    ("peer_bad_descriptor", "a table's link beyond it", |peer, ring| {
        let table = ring.desc + 63 * 16;
        peer.memory.set_u64(table, GUEST);
        peer.memory.set_u64(table + 8, 16 | NEXT | 1 << 48);
        post(peer, ring, &[(GUEST + table, 16 | TABLE)]);
    }),
];

#[test]
fn a_malformed_ring_is_counted_and_stopped_until_it_is_set_up_anew() {
    let mut near = Near::new(2, 1500);
    let wish = Wish {
        features: INDIRECT,
        pairs: 2,
        ..Wish::default()
    };
    for (counter, what, spoil) in WRONG {
        let mut peer = near.meet(wish);
        for seed in 0..70 {
            assert!(peer.send(0, &frame(60, seed)));
            assert_eq!(near.receive(0).len(), 1);
        }
        peer.reap(0);
        let before = near.device()[counter];
        spoil(&peer, &peer.rings[1]);
        assert!(near.receive(0).is_empty(), "{what}");
        assert_eq!(near.device()[counter], before + 1, "{what}: {:?}", near.device());
        assert!(!near.port.link().up);
        // It is not looked at again, whatever it says now; nor when something else is changed.
        peer.memory.set_u16(peer.rings[1].driver + 2, peer.rings[1].next);
        let features = wish.features | VERSION_1 | PROTOCOL;
        for more in [LOG_ALL, 0] {
            peer.frontend.set_features(features | more).unwrap();
        }
        peer.rings[1].add(&[(Ring::BYTES, 80)], false, false);
        assert!(near.receive(0).is_empty());
        assert_eq!(near.device()[counter], before + 1);
        // The other queues go on.
        assert!(peer.send(1, &frame(60, 1)));
        assert_eq!(near.receive(1), [frame(60, 1)], "{what}");
        // Set up anew, it works.
        let base = peer.frontend.get_vring_base(1).unwrap();
        let (memory, at, shape) = (peer.memory.clone(), peer.rings[1].desc, peer.rings[1].shape);
        memory.write(at, &[0; 0x10000]);
        assert!(base < 1 << 16);
        peer.rings[1] = Ring::new(&memory, at, shape);
        peer.start_ring(1, false);
        assert!(peer.send(0, &frame(99, 3)), "{what}");
        assert_eq!(near.receive(0), [frame(99, 3)], "{what}");
        drop(peer);
        until("the end of the link", || !near.port.link().up);
    }
    near.end();
}

#[test]
fn rings_that_memory_does_not_have_are_not_used() {
    let mut near = Near::new(1, 1500);
    let mut peer = Peer::greet(&near.path, Wish::default());
    let ring = &peer.rings[0];
    let good = ring.config(false);
    let wrong = [
        vhost::VringConfigData {
            desc_table_addr: 0x1000,
            ..good
        },
        vhost::VringConfigData {
            desc_table_addr: GUEST,
            ..good
        },
        vhost::VringConfigData {
            avail_ring_addr: u64::MAX - 1,
            ..good
        },
        vhost::VringConfigData {
            used_ring_addr: 0,
            ..good
        },
    ];
    let before = near.device()["peer_bad_address"];
    for (n, config) in wrong.into_iter().enumerate() {
        peer.frontend.set_vring_num(0, 64).unwrap();
        peer.frontend.set_vring_base(0, 0).unwrap();
        peer.frontend.set_vring_addr(0, &config).unwrap();
        peer.frontend.set_vring_kick(0, &peer.rings[0].kick).unwrap();
        peer.frontend.set_vring_enable(0, true).unwrap();
        assert!(near.device()["peer_bad_address"] > before + n as u64);
        assert_eq!(near.send(0, &[frame(60, 1)]), 1);
        peer.frontend.get_vring_base(0).unwrap();
    }
    peer.frontend.set_vring_num(0, 0).expect_err("a ring of nothing");
    peer.frontend
        .set_vring_num(0, 40_000)
        .expect_err("a ring too long");
    peer.start();
    assert_eq!(near.send(0, &[frame(60, 1)]), 0);
    near.end();
}

#[test]
fn memory_that_is_taken_away_under_traffic_is_survived() {
    for (packed, left) in [(false, 0), (true, 0), (false, Ring::BYTES), (true, Ring::BYTES)] {
        let mut near = Near::new(1, 1500);
        let features = MRG | if packed { PACKED } else { 0 };
        let wish = Wish {
            features,
            ..Wish::default()
        };
        let mut peer = near.meet(wish);
        for seed in 0..20 {
            assert!(peer.send(0, &frame(600, seed)));
            assert_eq!(near.send(0, &[frame(900, seed)]), 0);
        }
        assert_eq!(near.receive(0).len(), 20);
        assert!(peer.send(0, &frame(600, 20)));
        peer.memory.shorten(left);
        for _ in 0..100 {
            for frame in near.receive(0) {
                assert!((14..=1518).contains(&frame.len()));
            }
            near.send(0, &[frame(60, 1), frame(1500, 2)]);
        }
        drop(peer);
        until("the end of the link", || !near.port.link().up);
        near.serves_the_next(wish);
    }
}

/// What a peer writes where.
#[derive(Clone, Debug)]
struct Scribble {
    ring: usize,
    area: u8,
    at: u16,
    value: u64,
}

fn scribble() -> impl Strategy<Value = Scribble> {
    // Half of the values are nearly right: that is where the mistakes are.
    let nearly =
        (0u64..8, 0u64..2000, 0u64..70).prop_map(|(flags, len, next)| len | flags << 32 | next << 48);
    let address = (0u64..0x50000).prop_map(|at| GUEST + at);
    let value = prop_oneof![any::<u64>(), nearly, address, 0u64..70];
    (0usize..2, 0u8..3, 0u16..600, value).prop_map(|(ring, area, at, value)| Scribble {
        ring,
        area,
        at,
        value,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whatever a peer writes to its rings, when it likes: nothing but its own memory is touched, nothing is lost, no call
    /// goes on for ever, and the next peer is served.
    #[test]
    fn anything_in_a_ring_is_survived(packed: bool, mrg: bool, list in prop::collection::vec(scribble(), 1..60)) {
        let mut near = Near::new(1, 1500);
        let features = INDIRECT | if packed { PACKED } else { 0 } | if mrg { MRG } else { 0 };
        let wish = Wish { features, ..Wish::default() };
        let mut peer = near.meet(wish);
        for Scribble { ring, area, at, value } in list {
            let ring_ = &peer.rings[ring];
            let base = [ring_.desc, ring_.driver, ring_.device][usize::from(area)];
            if area == 1 && value < 70 {
                peer.memory.set_u16(base + 2, value as u16);
            } else {
                peer.memory.set_u64(base + u64::from(at) * 2 / 8 * 8, value);
            }
            for frame in near.receive(0) {
                prop_assert!((14..=1518).contains(&frame.len()));
            }
            near.send(0, &[frame(60, 1), frame(1500, 2)]);
            if near.port.link().up && value % 7 == 0 {
                peer.frontend.get_vring_base(ring).unwrap();
                peer.start_ring(ring, false);
            }
        }
        drop(peer);
        until("the end of the peer", || near.port.event() == Some(barline::port::PortEvent::PeerGone));
        near.serves_the_next(wish);
    }

    /// Whatever a peer says, the next one is served.
    #[test]
    fn any_message_is_survived(
        list in prop::collection::vec((0u32..50, 0u32..16, prop::collection::vec(any::<u8>(), 0..64)), 0..20),
        tail in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let near = Near::new(1, 1500);
        let mut stream = UnixStream::connect(&near.path).unwrap();
        for (request, flags, payload) in &list {
            let words = [*request, *flags, payload.len() as u32];
            let head: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            // It may have cut us off.
            let _ = stream.write_all(&[&head, &payload[..]].concat());
        }
        let _ = stream.write_all(&tail);
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
        near.serves_the_next(Wish::default());
    }
}
