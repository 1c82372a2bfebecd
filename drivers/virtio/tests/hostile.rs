//! A device that writes what it likes wherever its rings are: over descriptors, over what the driver made available, over its own
//! part. No buffer is in two packets, none is lost, nothing panics, and a restart mends it.

mod on_model;

use barline::mem::LocalDomain;
use barline::pool::Packet;
use barline_conformance::{Lane, pool};
use barline_sim::Mode;
use on_model::OnModel;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::HashSet;
use std::sync::Arc;

/// Which of the first pair's rings and of its three areas, where in it, and what.
type Write = (bool, usize, u16, Vec<u8>);

fn write() -> impl Strategy<Value = Write> {
    // Small numbers are what ids, lengths and flags are; indices stand in front.
    let byte = prop_oneof![0u8..8, any::<u8>()];
    let at = prop_oneof![0u16..16, any::<u16>()];
    (
        any::<bool>(),
        0usize..3,
        at,
        proptest::collection::vec(byte, 1..17),
    )
}

fn rewrites(subject: &OnModel, script: &[Write]) {
    let domain = Arc::new(LocalDomain::new());
    let (station, device, _clock) = subject.faulty(&domain, Vec::new());
    let mut lane = Lane::at(station, &pool(512), |config| {
        (config.rx_ring, config.tx_ring) = (64, 64);
    });
    let mut held: Vec<Packet> = Vec::new();
    for (n, (transmits, area, at, bytes)) in (0..).zip(script) {
        let place = device.model(|model| model.queue_areas((*transmits).into()));
        if let Some((size, areas)) = place {
            let offset = u64::from(*at) % (u64::from(size) * 16);
            // Beyond the ring memory the IOMMU stops it.
            let _ = device.stray_write(areas[*area] + offset, bytes);
        }
        lane.far.inject(&lane.frame(60 + n as usize, n));
        held.extend(lane.poll().into_iter().map(|(_, packet)| packet));
        held.iter_mut().for_each(|packet| packet.fill(0xee));
        let places: HashSet<_> = held.iter().map(|packet| packet.as_ptr() as usize).collect();
        assert_eq!(places.len(), held.len(), "one buffer in two packets");
        if held.len() > 100 {
            held.clear();
        }
        let frame = lane.frame(60, n);
        let mut batch = lane.batch(&[frame]);
        lane.tx[0].transmit(&mut lane.cache, &mut batch);
        lane.cache.free(&mut batch);
        while lane.far.take().is_some() {}
    }
    held.clear();
    lane.stop().expect("stops");
    lane.cache.flush();
    assert_eq!(lane.pool.available(), lane.pool.packets(), "packets are missing");
    lane.start().expect("starts again");
    let patience = barline_conformance::Patience::new();
    while lane.far.pending() > 0 || !lane.poll().is_empty() {
        patience.wait("an end of what was under way");
    }
    while lane.far.take().is_some() {}
    let mac = lane.mac;
    lane.echo(100, 16, 16, |n| barline_conformance::frame(mac, 60, n));
    lane.stop().expect("stops");
    // What the model says of descriptors that it has rewritten itself is not the driver's matter.
}

#[test]
fn rings_that_are_written_over_harm_nobody() {
    for subject in [
        OnModel::split(Mode::Sync),
        OnModel::split(Mode::Sync).in_order(),
        OnModel::split(Mode::Sync).merging(),
        OnModel::packed(Mode::Sync),
        OnModel::packed(Mode::Sync).in_order(),
        OnModel::packed(Mode::Sync).merging(),
    ] {
        let config = Config {
            cases: 24,
            failure_persistence: None,
            ..Config::default()
        };
        let script = proptest::collection::vec(write(), 1..120);
        let result = TestRunner::new(config).run(&script, |script| {
            rewrites(&subject, &script);
            Ok(())
        });
        if let Err(error) = result {
            panic!("{:?}: {error}", subject.options);
        }
    }
}
