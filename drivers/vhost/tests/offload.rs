//! Offloads: what a peer says of the packets that it sends, what it is told of those that it receives, and what is done for one that
//! has agreed to nothing.

mod common;

use barline::offload::{Checksum, LONG_ROOM, Offload, Offloads, SegmentKind, Segmentation};
use barline::pool::Batch;
use barline::port::Port;
use barline_conformance::stream::{asks, is_summed_up, open as tcp};
use barline_vhost::Features;
use common::*;
use proptest::prelude::*;

const CSUM: u64 = 1 << 0;
const GUEST_TSO4: u64 = 1 << 7;
const HOST_TSO4: u64 = 1 << 11;

fn near(offloads: Offloads) -> Near {
    Near::started(1, 1500, LONG_ROOM, Features::default(), |config| {
        config.offloads = offloads
    })
}

fn wish(features: u64) -> Wish {
    let size = 16;
    Wish {
        features: MRG | INDIRECT | features,
        size,
        buffer: 0x3000,
        ..Wish::default()
    }
}

/// The header that says so (virtio 5.1.6), written down by hand.
fn header(size: Option<u16>) -> [u8; 10] {
    let [low, high] = size.unwrap_or(0).to_le_bytes();
    match size {
        Some(_) => [1, 1, 54, 0, low, high, 34, 0, 16, 0],
        None => [1, 0, 0, 0, 0, 0, 34, 0, 16, 0],
    }
}

fn received(near: &mut Near) -> Vec<(Vec<u8>, Offload)> {
    rest();
    let mut batch = Batch::new();
    near.queues.rx[0].receive(&mut near.cache, &mut batch);
    let packets = batch.as_slice().iter();
    let got = packets
        .map(|packet| (packet.to_vec(), packet.offload()))
        .collect();
    near.cache.free(&mut batch);
    got
}

fn transmit(near: &mut Near, frame: &[u8], offload: Offload) {
    let mut packet = near.cache.alloc().unwrap();
    assert!(packet.set(frame));
    packet.set_offload(offload);
    let mut batch = Batch::new();
    batch.push(packet).unwrap();
    rest();
    near.queues.tx[0].transmit(&mut near.cache, &mut batch);
    assert!(batch.is_empty());
}

#[test]
fn what_a_peer_says_of_its_packets_is_received() {
    for (features, apart) in [(0, false), (PACKED, false), (0, true), (PACKED, true)] {
        let mut near = near(Offloads::all());
        let wish = Wish {
            apart,
            ..wish(features | CSUM | HOST_TSO4)
        };
        let mut peer = Peer::connect(&near.path, wish);
        until("the link", || near.port.link().up);
        assert!(peer.send_with(0, header(None), &tcp(100)));
        assert!(peer.send_with(0, header(Some(1400)), &tcp(8000)));
        assert!(peer.send(0, &tcp(64)));
        let wanted = [
            (tcp(100), asks(None)),
            (tcp(8000), asks(Some(1400))),
            (tcp(64), Offload::default()),
        ];
        assert_eq!(received(&mut near), wanted);
        // Not agreed upon: TCP over IPv6. Too long for a frame, and not to be cut.
        let mut six = header(Some(1400));
        six[1] = 4;
        assert!(peer.send_with(0, six, &tcp(8000)));
        assert!(peer.send_with(0, header(None), &tcp(8000)));
        assert!(peer.send(0, &tcp(65)));
        assert_eq!(received(&mut near), [(tcp(65), Offload::default())]);
        let counters = near.queues.rx[0].counters();
        assert_eq!((counters.rx_errors.get(), counters.rx_lengths.get()), (1, 1));
        assert_eq!(counters.rx_packets.get(), 4);
        near.end();
    }
}

#[test]
fn a_peer_is_told_what_packets_ask_for() {
    for features in [0, PACKED] {
        let mut near = near(Offloads::all());
        let mut peer = Peer::connect(&near.path, wish(features | GUEST_CSUM | GUEST_TSO4));
        until("the link", || near.port.link().up);
        for (frame, offload, header) in [
            (tcp(100), asks(None), header(None)),
            (tcp(8000), asks(Some(1400)), header(Some(1400))),
            (tcp(64), Offload::default(), [0; 10]),
        ] {
            transmit(&mut near, &frame, offload);
            assert_eq!(peer.receive(0), Some(frame));
            assert_eq!(peer.header, header);
        }
        // In several buffers: the header is in the first.
        transmit(&mut near, &tcp(20_000), asks(Some(1400)));
        assert_eq!(peer.receive(0), Some(tcp(20_000)));
        assert_eq!(peer.header, header(Some(1400)));
        // What it has not agreed to is done here: as many frames as that makes, each with its checksum.
        let udp = Segmentation {
            kind: SegmentKind::Tcp6,
            ..asks(Some(1400)).segmentation.unwrap()
        };
        let nonsense = Offload {
            segmentation: Some(udp),
            ..asks(None)
        };
        transmit(&mut near, &tcp(3000), nonsense);
        assert_eq!(near.queues.tx[0].counters().tx_offload.get(), 1);
        assert_eq!(peer.receive(0), None);
        near.end();
    }
}

#[test]
fn a_peer_that_agrees_to_nothing_receives_whole_frames() {
    let mut near = near(Offloads::all());
    let mut peer = Peer::connect(&near.path, wish(0));
    until("the link", || near.port.link().up);
    transmit(&mut near, &tcp(100), asks(None));
    transmit(&mut near, &tcp(3000), asks(Some(1400)));
    for payload in [100, 1400, 1400, 200] {
        let frame = peer.receive(0).expect("a frame");
        assert_eq!(frame.len(), 54 + payload);
        assert!(is_summed_up(&frame), "the checksum of {payload} bytes");
    }
    assert_eq!(peer.receive(0), None);
    // What it says all the same is not looked at.
    assert!(peer.send_with(0, [0xff; 10], &tcp(100)));
    assert_eq!(received(&mut near), [(tcp(100), Offload::default())]);
    near.end();
}

#[test]
fn offloads_are_offered_when_they_are_asked_for() {
    for (offloads, wanted) in [
        (Offloads::empty(), 0),
        (Offloads::RX_CHECKSUM, CSUM),
        (Offloads::TX_CHECKSUM | Offloads::TX_TCP4, GUEST_CSUM | GUEST_TSO4),
    ] {
        let near = near(offloads);
        let peer = Peer::greet(&near.path, wish(0));
        use vhost::VhostBackend;
        let all = CSUM | GUEST_CSUM | 0x7f << 7 | 0b111 << 54;
        assert_eq!(peer.frontend.get_features().unwrap() & all, wanted);
        drop(peer);
        near.end();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    /// Whatever a peer says of its packets, none asks for something outside of it or that was not agreed upon.
    #[test]
    fn any_header_is_survived(packed: bool, headers in prop::collection::vec((any::<[u8; 10]>(), 0usize..3, 14usize..3000), 1..40)) {
        let mut near = near(Offloads::all());
        let features = CSUM | HOST_TSO4 | if packed { PACKED } else { 0 };
        let mut peer = Peer::connect(&near.path, wish(features));
        until("the link", || near.port.link().up);
        let (mut sent, mut got) = (0, 0);
        for (mut header, tame, len) in headers {
            // Kinds that there are, and places that are near.
            if tame > 0 {
                (header[0], header[1]) = (header[0] & 3, [0, 1, 4, 5, 0x81][usize::from(header[1]) % 5]);
            }
            if tame > 1 {
                (header[7], header[9]) = (header[7] & 7, 0);
            }
            prop_assert!(peer.send_with(0, header, &frame(len, 1)));
            sent += 1;
            for (bytes, offload) in received(&mut near) {
                got += 1;
                if let Checksum::Partial { start, offset } = offload.checksum {
                    prop_assert!(usize::from(start) + usize::from(offset) + 2 <= bytes.len());
                }
                let kind = offload.segmentation.map(|segmentation| segmentation.kind);
                prop_assert!(kind.is_none_or(|kind| kind == SegmentKind::Tcp4));
                prop_assert!(kind.is_some() || bytes.len() <= 1518);
            }
        }
        let counters = near.queues.rx[0].counters();
        prop_assert_eq!(counters.rx_packets.get(), got);
        prop_assert_eq!(got + counters.rx_errors.get() + counters.rx_lengths.get(), sent);
        near.end();
    }
}
