//! What can be changed while the port runs, and what it changes.

use crate::frames::of_vlan;
use crate::lane::same;
use crate::{Lane, Patience, Subject, frame, pool, skip, tagged};
use barline::mem::{PageSize, Source};
use barline::pool::Pool;
use barline::port::{Change, MacAddress, PortError, VlanFilter};

const OTHER: MacAddress = MacAddress([0x02, 0, 0, 0, 0x77, 0x77]);
const GROUP: MacAddress = MacAddress([0x01, 0, 0x5e, 1, 2, 3]);
const ALL: MacAddress = MacAddress([0xff; 6]);

/// Whether a frame gets through. A broadcast follows it, which always does and says that the frame is not late.
fn passes(lane: &mut Lane, probe: &[u8]) -> bool {
    let mark = frame(ALL, 64, 0xabcd_ef01);
    lane.inject(probe);
    lane.inject(&mark);
    let mut before = Vec::new();
    let patience = Patience::new();
    loop {
        for (_, packet) in lane.poll() {
            if packet[..] != mark[..] {
                before.push(packet);
                continue;
            }
            before.iter().for_each(|packet| same(packet, probe));
            assert!(before.len() < 2, "a frame came twice");
            return !before.is_empty();
        }
        patience.wait("the mark");
    }
}

fn set(lane: &mut Lane, change: Change) -> bool {
    match lane.port().set(change.clone()) {
        Ok(()) => true,
        Err(PortError::Unsupported(_)) => {
            skip("the port does not change this");
            false
        }
        Err(error) => panic!("{change:?}: {error}"),
    }
}

fn refused(lane: &mut Lane, change: Change) {
    match lane.port().set(change.clone()) {
        Err(PortError::Config(_)) => {}
        other => panic!("{change:?}: {other:?}"),
    }
}

pub fn promiscuous_and_multicast_are_settings_of_their_own(subject: &dyn Subject) {
    for at_start in [false, true] {
        let mut lane = Lane::with(subject, |config| config.promiscuous = at_start);
        let (mut promiscuous, mut multicast) = (at_start, false);
        // Every change from every state.
        for step in [0, 1, 2, 3, 1, 0, 2, 0, 3, 2, 1, 3, 0] {
            let mac = lane.mac;
            assert!(passes(&mut lane, &frame(mac, 60, 1)));
            assert_eq!(
                (
                    passes(&mut lane, &frame(OTHER, 60, 2)),
                    passes(&mut lane, &frame(GROUP, 60, 3))
                ),
                (promiscuous, promiscuous || multicast),
                "promiscuous {promiscuous}, all multicast {multicast}"
            );
            let change = match step {
                0 => Change::Promiscuous(true),
                1 => Change::AllMulticast(true),
                2 => Change::Promiscuous(false),
                _ => Change::AllMulticast(false),
            };
            if !set(&mut lane, change.clone()) {
                return;
            }
            match change {
                Change::Promiscuous(on) => promiscuous = on,
                Change::AllMulticast(on) => multicast = on,
                _ => {}
            }
        }
        lane.end();
    }
}

pub fn the_address_can_be_changed_and_stays_changed(subject: &dyn Subject) {
    let mut lane = Lane::up(subject);
    let old = lane.mac;
    if !set(&mut lane, Change::Mac(OTHER)) {
        return;
    }
    for round in 0..2 {
        assert_eq!(lane.port().mac(), OTHER);
        assert!(passes(&mut lane, &frame(OTHER, 60, 1)), "round {round}");
        assert!(!passes(&mut lane, &frame(old, 60, 2)), "round {round}");
        refused(&mut lane, Change::Mac(GROUP));
        refused(&mut lane, Change::Mac(ALL));
        refused(&mut lane, Change::Mac(MacAddress([0; 6])));
        assert!(
            passes(&mut lane, &frame(OTHER, 60, 3)),
            "a refused change changes nothing"
        );
        lane.stop().expect("stops");
        lane.start().expect("starts");
    }
    assert!(set(&mut lane, Change::Mac(old)));
    assert!(passes(&mut lane, &frame(old, 60, 4)));
    lane.end();
}

pub fn the_mtu_limits_what_is_received(subject: &dyn Subject) {
    let mut lane = Lane::up(subject);
    let mac = lane.mac;
    for mtu in [1500, 600, 1499, 68, 1500] {
        if !set(&mut lane, Change::Mtu(mtu)) {
            return;
        }
        let most = mtu as usize + 14;
        assert!(passes(&mut lane, &frame(mac, most, 1)), "MTU {mtu}");
        assert!(
            passes(&mut lane, &tagged(mac, most + 4, 2)),
            "MTU {mtu}, with a tag"
        );
        // A device may count the tag's four bytes to every frame; more is too much.
        assert!(!passes(&mut lane, &tagged(mac, most + 9, 3)), "MTU {mtu}");
        assert!(!passes(&mut lane, &frame(mac, most + 200, 4)), "MTU {mtu}");
    }
    lane.end();
}

pub fn the_mtu_limits_what_is_sent(subject: &dyn Subject) {
    let mut lane = Lane::with(subject, |config| config.mtu = 600);
    let mut dropped = 0;
    for mtu in [600, 1500, 600, 68, 1499] {
        if !set(&mut lane, Change::Mtu(mtu)) {
            return;
        }
        let most = mtu as usize + 14;
        let frames = [lane.frame(most, 1), lane.frame(most + 20, 2), lane.frame(60, 3)];
        let mut batch = lane.batch(&frames);
        assert_eq!(lane.tx[0].transmit(&mut lane.cache, &mut batch), 2, "MTU {mtu}");
        dropped += 1;
        assert_eq!(lane.tx_sum("tx_lengths"), dropped);
        let lens: Vec<_> = lane.take(2).iter().map(Vec::len).collect();
        assert_eq!(lens, [most, 60]);
    }
    lane.end();
}

fn pool_of(room: usize) -> Pool {
    let source = Source::MemFd(PageSize::Base4K);
    let pool = Pool::builder().packets(1200).data_room(room).source(source);
    pool.build().expect("memory for a pool")
}

pub fn an_mtu_that_is_accepted_fits_the_buffers(subject: &dyn Subject) {
    let mut started = 0;
    for room in [1024, 1200, 1518, 1600, 2000, 2047, 2048, 3000, 4096] {
        let pool = pool_of(room);
        let mtu = pool.data_room() as u32 - 18;
        let Some(station) = subject.bench(1).pop() else {
            panic!("a bench without a port");
        };
        let mut port = (station.open)().expect("opens");
        let most = port.caps().mtu;
        let mut config = Lane::config(&pool);
        for mtu in [mtu, 1500, mtu.min(1006)] {
            if mtu > most {
                continue;
            }
            config.mtu = mtu;
            match port.start(&config) {
                Err(PortError::Config(_)) => continue,
                Err(error) => panic!("buffers of {room}, MTU {mtu}: {error}"),
                Ok(queues) => port.stop(queues).expect("stops"),
            }
            started += 1;
            // The station is taken: a lane of its own plays it.
            let mut lane = Lane::over(subject, &pool, |config| config.mtu = mtu);
            let mac = lane.mac;
            assert!(
                passes(&mut lane, &frame(mac, mtu as usize + 14, 1)),
                "buffers of {room}: MTU {mtu} was accepted, and a frame of that length is lost"
            );
            for change in 68..=mtu.min(most) + 40 {
                if change % 97 != 0 && change < mtu {
                    continue;
                }
                match lane.port().set(Change::Mtu(change)) {
                    Ok(()) => assert!(
                        passes(&mut lane, &frame(mac, change as usize + 14, 2)),
                        "buffers of {room}: a change to MTU {change} was accepted"
                    ),
                    Err(PortError::Config(_) | PortError::Unsupported(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            lane.end();
        }
    }
    assert!(started >= 5, "{started}");
}

pub fn jumbo_frames_pass_both_ways(subject: &dyn Subject) {
    let most = {
        let station = subject.bench(1).pop().expect("a station");
        (station.open)().expect("opens").caps().mtu
    };
    if most < 9000 {
        return skip("the port has no jumbo frames");
    }
    let pool = Pool::builder()
        .packets(1500)
        .data_room(10 << 10)
        .source(Source::MemFd(PageSize::Base4K));
    let pool = pool.build().expect("memory for a pool");
    let mut lane = Lane::over(subject, &pool, |config| {
        (config.mtu, config.rx_ring, config.tx_ring) = (9000, 256, 256);
    });
    let mac = lane.mac;
    // Few on their way at a time: a device's own buffer may hold no more.
    lane.echo(200, 32, 4, |n| frame(mac, 9014 - n as usize * 7, n));
    lane.end();
}

/// Whether the ports can filter VLANs.
fn filters(subject: &dyn Subject) -> bool {
    let station = subject.bench(1).pop().expect("a station");
    (station.open)().expect("opens").caps().vlans
}

/// Whether a frame of a VLAN gets through.
fn vlan_passes(lane: &mut Lane, id: u16) -> bool {
    let mac = lane.mac;
    passes(lane, &of_vlan(mac, id, 64, id.into()))
}

pub fn only_chosen_vlans_are_received(subject: &dyn Subject) {
    let chosen: VlanFilter = "0,7,31-33,4094".parse().expect("VLANs");
    if !filters(subject) {
        let pool = pool(1200);
        let mut config = Lane::config(&pool);
        config.vlans = Some(chosen);
        let station = subject.bench(1).pop().expect("a station");
        let mut port = (station.open)().expect("opens");
        let started = port.start(&config);
        assert!(matches!(started, Err(PortError::Unsupported(_))), "{started:?}");
        return skip("the port has no filter, and says so");
    }
    let mut lane = Lane::with(subject, |config| config.vlans = Some(chosen.clone()));
    for _ in 0..2 {
        for id in [0, 1, 6, 7, 8, 30, 31, 32, 33, 34, 2048, 4093, 4094] {
            assert_eq!(vlan_passes(&mut lane, id), chosen.has(id), "VLAN {id}");
        }
        let mac = lane.mac;
        assert!(passes(&mut lane, &frame(mac, 60, 1)), "a frame without a tag");
        for (id, passes) in [(8, true), (8, true), (7, false), (4094, false), (7, true)] {
            assert!(set(&mut lane, Change::Vlan { id, passes }));
            assert_eq!(vlan_passes(&mut lane, id), passes, "VLAN {id}");
            assert!(vlan_passes(&mut lane, 32), "the others stay");
        }
        let (id, passes) = (4095, true);
        refused(&mut lane, Change::Vlan { id, passes });
        let promiscuous = lane.port().set(Change::Promiscuous(true));
        assert!(matches!(promiscuous, Err(PortError::Unsupported(_))));
        assert!(!vlan_passes(&mut lane, 9), "a refused change changes nothing");
        // The next start has what it was configured with.
        lane.stop().expect("stops");
        lane.start().expect("starts");
    }
    lane.end();
}

pub fn a_port_without_a_filter_receives_every_vlan(subject: &dyn Subject) {
    let mut lane = Lane::up(subject);
    for id in [0, 1, 7, 4094] {
        assert!(vlan_passes(&mut lane, id), "VLAN {id}");
    }
    let (id, passes) = (7, false);
    let change = lane.port().set(Change::Vlan { id, passes });
    assert!(matches!(change, Err(PortError::Unsupported(_))), "{change:?}");
    assert!(vlan_passes(&mut lane, 7));
    lane.end();
    if filters(subject) {
        let pool = pool(1200);
        let mut config = Lane::config(&pool);
        (config.vlans, config.promiscuous) = (Some(VlanFilter::new()), true);
        let station = subject.bench(1).pop().expect("a station");
        let mut port = (station.open)().expect("opens");
        let started = port.start(&config);
        assert!(matches!(started, Err(PortError::Unsupported(_))), "{started:?}");
    }
}

pub fn the_link_goes_and_comes(subject: &dyn Subject) {
    let mut lane = Lane::up(subject);
    let link = lane.port().link();
    assert!(link.up && link.speed > 0 && link.full_duplex, "{link:?}");
    for round in 0..3 {
        if !lane.far.set_link(false) {
            return skip("the back end cannot pull the cable");
        }
        let patience = Patience::new();
        while lane.port().link().up {
            patience.wait("the link to go down");
        }
        assert_eq!(lane.port().link().speed, 0);
        for _ in 0..10 {
            assert!(lane.poll().is_empty());
        }
        // A packet that is sent now waits in the ring or is lost on the wire; it is not lost to the pool.
        let frame = lane.frame(60, round);
        let mut batch = lane.batch(&[frame]);
        lane.tx[0].transmit(&mut lane.cache, &mut batch);
        lane.far.set_link(true);
        let patience = Patience::new();
        while !lane.port().link().up {
            patience.wait("the link to come up");
        }
        let mac = lane.mac;
        assert!(passes(&mut lane, &crate::frame(mac, 60, 9)));
    }
    lane.end();
}

pub fn a_stopped_port_changes_nothing(subject: &dyn Subject) {
    let mut lane = Lane::up(subject);
    lane.stop().expect("stops");
    for change in [Change::Promiscuous(true), Change::Mac(OTHER), Change::Mtu(600)] {
        let result = lane.port().set(change.clone());
        assert!(result.is_err(), "{change:?}: {result:?}");
    }
    let mac = lane.mac;
    assert_eq!(lane.port().mac(), mac);
    lane.start().expect("starts");
    assert!(passes(&mut lane, &frame(mac, 1514, 1)));
    assert!(!passes(&mut lane, &frame(OTHER, 60, 1)));
    lane.end();
}
