//! What a device has to be before it is driven.

mod on_model;

use barline::mem::LocalDomain;
use barline::port::PortError;
use barline_conformance::{Lane, pool};
use barline_models::virtio::Platform;
use barline_sim::Mode;
use on_model::OnModel;
use std::sync::Arc;

#[test]
fn a_device_that_may_go_around_the_iommu_is_refused() {
    let mut subject = OnModel::packed(Mode::Sync);
    subject.offer.platform = Platform::Silent;
    let (station, _) = subject.station(&Arc::new(LocalDomain::new()), 0);
    let error = (station.open)().expect_err("it is refused");
    assert!(matches!(error, PortError::Unsupported(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("iommu_platform=on"), "{text}");

    subject.options.bypass = true;
    let (station, _) = subject.station(&Arc::new(LocalDomain::new()), 0);
    let mut lane = Lane::at(station, &pool(1024), |_| {});
    let mac = lane.mac;
    lane.echo(100, 10, 1, |n| barline_conformance::frame(mac, 64, n));
    lane.end();
}
