//! Back ends come and go; the port goes on.

mod common;

use barline::port::{Port, PortEvent};
use barline::wait::Armed;
use barline_virtio_user::{Settings, VirtioUser};
use common::Socket;
use common::rig::Rig;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread;

const OPTIONS: &str = "packed=off";

#[test]
fn frames_go_there_and_back_and_a_stop_takes_everything_home() {
    let socket = Socket::new();
    thread::scope(|scope| {
        let peer = scope.spawn(|| {
            let mut peer = socket.accept();
            peer.serve(|_| false);
            peer.echoed
        });
        let mut rig = Rig::start(Rig::open(&socket.path, OPTIONS));
        rig.exchange(500);
        assert_eq!(rig.events(), [PortEvent::PeerConnected]);
        assert_eq!(rig.stop(), (0, true));
        assert_eq!(peer.join().unwrap(), 500);
    });
}

#[test]
fn ten_back_ends_die_with_packets_and_all_come_home_and_are_counted() {
    let socket = Socket::new();
    thread::scope(|scope| {
        let peers = scope.spawn(|| {
            for _ in 0..10 {
                // It echoes some and takes no more; then it dies, in the middle of the rest.
                let mut peer = socket.accept();
                peer.serve(|peer| peer.echoed == 100);
                let ring = peer.rings[&1];
                while u16::from_le_bytes(peer.load(ring.avail + 2)).wrapping_sub(ring.done) < 20 {
                    thread::yield_now();
                }
            }
            socket.accept().serve(|_| false);
        });
        let mut rig = Rig::start(Rig::open(&socket.path, OPTIONS));
        for died in 1..=10 {
            rig.await_link(true);
            rig.exchange(100);
            (0..20).for_each(|_| assert!(rig.send()));
            rig.await_link(false);
            rig.poll(|_| (), |rig| rig.queues.tx[0].in_flight() == 0);
            assert_eq!(rig.counter("peer_tx_lost"), 20 * died);
            assert_eq!(rig.events(), [PortEvent::PeerConnected, PortEvent::PeerGone]);
        }
        rig.await_link(true);
        rig.exchange(200);
        let sent = rig.queues.tx[0].counters().tx_packets.get();
        let received = rig.queues.rx[0].counters().rx_packets.get();
        assert_eq!((sent, received), (10 * 120 + 200, 10 * 100 + 200));
        assert_eq!(rig.counter("peer_connects"), 11);
        assert_eq!(rig.stop(), (0, true));
        peers.join().unwrap();
    });
}

#[test]
fn what_a_back_end_had_completed_before_it_died_is_received() {
    let socket = Socket::new();
    thread::scope(|scope| {
        scope.spawn(|| socket.accept().serve(|peer| peer.echoed == 10));
        let mut rig = Rig::start(Rig::open(&socket.path, OPTIONS));
        rig.await_link(true);
        // The receive ring is filled by the worker's first look after the link is up.
        rig.poll(|_| (), |rig| rig.queues.rx[0].counters().rx_doorbells.get() > 0);
        rig.poll(|_| (), |rig| (0..10).all(|_| rig.send()));
        // Not polled until it is gone.
        while rig.port.link().up {
            thread::yield_now();
        }
        let got = std::cell::Cell::new(0);
        rig.poll(|_| got.set(got.get() + 1), |_| got.get() == 10);
        assert_eq!(rig.counter("peer_tx_lost"), 0);
        assert_eq!(rig.stop(), (0, true));
    });
}

#[test]
fn kicks_are_written_when_the_back_end_wants_them() {
    for polls in [false, true] {
        let socket = Socket::new();
        let (ready, is_ready) = channel();
        thread::scope(|scope| {
            let socket = &socket;
            let peer = scope.spawn(move || {
                let mut peer = socket.accept();
                peer.greet();
                // For the first buffers, when nobody has said anything yet.
                while peer.kicked(0) == 0 {
                    thread::yield_now();
                }
                if polls {
                    peer.hush();
                }
                ready.send(()).unwrap();
                peer.serve(|peer| peer.echoed == 200);
                peer.kicked(0) + peer.kicked(1)
            });
            let mut rig = Rig::start(Rig::open(&socket.path, OPTIONS));
            rig.poll(|_| (), |_| is_ready.try_recv().is_ok());
            rig.exchange(200);
            let sent = rig.queues.tx[0].counters().tx_doorbells.get();
            let kicks = peer.join().unwrap();
            match polls {
                true => assert_eq!((kicks, sent), (0, 0)),
                false => assert!(sent == 200 && kicks >= sent, "{kicks} {sent}"),
            }
            assert_eq!(rig.stop(), (0, true));
        });
    }
}

#[test]
fn a_sleeping_core_is_woken_by_a_back_end_that_comes_and_by_a_frame() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let mut rig = Rig::start(Rig::open(&path, "packed=off,server"));
    let (asleep, is_asleep) = channel();
    thread::scope(|scope| {
        // Gone with a failure in here, so that the other side ends.
        let asleep = asleep;
        let path = &path;
        scope.spawn(move || {
            is_asleep.recv().unwrap();
            let mut peer = Socket::reach(path);
            peer.greet();
            is_asleep.recv().unwrap();
            peer.give_back(0, 0, 12 + 60);
            peer.serve(|_| false);
        });
        let watch = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        let fd = rig.queues.rx[0].wake_fd().unwrap().try_clone_to_owned().unwrap();
        watch
            .add(&fd, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0))
            .unwrap();
        let sleep = |limit: u16| watch.wait(&mut [EpollEvent::empty()], limit).unwrap();
        while sleep(0) > 0 {}
        assert_eq!(rig.queues.rx[0].arm(), Armed::Wakes);
        asleep.send(()).unwrap();
        assert_eq!(sleep(60_000), 1, "a back end has come");
        rig.queues.rx[0].disarm();
        rig.await_link(true);
        rig.poll(|_| (), |rig| rig.queues.rx[0].counters().rx_doorbells.get() == 1);
        while sleep(0) > 0 {}
        assert_eq!(rig.queues.rx[0].arm(), Armed::Wakes);
        asleep.send(()).unwrap();
        assert_eq!(sleep(60_000), 1, "a frame has come");
        rig.queues.rx[0].disarm();
        rig.poll(|_| (), |rig| rig.queues.rx[0].counters().rx_packets.get() == 1);
        assert_eq!(rig.stop(), (0, true));
    });
}

#[test]
fn a_port_without_a_back_end_keeps_nothing_and_ends_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let mut rig = Rig::start(Rig::open(&path, "packed=off,server"));
    assert!(!rig.port.link().up && !rig.send());
    assert_eq!(rig.queues.tx[0].counters().tx_full.get(), 1);
    assert!(path.exists());
    let (lost, quiet) = rig.stop();
    assert_eq!((lost, quiet, path.exists()), (0, true, false));
}

#[test]
fn a_listening_port_takes_one_back_end_after_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let mut rig = Rig::start(Rig::open(&path, "packed=off,server"));
    thread::scope(|scope| {
        let path = &path;
        scope.spawn(move || {
            for _ in 0..3 {
                let mut peer = Socket::reach(path);
                peer.serve(|peer| peer.echoed == 50);
            }
        });
        for _ in 0..3 {
            rig.await_link(true);
            rig.exchange(50);
            rig.await_link(false);
        }
    });
    assert_eq!(rig.stop(), (0, true));
}

#[test]
fn queues_outlive_their_port_and_block_the_next_start() {
    let socket = Socket::new();
    thread::scope(|scope| {
        scope.spawn(|| socket.accept().serve(|_| false));
        let mut rig = Rig::start(Rig::open(&socket.path, OPTIONS));
        rig.await_link(true);
        rig.exchange(10);
        rig.port.stop(Default::default()).unwrap();
        let config = barline::port::PortConfig::new(&rig.pool);
        assert!(
            rig.port
                .start(&config)
                .unwrap_err()
                .to_string()
                .contains("last start")
        );
        assert!(rig.queues.rx[0].has_ended() && rig.queues.tx[0].has_ended() && !rig.send());
        assert_eq!(rig.stop(), (0, true));
    });
}

#[test]
fn what_cannot_be_opened_says_why() {
    let error = |path: &str, options: &str| {
        let settings = Settings::parse(options).unwrap();
        VirtioUser::open(Path::new(path), settings)
            .unwrap_err()
            .to_string()
    };
    assert!(error("/nowhere/s", "").contains(",server"));
    assert!(error("/nowhere/s", "server").contains("cannot listen"));
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(error(file.path().to_str().unwrap(), "server").contains("in use"));
    assert!(file.path().exists(), "somebody else's file");
    let socket = Socket::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut peer = socket.accept();
            while let Some(message) = peer.next() {
                peer.obey(message);
            }
        });
        assert!(error(socket.path.to_str().unwrap(), "queues=2").contains("queues=1"));
    });
}
