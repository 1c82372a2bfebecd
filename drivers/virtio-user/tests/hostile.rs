//! Back ends that lie, in their messages and in the rings. The port goes on with the next one.

mod common;

use barline::port::Port;
use common::rig::{PACKETS, Rig};
use common::{Message, Peer, Socket};
use std::io::Read;
use std::sync::Barrier;
use std::sync::mpsc::channel;
use std::thread;

const OPTIONS: &str = "packed=off";

/// Ends the conversation at its message number `at` in some way; whether there were so many.
fn spoil(peer: &mut Peer, at: usize, how: impl FnOnce(&mut Peer, Message)) -> bool {
    for _ in 0..at {
        match peer.next() {
            Some(message) => peer.obey(message),
            None => return false,
        }
        if peer.greeted {
            return false;
        }
    }
    match peer.next() {
        Some(message) => how(peer, message),
        None => return false,
    }
    true
}

/// A port that has met a good back end before, and meets one again after all bad ones.
fn after(mut bad: impl FnMut(&Socket) + Send) {
    let socket = Socket::new();
    thread::scope(|scope| {
        let peers = scope.spawn(|| {
            socket.accept().serve(|peer| peer.echoed == 20);
            bad(&socket);
            socket.accept().serve(|_| false);
        });
        let mut rig = Rig::start(Rig::open(&socket.path, OPTIONS));
        rig.await_link(true);
        rig.exchange(20);
        rig.await_link(false);
        // Bad ones may get the link up for a moment; only the last one sends anything back.
        let before = rig.queues.rx[0].counters().rx_packets.get();
        rig.poll(
            |_| (),
            |rig| {
                rig.send();
                rig.queues.rx[0].counters().rx_packets.get() > before
            },
        );
        assert_eq!(rig.stop(), (0, true));
        peers.join().unwrap();
    });
}

#[test]
fn hang_ups_at_every_message() {
    after(|socket| {
        let mut at = 0;
        while spoil(&mut socket.accept(), at, |_, _| ()) {
            at += 1;
        }
        assert!(at > 15, "all messages of a greeting: {at}");
    });
}

#[test]
fn nonsense_in_answer_to_every_message() {
    let answers: [fn(&mut Peer, &Message); 6] = [
        |peer, message| peer.say(message.request, 5, 0, &[]),
        |peer, message| peer.say(message.request, 5, u32::MAX, &[0xff; 64]),
        |peer, message| peer.say(message.request ^ 1, 5, 8, &[0xff; 8]),
        |peer, message| peer.say(message.request, 1, 8, &[0; 8]),
        |peer, _| peer.say(u32::MAX, u32::MAX, u32::MAX, &[0xff; 4000]),
        |peer, message| peer.say(message.request, 5, 8, &[0xff; 8]),
    ];
    after(|socket| {
        for answer in answers {
            let mut at = 0;
            while spoil(&mut socket.accept(), at, |peer, message| {
                answer(peer, &message);
                let _ = peer.stream.shutdown(std::net::Shutdown::Write);
            }) {
                at += 1;
            }
        }
    });
}

#[test]
fn answers_that_nobody_asked_for() {
    after(|socket| {
        let mut peer = socket.accept();
        peer.greet();
        peer.say(1, 5, 8, &[0; 8]);
        // It is asked for its rings, and says nothing more until it is told to go.
        while peer.next().is_some() {}
    });
}

#[test]
fn a_silent_back_end_does_not_hold_up_a_stop() {
    for at in [0, 3, 9] {
        let socket = Socket::new();
        thread::scope(|scope| {
            let (silent, is_silent) = channel();
            let socket = &socket;
            scope.spawn(move || {
                socket.accept().serve(|peer| peer.echoed == 20);
                let answered = spoil(&mut socket.accept(), at, |peer, _| {
                    silent.send(()).unwrap();
                    // Until it is told to go: nothing of a port that waits for ever.
                    let _ = peer.stream.read_to_end(&mut Vec::new());
                });
                assert!(answered, "a port that asks less than {at} questions");
            });
            let mut rig = Rig::start(Rig::open(&socket.path, OPTIONS));
            rig.await_link(true);
            rig.exchange(20);
            rig.poll(|_| (), |_| is_silent.try_recv().is_ok());
            assert_eq!(rig.stop(), (0, true), "it never had a buffer");
        });
    }
}

/// What a back end does to the rings when they are full of buffers.
type Trick = fn(&mut Peer);

const TRICKS: &[(&str, Trick)] = &[
    ("an id that is none", |peer| peer.give_back(0, 64, 100)),
    ("an id beyond 16 bits", |peer| peer.give_back(0, 0x1_0001, 100)),
    ("an id twice", |peer| {
        peer.give_back(0, 5, 100);
        peer.give_back(0, 5, 100);
    }),
    ("more than there are", |peer| {
        let used = peer.rings[&0].used;
        peer.store(used + 2, &0x8000u16.to_le_bytes());
    }),
    ("a transmit that was not", |peer| {
        let used = peer.rings[&1].used;
        peer.store(used + 2, &0x7fffu16.to_le_bytes());
    }),
];

#[test]
fn nonsense_in_a_ring_cuts_the_back_end_off() {
    for (name, trick) in TRICKS {
        let (socket, all_back) = (Socket::new(), Barrier::new(2));
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut peer = socket.accept();
                peer.serve(|peer| peer.echoed == 20);
                // What it has given back would be lost with what it does now.
                all_back.wait();
                trick(&mut peer);
                while let Some(message) = peer.next() {
                    peer.obey(message);
                }
                drop(peer);
                socket.accept().serve(|_| false);
            });
            let mut rig = Rig::start(Rig::open(&socket.path, OPTIONS));
            rig.await_link(true);
            rig.exchange(20);
            all_back.wait();
            rig.poll(
                |_| (),
                |rig| {
                    rig.send();
                    !rig.port.link().up
                },
            );
            rig.await_link(true);
            rig.exchange(100);
            let (rx, tx) = (rig.queues.rx[0].counters(), rig.queues.tx[0].counters());
            let counted =
                rx.rx_bad_ids.get() + rx.rx_overruns.get() + tx.tx_bad_ids.get() + tx.tx_overruns.get();
            assert_eq!(counted, 1, "{name}");
            assert_eq!(rig.stop(), (0, true), "{name}");
        });
    }
}

#[test]
fn impossible_lengths_are_counted_and_never_believed() {
    let socket = Socket::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut peer = socket.accept();
            peer.greet();
            let ring = peer.rings[&0];
            while u16::from_le_bytes(peer.load(ring.avail + 2)) < 60 {
                thread::yield_now();
            }
            for (id, len) in [0, 11, 12, u32::MAX, 1 << 16, 5000].into_iter().enumerate() {
                peer.give_back(0, id as u32, len);
            }
            peer.serve(|_| false);
        });
        let mut rig = Rig::start(Rig::open(&socket.path, OPTIONS));
        rig.await_link(true);
        rig.poll(
            |_| panic!("a frame"),
            |rig| rig.queues.rx[0].counters().rx_lengths.get() == 6,
        );
        assert_eq!(rig.stop(), (0, true));
    });
}

#[test]
fn anything_in_the_rings_is_survived() {
    for seed in 1..30u64 {
        let socket = Socket::new();
        thread::scope(|scope| {
            let (done, is_done) = channel();
            let socket = &socket;
            scope.spawn(move || {
                let mut peer = socket.accept();
                // It is good until our side has checked all frames.
                peer.serve(|_| is_done.try_recv().is_ok());
                let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                for _ in 0..200 {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    let ring = peer.rings[&((random >> 60 & 1) as u32)];
                    let start = [ring.desc, ring.avail, ring.used][(random >> 50) as usize % 3];
                    peer.store(
                        start + (random >> 8) % 120,
                        &random.to_le_bytes()[..1 + (random >> 40) as usize % 8],
                    );
                }
            });
            let mut rig = Rig::start(Rig::open(&socket.path, OPTIONS));
            rig.await_link(true);
            rig.exchange(20);
            done.send(()).unwrap();
            rig.poll(
                |frame| assert!(frame.len() <= 1518),
                |rig| {
                    rig.send();
                    !rig.port.link().up
                },
            );
            assert_eq!(rig.stop(), (0, true));
        });
    }
}

/// It has stopped answering, with buffers, and writes to them for ever.
#[test]
fn buffers_of_a_back_end_that_does_not_let_go_are_kept_from_everybody() {
    let socket = Socket::new();
    thread::scope(|scope| {
        // In here, so that a failure ends the other side too.
        let (idle, is_idle) = channel();
        let (had, to_us) = channel();
        let (stopped, has_stopped) = channel();
        let (wrote, has_written) = channel();
        let (seen, is_seen) = channel::<()>();
        let socket = &socket;
        scope.spawn(move || {
            let mut peer = socket.accept();
            peer.serve(|_| is_idle.try_recv().is_ok());
            let buffers = peer.held(0);
            had.send(buffers.len()).unwrap();
            // It neither answers nor hangs up.
            has_stopped.recv().unwrap();
            buffers.iter().for_each(|buffer| peer.write(*buffer, 0xee));
            wrote.send(()).unwrap();
            let _ = is_seen.recv();
        });
        let mut rig = Rig::start(Rig::open(&socket.path, OPTIONS));
        rig.await_link(true);
        rig.exchange(20);
        rig.poll(|_| (), |rig| rig.queues.tx[0].in_flight() == 0);
        idle.send(()).unwrap();
        let held = to_us.recv().unwrap();
        assert!(held > 0);
        let pool = rig.pool.clone();
        assert_eq!(rig.stop(), (held, false));
        let mut cache = pool.cache();
        let mut ours: Vec<_> = std::iter::from_fn(|| cache.alloc()).collect();
        assert_eq!(ours.len(), PACKETS - held, "all others are to be had");
        ours.iter_mut()
            .for_each(|packet| assert!(packet.set(&[0x11; 1500])));
        stopped.send(()).unwrap();
        has_written.recv().unwrap();
        assert!(ours.iter().all(|packet| packet[..] == [0x11; 1500]));
        drop(seen);
    });
}
