//! What is peculiar to packet sockets: counts, queues, tags, events.

mod common;

use barline::port::{Change, PortEvent};
use barline::wait::{Armed, IdlePolicy, Watch};
use barline_af_packet::{AfPacket, AfPacketError, Claims, Fanout, Options};
use barline_conformance::{FarEnd, Lane, Patience, frame, pool};
use barline_netif::testing::ip;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

macro_rules! or_skip {
    () => {
        if let Some(why) = common::lacking() {
            return eprintln!("SKIPPED: {why}");
        }
    };
}

fn lane(fanout: Fanout, queues: u16) -> (Lane, std::sync::Arc<common::VethFar>) {
    let (station, far) = common::station(fanout);
    let lane = Lane::at(station, &pool(8192), |config| {
        (config.rx_queues, config.tx_queues) = (queues, queues);
    });
    (lane, far)
}

/// Frames that nobody polls for fill the ring; those that found no room are counted, and no frame is in two counters.
#[test]
fn what_the_ring_has_no_room_for_is_counted() {
    or_skip!();
    const ALL: u64 = 6000;
    let (mut lane, _far) = lane(Fanout::Hash, 1);
    (0..ALL).for_each(|n| lane.inject(&lane.frame(1000, n)));
    let (mut patience, mut last) = (Patience::new(), 0);
    loop {
        for (_, packet) in lane.poll() {
            lane.cache.free_one(packet);
        }
        let device = lane.device_counters();
        assert_eq!(device["nic_rx_packets"], ALL, "{device:?}");
        let sum = lane.rx_sum("rx_packets") + device["nic_rx_queue_drops"];
        assert!(sum <= ALL, "{device:?}");
        if sum == ALL {
            assert!(device["nic_rx_queue_drops"] > 0 && lane.rx_sum("rx_packets") > 512);
            break;
        }
        if sum != last {
            patience.renew();
        }
        last = sum;
        patience.wait("all frames in a counter");
    }
    let device = lane.device_counters();
    lane.stop().unwrap();
    assert_eq!(lane.device_counters(), device, "a stop does not lose them");
    lane.start().unwrap();
    assert!(lane.device_counters().values().all(|value| *value == 0));
    lane.end();
}

/// Frames wait in the ring while there is no buffer for them, and that is counted.
#[test]
fn an_empty_pool_holds_frames_back() {
    or_skip!();
    let (station, _far) = common::station(Fanout::Hash);
    let pool = pool(64);
    let mut lane = Lane::at(station, &pool, |_| {});
    (0..100).for_each(|n| lane.inject(&lane.frame(60, n)));
    let held = lane.receive(64);
    let patience = Patience::new();
    while lane.rx_sum("rx_no_buffer") == 0 {
        assert!(lane.poll().is_empty());
        patience.wait("the empty pool to be counted");
    }
    for (packet, n) in held.into_iter().zip(0..) {
        assert_eq!(packet[..], lane.frame(60, n));
        lane.cache.free_one(packet);
    }
    for (packet, n) in lane.receive(36).iter().zip(64..) {
        assert_eq!(packet[..], lane.frame(60, n));
    }
    lane.end();
}

/// Two sockets of one interface must not both get a frame, from the first frame on.
#[test]
fn no_frame_comes_to_two_queues() {
    or_skip!();
    for (_, fanout) in Fanout::ALL {
        let (mut lane, _far) = lane(fanout, 4);
        let mut seen = std::collections::BTreeSet::new();
        for n in 0..400 {
            lane.inject(&barline_conformance::udp(lane.mac, n as u32, n));
        }
        let patience = Patience::new();
        while seen.len() < 400 {
            for (_, packet) in lane.poll() {
                assert!(seen.insert(packet[42..50].to_vec()), "{fanout}: twice");
                lane.cache.free_one(packet);
            }
            patience.wait("all frames");
        }
        assert_eq!(lane.device_counters()["nic_rx_packets"], 400, "{fanout}");
        lane.end();
    }
}

/// Nor while the port starts, when there are sockets that are not a group yet.
#[test]
fn no_frame_comes_to_two_queues_of_a_port_that_starts() {
    or_skip!();
    let (mut lane, far) = lane(Fanout::Hash, 8);
    for _ in 0..5 {
        lane.stop().unwrap();
        lane.cache.flush();
        let (end, mac) = (AtomicBool::new(false), lane.mac);
        thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0.. {
                    if end.load(Ordering::Relaxed) {
                        return;
                    }
                    far.inject(&barline_conformance::udp(mac, n as u32, n));
                }
            });
            lane.start().unwrap();
            end.store(true, Ordering::Relaxed);
        });
        let (mut seen, mut quiet) = (std::collections::BTreeSet::new(), 0);
        while quiet < 50 {
            let packets = lane.poll();
            quiet = if packets.is_empty() { quiet + 1 } else { 0 };
            for (_, packet) in packets {
                assert!(seen.insert(packet[42..50].to_vec()), "a frame came twice");
                lane.cache.free_one(packet);
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
    lane.end();
}

#[test]
fn tags_are_restored_and_what_is_sent_does_not_come_back() {
    or_skip!();
    let (mut lane, far) = lane(Fanout::Hash, 1);
    let tagged = barline_conformance::tagged(lane.mac, 80, 3);
    lane.expect(std::slice::from_ref(&tagged));
    let mut batch = lane.batch(std::slice::from_ref(&tagged));
    lane.transmit(0, &mut batch);
    // The plain socket at the other side does not put back what the kernel takes out.
    let bare = [&tagged[..12], &tagged[16..]].concat();
    assert_eq!(lane.take(1), [bare]);
    // A frame from the other side is behind whatever could have come back.
    let mark = lane.frame(60, 9);
    lane.expect(&[mark]);
    assert_eq!(lane.device_counters()["nic_rx_packets"], 2);
    drop(far);
    lane.end();
}

/// Nor does what the kernel itself sends there, when the port wants everything.
#[test]
fn the_kernels_own_frames_are_not_received() {
    or_skip!();
    let (station, far) = common::station(Fanout::Hash);
    let mut lane = Lane::at(station, &pool(4096), |config| config.promiscuous = true);
    ip(&format!("addr add 10.9.8.1/24 dev {}", far.near)).unwrap();
    let socket = std::net::UdpSocket::bind("10.9.8.1:0").unwrap();
    for _ in 0..3 {
        socket.send_to(b"anything", "10.9.8.2:9").unwrap();
    }
    // They did leave.
    assert_eq!(lane.take(3).len(), 3);
    let mark = lane.frame(60, 9);
    lane.expect(&[mark]);
    assert_eq!(lane.device_counters()["nic_rx_packets"], 1);
    lane.end();
}

#[test]
fn a_core_is_woken_by_a_frame() {
    or_skip!();
    let (mut lane, far) = lane(Fanout::Hash, 1);
    let watch = Watch::new().unwrap();
    watch.add(lane.rx[0].wake_fd().unwrap()).unwrap();
    for n in 0..20 {
        assert_eq!(lane.rx[0].arm(), Armed::Wakes);
        let frame = lane.frame(60, n);
        assert!(far.inject(&frame));
        // Nothing else ends this sleep before the test's patience is over.
        assert!(watch.wait(Duration::from_secs(60)).unwrap(), "frame {n}");
        let patience = Patience::new();
        while lane.rx_sum("rx_packets") < n + 1 {
            lane.poll();
            patience.wait("the frame that woke us");
        }
        lane.rx[0].disarm();
    }
    assert!(IdlePolicy::for_link(512, 0).sleeps());
    lane.end();
}

#[test]
fn set_down_renamed_and_removed() {
    or_skip!();
    let (mut lane, far) = lane(Fanout::Hash, 1);
    let echo = |lane: &mut Lane| {
        let mac = lane.mac;
        lane.echo(50, 8, 8, |n| frame(mac, 60, n));
    };
    echo(&mut lane);
    ip(&format!("link set {} down", far.near)).unwrap();
    assert!(!lane.port().link().up);
    assert_eq!(lane.port().event(), None, "it is still there");
    let one = lane.frame(60, 1);
    let mut batch = lane.batch(std::slice::from_ref(&one));
    assert_eq!(lane.tx[0].transmit(&mut lane.cache, &mut batch), 0);
    assert_eq!(
        (batch.len(), lane.tx_sum("tx_full")),
        (1, 1),
        "left with the caller"
    );
    lane.cache.free(&mut batch);
    let other = barline_netif::testing::fresh("rn");
    ip(&format!("link set {} name {other}", far.near)).unwrap();
    ip(&format!("link set {other} up")).unwrap();
    // The kernel tells of a carrier when it gets to it.
    let patience = Patience::new();
    while !lane.port().link().up {
        patience.wait("the link, under its new name");
    }
    echo(&mut lane);
    assert!(lane.port().set(Change::Promiscuous(true)).is_ok());
    ip(&format!("link del {other}")).unwrap();
    let watch = Watch::new().unwrap();
    watch.add(lane.port().event_fds()[0]).unwrap();
    assert_eq!(lane.port().event(), Some(PortEvent::Gone));
    assert_eq!(lane.port().event(), None, "it is told once");
    lane.end();
}

/// As containers do it: it is another network's now.
#[test]
fn an_interface_that_is_moved_to_another_namespace_is_gone() {
    or_skip!();
    let space = format!("barline-packet-{}", std::process::id());
    if let Err(why) = ip(&format!("netns add {space}")) {
        return eprintln!("SKIPPED: {why}");
    }
    let (mut lane, far) = lane(Fanout::Hash, 1);
    let moved = ip(&format!("link set {} netns {space}", far.near));
    let (event, link) = (lane.port().event(), lane.port().link());
    let one = lane.frame(60, 1);
    let mut batch = lane.batch(std::slice::from_ref(&one));
    let sent = lane.tx[0].transmit(&mut lane.cache, &mut batch);
    lane.cache.free(&mut batch);
    lane.end();
    ip(&format!("netns del {space}")).unwrap();
    moved.unwrap();
    assert_eq!((event, link.up, sent), (Some(PortEvent::Gone), false, 0));
}

/// A frame that fits the MTU of the start and no longer the interface's is dropped here: the kernel would send it.
#[test]
fn an_interface_that_takes_less_than_at_the_start() {
    or_skip!();
    let (mut lane, far) = lane(Fanout::Hash, 1);
    let send = |lane: &mut Lane, len| {
        let frame = lane.frame(len, 1);
        let mut batch = lane.batch(&[frame]);
        lane.transmit(0, &mut batch);
        lane.cache.free(&mut batch);
    };
    send(&mut lane, 1500);
    assert_eq!((lane.take(1).len(), lane.tx_sum("tx_lengths")), (1, 0));
    ip(&format!("link set {} mtu 1000", far.near)).unwrap();
    assert_eq!(lane.port().event(), None);
    send(&mut lane, 1500);
    assert_eq!(lane.tx_sum("tx_lengths"), 1);
    send(&mut lane, 1000);
    assert_eq!((lane.take(1)[0].len(), lane.tx_sum("tx_lengths")), (1000, 1));
    ip(&format!("link set {} mtu 1500", far.near)).unwrap();
    assert_eq!(lane.port().event(), None);
    send(&mut lane, 1500);
    assert_eq!((lane.take(1)[0].len(), lane.tx_sum("tx_lengths")), (1500, 1));
    lane.end();
}

#[test]
fn what_is_wrong_is_said_with_a_remedy() {
    or_skip!();
    let claims = Claims::default();
    let error = AfPacket::open(&Options::new("none-such"), &claims).unwrap_err();
    assert!(matches!(error, AfPacketError::Interface(_)));
    assert!(error.to_string().contains("there are lo"), "{error}");
    let lo = AfPacket::open(&Options::new("lo"), &claims).unwrap();
    let error = AfPacket::open(&Options::new("lo"), &claims).unwrap_err();
    assert!(matches!(error, AfPacketError::Twice { .. }), "{error}");
    drop(lo);
    AfPacket::open(&Options::new("lo"), &claims).unwrap();
}

/// Promiscuous mode goes with the socket: the interface's count of those who want it is the kernel's.
#[test]
fn promiscuous_mode_goes_with_the_port() {
    or_skip!();
    let promiscuous = |name: &str| {
        let output = std::process::Command::new("ip")
            .args(["-d", "link", "show", name])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (_, rest) = text.split_once("promiscuity ").expect("a count");
        rest.split_whitespace().next() != Some("0")
    };
    let (station, far) = common::station(Fanout::Hash);
    let lane = Lane::at(station, &pool(4096), |config| config.promiscuous = true);
    assert!(promiscuous(&far.near));
    drop(lane);
    assert!(!promiscuous(&far.near));
}
