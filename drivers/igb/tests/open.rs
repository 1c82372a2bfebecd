//! Opening: one function, one port.

mod common;

use barline::bus::BusError;
use barline::mem::LocalDomain;
use barline::port::PortError;
use barline_sim::Mode;
use std::sync::Arc;

#[test]
fn a_function_has_one_port_at_a_time() {
    let (station, device) = common::station(&Arc::new(LocalDomain::new()), Mode::Sync, 0);
    let first = (station.open)().unwrap();
    let before = device.counts();
    let error = (station.open)().unwrap_err();
    assert!(
        matches!(error, PortError::Bus(BusError::Claimed { .. })),
        "{error}"
    );
    assert!(error.to_string().contains("drop that port first"));
    assert_eq!(device.counts(), before, "the device was not touched");
    drop(first);
    drop((station.open)().unwrap());
    // A port that could not be opened keeps nobody out.
    device.surprise_remove();
    for _ in 0..2 {
        let error = (station.open)().unwrap_err();
        assert!(
            !matches!(error, PortError::Bus(BusError::Claimed { .. })),
            "{error}"
        );
    }
}
