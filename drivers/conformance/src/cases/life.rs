//! Opening, starting, stopping, dropping in any order, and devices that go away.

use crate::{Lane, Subject, clean, pool, skip};
use barline::pool::Batch;
use barline::port::{Change, PortConfig, PortError, Queues};
use std::time::{Duration, Instant};

/// Far above what a driver's own limits sum up to.
const BOUND: Duration = Duration::from_secs(20);

pub fn starts_stops_and_starts_again(subject: &dyn Subject) {
    let mut lane = Lane::up(subject);
    for round in 0..5 {
        assert!(lane.port().link().up);
        let (mac, window) = (lane.mac, lane.window());
        lane.echo(100, 32, window, |n| {
            crate::frame(mac, 60 + n as usize, round * 1000 + n)
        });
        lane.stop().expect("stops");
        lane.cache.flush();
        assert_eq!(lane.pool.available(), lane.pool.packets());
        lane.start().expect("starts again");
    }
    lane.end();
}

pub fn a_second_start_is_refused_and_changes_nothing(subject: &dyn Subject) {
    let mut lane = Lane::up(subject);
    let error = lane.start().expect_err("it runs already");
    assert!(matches!(error, PortError::State(_)), "{error}");
    let mac = lane.mac;
    lane.echo(100, 32, 32, |n| crate::frame(mac, 60, n));
    lane.end();
}

/// Frames in the transmit ring, in the receive ring, and in the application's hands.
fn busy(subject: &dyn Subject) -> Lane {
    let mut lane = Lane::up(subject);
    for n in 0..200 {
        lane.inject(&lane.frame(60, n));
    }
    let some = lane.receive(20);
    drop(some);
    lane.far.hold(true);
    for n in 0..50 {
        lane.inject(&lane.frame(60, n));
        let frame = lane.frame(90, n);
        let mut batch = lane.batch(&[frame]);
        assert_eq!(lane.tx[0].transmit(&mut lane.cache, &mut batch), 1);
    }
    lane
}

pub fn stop_takes_back_what_is_in_flight(subject: &dyn Subject) {
    for held in [true, false] {
        let mut lane = busy(subject);
        lane.far.hold(held);
        lane.stop().expect("stops");
        lane.far.hold(false);
        lane.cache.flush();
        assert_eq!(lane.pool.available(), lane.pool.packets());
        lane.gone();
    }
}

pub fn queues_may_go_before_the_port(subject: &dyn Subject) {
    let mut lane = busy(subject);
    drop(lane.queues());
    lane.far.hold(false);
    // Nobody polls, but the device still has its buffers: it may write to them, and does.
    for n in 0..50 {
        lane.inject(&lane.frame(60, n));
    }
    lane.port().stop(Queues::default()).expect("stops");
    lane.gone();
}

pub fn the_port_may_go_before_its_queues(subject: &dyn Subject) {
    let mut lane = busy(subject);
    lane.far.hold(false);
    lane.drop_port();
    for n in 0..50 {
        lane.inject(&lane.frame(60, n));
    }
    let mut batch = Batch::new();
    for _ in 0..20 {
        lane.rx[0].receive(&mut lane.cache, &mut batch);
        lane.tx[0].transmit(&mut lane.cache, &mut batch);
        lane.tx[0].reclaim(&mut lane.cache);
        batch.clear();
    }
    lane.gone();
}

pub fn nothing_is_lost_without_a_stop(subject: &dyn Subject) {
    for queues_first in [true, false] {
        let mut lane = busy(subject);
        if queues_first {
            drop(lane.queues());
        } else {
            lane.drop_port();
        }
        lane.gone();
    }
}

pub fn packets_outlive_port_and_pool(subject: &dyn Subject) {
    let mut lane = Lane::up(subject);
    for n in 0..40 {
        lane.inject(&lane.frame(100 + n as usize, n));
    }
    let packets = lane.receive(40);
    lane.stop().expect("stops");
    assert_eq!(lane.pool.available() + lane.cache.len(), lane.pool.packets() - 40);
    let (far, mac) = (lane.far.clone(), lane.mac);
    drop(lane);
    clean(&*far).expect("nothing mapped, nothing to complain about");
    for (packet, n) in packets.iter().zip(0..) {
        crate::lane::same(packet, &crate::frame(mac, 100 + n as usize, n));
    }
    drop(packets);
}

pub fn a_start_waits_until_the_queues_of_the_last_one_are_gone(subject: &dyn Subject) {
    let mut lane = Lane::up(subject);
    let kept = lane.queues();
    lane.port().stop(Queues::default()).expect("stops");
    // A queue of the last start rings the same doorbell as one of the next: two owners of one ring.
    let error = lane.start().expect_err("queues are still there");
    assert!(matches!(error, PortError::State(_)), "{error}");
    drop(kept);
    lane.start().expect("starts");
    let mac = lane.mac;
    lane.echo(100, 32, 32, |n| crate::frame(mac, 60, n));
    lane.end();
}

pub fn a_dropped_port_can_be_opened_again(subject: &dyn Subject) {
    let mut lane = Lane::up(subject);
    for round in 0..5 {
        if round % 2 == 0 {
            lane.stop().expect("stops");
        }
        lane.drop_port();
        drop(lane.queues());
        lane.reopen().expect("opens again");
        lane.start().expect("starts");
        let mac = lane.mac;
        lane.echo(100, 32, 32, |n| crate::frame(mac, 60, n));
    }
    lane.end();
}

type Spoiled = fn(&mut PortConfig);

pub fn bad_configurations_are_refused(subject: &dyn Subject) {
    const CHANGES: &[(&str, Spoiled)] = &[
        ("no receive queue", |c| c.rx_queues = 0),
        ("no transmit queue", |c| c.tx_queues = 0),
        ("too many receive queues", |c| c.rx_queues = u16::MAX),
        ("too many transmit queues", |c| c.tx_queues = u16::MAX),
        ("an empty receive ring", |c| c.rx_ring = 0),
        ("an empty transmit ring", |c| c.tx_ring = 0),
        ("a receive ring of no power of two", |c| c.rx_ring = 500),
        ("a transmit ring of no power of two", |c| c.tx_ring = 1000),
        ("a receive ring too short", |c| c.rx_ring = 1),
        ("a transmit ring too short", |c| c.tx_ring = 1),
        ("a receive ring too long", |c| c.rx_ring = 1 << 31),
        ("a transmit ring too long", |c| c.tx_ring = 1 << 31),
        ("an MTU of 0", |c| c.mtu = 0),
        ("an MTU of 67", |c| c.mtu = 67),
        ("an MTU beyond the buffers", |c| c.mtu = 4000),
        ("an MTU beyond everything", |c| c.mtu = u32::MAX),
    ];
    let Some(station) = subject.bench(1).pop() else {
        panic!("a bench without a port");
    };
    let pool = pool(4096);
    let mut port = (station.open)().expect("opens");
    let caps = port.caps().clone();
    assert!(caps.ring.0.is_power_of_two() && caps.ring.1.is_power_of_two() && caps.ring.0 <= 512);
    for (what, change) in CHANGES {
        let mut config = Lane::config(&pool);
        change(&mut config);
        match port.start(&config) {
            Err(PortError::Config(text)) => assert!(text.len() > 10, "{what}: {text:?} mends nothing"),
            other => panic!("{what}: {other:?}"),
        }
        let mappings = station.far.mappings().unwrap_or_default();
        assert_eq!(mappings.standing, 0, "{what}");
    }
    let queues = port.start(&Lane::config(&pool)).expect("starts after all");
    port.stop(queues).expect("stops");
    drop(port);
    assert_eq!(pool.available(), pool.packets());
    clean(&*station.far).expect("clean");
}

pub fn a_pool_is_mapped_once_and_never_on_the_packet_path(subject: &dyn Subject) {
    let (pool, second) = (pool(4096), pool(64));
    let mut lanes: Vec<_> = subject
        .bench(2)
        .into_iter()
        .map(|station| {
            Lane::at(station, &pool, |config| {
                config.send_pools = vec![second.clone(), pool.clone(), second.clone()];
            })
        })
        .collect();
    let Some(before) = lanes[0].far.mappings() else {
        return skip("the back end does not count mappings");
    };
    // Two pools and the rings of two ports.
    assert_eq!((before.calls, before.standing), (4, 4));
    for lane in &mut lanes {
        let mac = lane.mac;
        lane.echo(2000, 32, 64, |n| crate::frame(mac, 60, n));
    }
    assert_eq!(lanes[0].far.mappings(), Some(before));
    for lane in &mut lanes {
        lane.stop().expect("stops");
    }
    assert_eq!(lanes[0].far.mappings().unwrap_or_default().standing, 0);
    lanes[0].config.send_pools.clear();
    lanes[0].start().expect("starts");
    let calls = lanes[0].far.mappings().unwrap_or_default().calls;
    assert_eq!(calls, before.calls + 2, "the pool and the rings");
    lanes[0].stop().expect("stops");
    lanes.iter_mut().for_each(|lane| lane.cache.flush());
    drop((pool, second));
    lanes.into_iter().for_each(Lane::gone);
}

pub fn removal_ends_in_bounded_time(subject: &dyn Subject) {
    let mut lane = busy(subject);
    if !lane.far.remove() {
        return skip("the back end cannot take the device away");
    }
    lane.far.hold(false);
    let begin = Instant::now();
    let mut batch = Batch::new();
    for n in 0..200 {
        lane.rx[0].receive(&mut lane.cache, &mut batch);
        lane.cache.free(&mut batch);
        let frame = lane.frame(60, n);
        let mut batch = lane.batch(&[frame]);
        lane.tx[0].transmit(&mut lane.cache, &mut batch);
        lane.tx[0].reclaim(&mut lane.cache);
        lane.cache.free(&mut batch);
    }
    assert!(!lane.port().link().up, "all ones are no link");
    let counters = lane.device_counters();
    assert!(
        counters.values().all(|value| *value < 1 << 31),
        "all ones are no count: {counters:?}"
    );
    let _ = lane.port().set(Change::Promiscuous(true));
    // It may say that the device is gone; it must come back, and the buffers with it.
    let _ = lane.stop();
    assert!(begin.elapsed() < BOUND, "{:?}", begin.elapsed());
    lane.gone();
}

pub fn a_removed_device_does_not_start(subject: &dyn Subject) {
    let mut lane = Lane::up(subject);
    lane.stop().expect("stops");
    if !lane.far.remove() {
        return skip("the back end cannot take the device away");
    }
    let begin = Instant::now();
    lane.start().expect_err("nothing is there");
    lane.drop_port();
    lane.reopen().expect_err("nothing is there");
    assert!(begin.elapsed() < BOUND, "{:?}", begin.elapsed());
    lane.gone();
}
