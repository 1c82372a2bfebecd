//! A device that writes where it has no business to fails the test that provokes it: before start, outside a
//! mapping, and after stop.

mod common;

use barline::mem::{DmaFault, Iova, LocalDomain};
use barline::pool::Pool;
use barline_conformance::{Lane, clean, pool};
use barline_models::e82576::E82576;
use barline_sim::{Mode, SimDevice};
use std::sync::Arc;

struct Rig {
    lane: Lane,
    device: Arc<SimDevice<E82576>>,
    domain: Arc<LocalDomain>,
    pool: Pool,
}

fn rig(mode: Mode) -> Rig {
    let domain = Arc::new(LocalDomain::new());
    let (station, device) = common::station(&domain, mode, 0);
    let pool = pool(1024);
    let lane = Lane::at(station, &pool, |_| {});
    Rig {
        lane,
        device,
        domain,
        pool,
    }
}

/// Where the device finds a buffer of the pool, and a byte that it must not change.
fn inside(rig: &Rig) -> u64 {
    let space: Arc<dyn barline::mem::DmaDomain> = rig.domain.clone();
    let packet = rig.pool.alloc().unwrap();
    let map = rig.pool.map(&space).unwrap();
    map.iova(&packet).unwrap().raw()
}

fn complaint(rig: &Rig) -> String {
    clean(&*rig.lane.far).expect_err("the suite's last check must not pass")
}

#[test]
fn a_write_into_a_mapping_of_a_running_port_goes_through() {
    let rig = rig(Mode::Sync);
    rig.device.stray_write(inside(&rig), &[0]).unwrap();
    let Rig { lane, pool, .. } = rig;
    drop(pool);
    lane.end();
}

#[test]
fn a_write_outside_a_mapping_is_a_fault_and_a_complaint() {
    for mode in [Mode::Sync, Mode::Thread] {
        let rig = rig(mode);
        for iova in [0, 0xdead_0000, u64::MAX - 1, inside(&rig) + (1 << 40)] {
            let fault = rig.device.stray_write(iova, &[1, 2]).unwrap_err();
            assert_eq!(
                fault,
                DmaFault {
                    iova: Iova::new(iova),
                    len: 2,
                    write: true
                }
            );
        }
        assert_eq!(rig.device.counts().dma_faults, 4);
        assert!(complaint(&rig).contains("4 DMA faults"));
    }
}

#[test]
fn an_address_of_this_process_is_never_an_address_of_the_device() {
    let rig = rig(Mode::Sync);
    let packet = rig.pool.alloc().unwrap();
    assert!(rig.device.stray_write(packet.as_ptr() as u64, &[1]).is_err());
    assert!(complaint(&rig).contains("DMA fault"));
}

#[test]
fn a_write_before_start_is_a_fault_and_a_complaint() {
    let domain = Arc::new(LocalDomain::new());
    let (station, device) = common::station(&domain, Mode::Sync, 0);
    let port = (station.open)().unwrap();
    let pool = pool(16);
    let space: Arc<dyn barline::mem::DmaDomain> = domain.clone();
    let (map, packet) = (pool.map(&space).unwrap(), pool.alloc().unwrap());
    let mapped = map.iova(&packet).unwrap().raw();
    device.stray_write(mapped, &[1]).unwrap_err();
    drop((map, packet, port));
    assert_eq!(device.counts().dma_without_master, 1);
    let complaint = clean(&*station.far).unwrap_err();
    assert!(
        complaint.contains("1 of them for want of bus mastering"),
        "{complaint}"
    );
}

#[test]
fn a_write_after_stop_is_a_fault_and_a_complaint() {
    for mode in [Mode::Sync, Mode::Thread] {
        let mut rig = rig(mode);
        let space: Arc<dyn barline::mem::DmaDomain> = rig.domain.clone();
        // Mapped still, by somebody else: bus mastering alone keeps the device out.
        let map = rig.pool.map(&space).unwrap();
        let at = inside(&rig);
        rig.device.stray_write(at, &[1]).unwrap();
        rig.lane.stop().unwrap();
        rig.device.stray_write(at, &[1]).unwrap_err();
        assert!(complaint(&rig).contains("for want of bus mastering"));
        drop(map);
        rig.device.stray_write(at, &[1]).unwrap_err();
        assert_eq!(rig.device.counts().dma_faults, 2);
    }
}

#[test]
#[should_panic(expected = "DMA faults")]
fn a_stray_write_fails_the_case_it_happens_in() {
    let rig = rig(Mode::Sync);
    rig.device.stray_write(0xdead_0000, &[1]).unwrap_err();
    let Rig { lane, pool, .. } = rig;
    drop(pool);
    lane.end();
}

#[test]
#[should_panic(expected = "packets are missing")]
fn a_packet_that_is_kept_fails_the_case_it_happens_in() {
    let rig = rig(Mode::Sync);
    let _kept = rig.pool.alloc().unwrap();
    let Rig { lane, pool, .. } = rig;
    drop(pool);
    lane.end();
}

#[test]
#[should_panic(expected = "mappings still stand")]
fn a_mapping_that_is_kept_fails_the_case_it_happens_in() {
    let rig = rig(Mode::Sync);
    let space: Arc<dyn barline::mem::DmaDomain> = rig.domain.clone();
    let _kept = rig.pool.map(&space).unwrap();
    rig.lane.end();
}

#[test]
#[should_panic(expected = "TailOutside")]
fn a_misuse_of_the_device_fails_the_case_it_happens_in() {
    let rig = rig(Mode::Sync);
    barline::bus::local::LocalDevice::bar_write(&*rig.device, 0, 0xC018, 0x7fff);
    let Rig { lane, pool, .. } = rig;
    drop(pool);
    lane.end();
}
