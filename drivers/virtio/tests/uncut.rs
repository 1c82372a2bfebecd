//! Driver and device leave work to each other: not one segment is cut in software, and not one checksum made.

mod on_model;

use barline::mem::{LocalDomain, PageSize, Source};
use barline::offload::{LONG_ROOM, Offload, Offloads, SegmentKind, Sum, complete};
use barline::pool::{Batch, Pool};
use barline_conformance::Lane;
use barline_conformance::stream::open;
use barline_sim::Mode;
use on_model::OnModel;
use std::sync::Arc;

/// What a wire brings, to our address.
fn tcp(payload: usize) -> Vec<u8> {
    let mut frame = open(payload);
    frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    let header = Sum::default().with(&frame[14..34]).finish();
    frame[24..26].copy_from_slice(&header.to_be_bytes());
    assert!(complete(&mut frame, 34, 16));
    frame
}

#[test]
fn a_packet_crosses_uncut_both_ways() {
    for subject in [
        OnModel::split(Mode::Sync),
        OnModel::packed(Mode::Sync),
        OnModel::packed(Mode::Sync).merging(),
    ] {
        let domain = Arc::new(LocalDomain::new());
        let (station, _device) = subject.station(&domain, 0);
        let pool = Pool::builder().packets(256).data_room(LONG_ROOM);
        let pool = pool.source(Source::MemFd(PageSize::Base4K)).build().unwrap();
        let mut lane = Lane::at(station, &pool, |config| {
            (config.rx_ring, config.tx_ring) = (64, 64);
            config.offloads =
                Offloads::all() - Offloads::RX_UDP - Offloads::TX_UDP - Offloads::RX_ECN - Offloads::TX_ECN;
        });
        // The model says of what is longer than 500 bytes of data that it was never cut into such segments.
        let frame = tcp(1400);
        lane.inject(&frame);
        let packet = lane.receive(1).pop().unwrap();
        let Offload { segmentation, .. } = packet.offload();
        let segmentation = segmentation.expect("it was never cut");
        assert_eq!((segmentation.kind, segmentation.size), (SegmentKind::Tcp4, 500));
        let mut batch = Batch::new();
        batch.push(packet).unwrap();
        assert_eq!(lane.transmit(0, &mut batch), 1);
        // Its device cuts it: three frames on the wire, one to us.
        let lengths: Vec<usize> = lane.take(3).iter().map(Vec::len).collect();
        assert_eq!(lengths, [554, 554, 454]);
        assert_eq!((lane.tx_sum("tx_packets"), lane.tx_sum("tx_segments")), (1, 0));
        lane.end();
    }
}
