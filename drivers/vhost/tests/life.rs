//! Peers that come and go, memory that comes and goes, migration, idle cores.

mod common;

use barline::port::{LinkRequest, Port, PortConfig, PortEvent, Queues};
use barline::wait::{Alarm, Armed, Idle, IdlePolicy};
use barline_vhost::{Options, Vhost};
use common::memory::{GUEST, Memory, USER};
use common::*;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::Duration;
use vhost::vhost_user::VhostUserFrontend;
use vhost::{VhostBackend, VhostUserDirtyLogRegion};

/// A few frames each way.
fn echo(near: &mut Near, peer: &mut Peer, seed: u64) {
    for n in 0..5 {
        let frame = frame(60 + n as usize, seed + n);
        assert!(peer.send(0, &frame));
        let got = near.receive(0);
        assert_eq!(
            got,
            std::slice::from_ref(&frame),
            "{:?}, up {}",
            near.device(),
            near.port.link().up
        );
        assert_eq!(near.send(0, std::slice::from_ref(&frame)), 0);
        assert_eq!(peer.receive(0).as_ref(), Some(&frame));
    }
}

#[test]
fn a_peer_that_goes_may_come_back_ten_times() {
    let mut near = Near::new(1, 1500);
    for round in 0..10u64 {
        let features = if round % 2 == 0 { MRG } else { MRG | PACKED };
        let wish = Wish {
            features,
            ..Wish::default()
        };
        let mut peer = Peer::connect(&near.path, wish);
        until("the link", || near.port.link().up);
        echo(&mut near, &mut peer, round * 100);
        // In the middle of something, both ways.
        peer.send(0, &frame(70, 1));
        near.send(0, &[frame(70, 2)]);
        drop(peer);
        until("the end of the link", || !near.port.link().up);
        assert!(near.receive(0).is_empty());
        assert_eq!(near.send(0, &[frame(60, 1)]), 1, "nobody takes it");
    }
    let events: Vec<_> = std::iter::from_fn(|| near.port.event()).collect();
    let round = [PortEvent::PeerConnected, PortEvent::PeerGone];
    assert_eq!(events, round.repeat(10));
    assert_eq!(near.device()["peer_connects"], 10);
    near.end();
}

#[test]
fn a_stopped_port_lets_its_peer_go_and_starts_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let mut near = Near::new(1, 1500);
    for _ in 0..3 {
        let mut peer = Peer::connect(&near.path, Wish::default());
        until("the link", || near.port.link().up);
        echo(&mut near, &mut peer, 1);
        // Its queues stay where they are: they learn of it.
        near.port.stop(Queues::default()).unwrap();
        assert!(near.queues.rx[0].has_ended() && near.queues.tx[0].has_ended());
        assert!(peer.frontend.get_features().is_err(), "it was cut off");
        assert!(near.receive(0).is_empty());
        let config = PortConfig {
            link: LinkRequest::DoNotWait,
            ..PortConfig::new(&near.pool)
        };
        near.port
            .start(&config)
            .expect_err("queues of the last start are there");
        near.queues = Queues::default();
        near.queues = near.port.start(&config).unwrap();
    }
    // In the middle of a message: the thread must not wait for its end.
    let mut stream = UnixStream::connect(&near.path).unwrap();
    stream.write_all(&[1, 0, 0]).unwrap();
    near.end();
    let port = Vhost::open(&Options::new(&path)).unwrap();
    assert!(path.exists());
    drop(port);
    assert!(!path.exists());
}

#[test]
fn we_connect_where_the_peer_listens() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let options = Options {
        client: true,
        ..Options::new(&path)
    };
    let mut near = Near::new(1, 1500);
    near.port = Vhost::open(&options).unwrap();
    let config = PortConfig {
        link: LinkRequest::DoNotWait,
        ..PortConfig::new(&near.pool)
    };
    near.queues = near.port.start(&config).unwrap();
    for _ in 0..2 {
        let listener = UnixListener::bind(&path).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let mut peer = Peer::on(
            vhost::vhost_user::Frontend::from_stream(stream, 2),
            Wish::default(),
        );
        peer.start();
        until("the link", || near.port.link().up);
        echo(&mut near, &mut peer, 7);
        drop((peer, listener));
        std::fs::remove_file(&path).unwrap();
        until("the end of the link", || !near.port.link().up);
    }
    near.end();
}

#[test]
fn a_ring_goes_on_where_it_stopped() {
    for features in [MRG, MRG | PACKED] {
        let mut near = Near::new(1, 1500);
        let wish = Wish {
            features,
            size: 16,
            ..Wish::default()
        };
        let mut peer = Peer::connect(&near.path, wish);
        until("the link", || near.port.link().up);
        for round in 0..40 {
            echo(&mut near, &mut peer, round);
            assert!(peer.send(0, &frame(60, 1)));
            // Disabled and enabled: what waits stays.
            peer.frontend.set_vring_enable(1, false).unwrap();
            assert!(near.receive(0).is_empty());
            assert!(!near.port.link().up);
            peer.frontend.set_vring_enable(1, true).unwrap();
            assert_eq!(near.receive(0), [frame(60, 1)]);
            peer.reap(0);
            // Stopped, and set up anew at the place that the device names.
            for index in [0, 1] {
                let base = peer.frontend.get_vring_base(index).unwrap();
                let used = peer.rings[index].used_place();
                assert_eq!(base as u16, used, "ring {index}");
                assert!(features & PACKED == 0 || base >> 16 == u32::from(used));
            }
            assert!(near.receive(0).is_empty());
            for index in [0, 1] {
                peer.start_ring_at(index, peer.rings[index].used_place());
            }
        }
        near.end();
    }
}

#[test]
fn memory_comes_and_goes_while_rings_run() {
    let mut near = Near::new(1, 1500);
    let mut peer = Peer::connect(&near.path, Wish::default());
    until("the link", || near.port.link().up);
    let more = Memory::new(0x10000);
    let (at, spare) = (0x4000_0000, more.region(0, 0x10000));
    let region = vhost::VhostUserMemoryRegionInfo {
        guest_phys_addr: GUEST + at,
        userspace_addr: USER + at,
        ..spare
    };
    let slots = peer.frontend.get_max_mem_slots().unwrap();
    assert!(slots >= 8);
    for round in 0..20u64 {
        peer.frontend.add_mem_region(&region).unwrap();
        echo(&mut near, &mut peer, round);
        // A frame that lies in the new memory.
        let sent = frame(100, round);
        more.write(0x100, &[&[0; HEADER], &sent[..]].concat());
        peer.reap(0);
        assert!(peer.rings[1].add(&[(at + 0x100, 112)], false, false));
        assert_eq!(near.receive(0), [sent]);
        assert!(peer.rings[1].take().is_some());
        peer.frontend
            .add_mem_region(&region)
            .expect_err("it overlaps itself");
        peer.frontend.remove_mem_region(&region).unwrap();
        peer.frontend
            .remove_mem_region(&region)
            .expect_err("it is not there");
        echo(&mut near, &mut peer, round);
    }
    near.end();
}

#[test]
fn writes_are_logged_while_the_peer_is_copied() {
    for features in [MRG, PACKED | MRG] {
        let mut near = Near::new(1, 1500);
        let wish = Wish {
            features,
            ..Wish::default()
        };
        let mut peer = Peer::connect(&near.path, wish);
        until("the link", || near.port.link().up);
        let pages = (GUEST >> 12) + 0x1000;
        let log = Memory::new(pages / 8);
        let region = log.region(0, pages / 8);
        let marked = |log: &Memory| {
            let first = GUEST >> 15;
            let bytes = log.read(first, (pages / 8 - first) as usize);
            let bit = |page: usize| bytes[page / 8] >> (page % 8) & 1 != 0;
            (0..bytes.len() * 8)
                .filter(|page| bit(*page))
                .map(|page| page as u64)
                .collect::<Vec<_>>()
        };
        let base = VhostUserDirtyLogRegion {
            mmap_size: pages / 8,
            mmap_offset: 0,
            mmap_handle: region.mmap_handle,
        };
        peer.frontend.set_log_base(0, Some(base)).unwrap();
        echo(&mut near, &mut peer, 1);
        assert_eq!(marked(&log), [0; 0], "nothing is logged before LOG_ALL");
        peer.frontend
            .set_features(wish.features | VERSION_1 | PROTOCOL | LOG_ALL)
            .unwrap();
        for index in [0, 1] {
            peer.frontend
                .set_vring_addr(index, &peer.rings[index].config(true))
                .unwrap();
        }
        let places: Vec<u64> = (0..3).map(|n| peer.next_place(0, n)).collect();
        let frames = [frame(1500, 1), frame(60, 2), frame(200, 3)];
        assert_eq!(near.send(0, &frames), 0);
        assert!(peer.send(0, &frame(60, 4)));
        assert_eq!(near.receive(0).len(), 1);
        // Pages of the buffers, and of the two used rings: index and entries; in a packed ring those are the descriptors.
        let rings = [0, 1].map(|index| match features & PACKED {
            0 => [peer.rings[index].device, peer.rings[index].device + 4],
            _ => [peer.rings[index].desc; 2],
        });
        let rings = rings.concat();
        let mut wanted: Vec<u64> = places.into_iter().chain(rings).map(|at| at >> 12).collect();
        wanted.sort_unstable();
        wanted.dedup();
        assert_eq!(marked(&log), wanted);
        near.end();
    }
}

/// A message by hand: request, flags, payload; the answer's payload, if one is waited for.
fn say(stream: &mut UnixStream, request: u32, flags: u32, payload: &[u8], answered: bool) -> Option<u64> {
    let words = [request, flags | 1, payload.len() as u32];
    let head: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    stream.write_all(&[&head, payload].concat()).unwrap();
    answered.then(|| {
        let mut answer = [0; 20];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer[..4], request.to_ne_bytes());
        assert_eq!(answer[4..12], [5, 0, 0, 0, 8, 0, 0, 0]);
        u64::from_ne_bytes(answer[12..].try_into().unwrap())
    })
}

#[test]
fn messages_that_the_crate_lacks_are_answered() {
    const NEED_REPLY: u32 = 1 << 3;
    let near = Near::new(1, 1500);
    let mut stream = UnixStream::connect(&near.path).unwrap();
    let word = |value: u64| value.to_ne_bytes();
    // QEMU enables rings before it sets features.
    say(&mut stream, 18, 0, &word(1 << 32), false);
    assert!(say(&mut stream, 1, 0, &[], true).unwrap() & PROTOCOL != 0);
    let protocol = say(&mut stream, 15, 0, &[], true).unwrap();
    say(&mut stream, 16, 0, &word(protocol), false);
    assert_eq!(say(&mut stream, 39, NEED_REPLY, &word(0xf), true), Some(0));
    assert_eq!(say(&mut stream, 40, 0, &[], true), Some(0xf));
    assert_eq!(say(&mut stream, 20, NEED_REPLY, &word(9000), true), Some(0));
    assert_eq!(
        say(&mut stream, 20, NEED_REPLY, &word(1), true),
        Some(1),
        "no MTU"
    );
    assert_eq!(
        say(&mut stream, 18, NEED_REPLY, &word(1 << 32 | 9), true),
        Some(1),
        "no such ring"
    );
    assert_eq!(say(&mut stream, 19, NEED_REPLY, &word(2), true), Some(0));
    assert_eq!(
        say(&mut stream, 19, NEED_REPLY, &word(0), true),
        Some(1),
        "no address"
    );
    // A message that is refused ends nothing, one that is none ends the connection.
    assert_eq!(say(&mut stream, 2, NEED_REPLY, &word(1 << 40), true), Some(1));
    assert_eq!(say(&mut stream, 40, 0, &[], true), Some(0xf));
    say(&mut stream, 99, 0, &[], false);
    assert_eq!(stream.read(&mut [0; 20]).unwrap(), 0);
    near.end();
}

#[test]
fn an_idle_core_is_woken_by_kicks_and_by_new_peers() {
    for features in [0, EVENT_IDX, PACKED, PACKED | EVENT_IDX] {
        let mut near = Near::new(1, 1500);
        let rx = near.queues.rx.remove(0);
        let (pool, alarm) = (near.pool.clone(), Arc::new(Alarm::default()));
        let ring = alarm.clone();
        let (to, frames) = std::sync::mpsc::channel();
        let worker = std::thread::spawn(move || {
            // Sleeps have no other end: an hour.
            let policy = IdlePolicy {
                spin: Duration::ZERO,
                pause: Duration::ZERO,
                nap: Duration::from_secs(3600),
                sleep: Duration::from_secs(3600),
            };
            let mut idle = Idle::new(policy, &alarm).unwrap();
            let mut sources = [rx];
            idle.watch(&sources[0]).unwrap();
            let (mut cache, mut batch) = (pool.cache(), barline::pool::Batch::new());
            while alarm.news() == 0 {
                let got = sources[0].receive(&mut cache, &mut batch);
                for packet in batch.as_slice() {
                    to.send(packet.to_vec()).unwrap();
                }
                cache.free(&mut batch);
                idle.turn(got > 0, &mut sources);
            }
            idle.stats().sleeps.get()
        });
        for round in 0..3 {
            let wish = Wish {
                features,
                ..Wish::default()
            };
            let mut peer = Peer::connect(&near.path, wish);
            for seed in 0..200 {
                let sent = frame(60 + seed as usize, seed);
                assert!(peer.send(0, &sent));
                let got = frames.recv_timeout(Duration::from_secs(30));
                assert_eq!(
                    got.as_ref(),
                    Ok(&sent),
                    "{features:#x}, round {round}, frame {seed}"
                );
                if seed % 3 == 0 {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            assert!(peer.rings[1].kicks > 0);
        }
        ring.ring(1);
        assert!(worker.join().unwrap() > 0, "it never slept");
        near.end();
    }
}

#[test]
fn what_came_while_arming_is_seen() {
    for features in [0, EVENT_IDX, PACKED, PACKED | EVENT_IDX] {
        let mut near = Near::new(1, 1500);
        assert_eq!(near.queues.rx[0].arm(), Armed::Wakes, "a peer will wake it");
        let wish = Wish {
            features,
            ..Wish::default()
        };
        let mut peer = Peer::connect(&near.path, wish);
        until("the link", || near.port.link().up);
        assert_eq!(near.queues.rx[0].arm(), Armed::Wakes);
        near.queues.rx[0].disarm();
        for seed in 0..100 {
            assert!(peer.send(0, &frame(60, seed)));
            assert_eq!(
                near.queues.rx[0].arm(),
                Armed::Pending,
                "{features:#x}, frame {seed}"
            );
            assert_eq!(near.receive(0).len(), 1);
            assert_eq!(
                near.queues.rx[0].arm(),
                Armed::Wakes,
                "{features:#x}, frame {seed}"
            );
            near.queues.rx[0].disarm();
        }
        near.end();
    }
}

#[test]
fn events_raise_their_descriptor() {
    let mut near = Near::new(1, 1500);
    let watch = barline::wait::Watch::new().unwrap();
    near.port
        .event_fds()
        .into_iter()
        .for_each(|fd| watch.add(fd).unwrap());
    let stream = UnixStream::connect(&near.path).unwrap();
    assert!(stream.as_raw_fd() >= 0);
    until("an event", || watch.wait(Duration::from_secs(1)).unwrap());
    until("the event", || {
        near.port.event() == Some(PortEvent::PeerConnected)
    });
    assert_eq!(near.port.event(), None);
    drop(stream);
    until("an event", || watch.wait(Duration::from_secs(1)).unwrap());
    until("the event", || near.port.event() == Some(PortEvent::PeerGone));
    near.end();
}
