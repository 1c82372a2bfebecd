//! Two devices on one wire, driven from two threads.

mod common;

use barline_sim::{Mode, Wire};
use common::{Rig, data, frame};
use std::sync::Barrier;
use std::time::{Duration, Instant};

const FRAMES: u32 = 150_000;
/// How far sending may be ahead of receiving. Up to twice as many are in flight each way (both sides may be ahead
/// of each other): fewer than a ring, so that none may be lost.
const WINDOW: u32 = 24;
const LIMIT: Duration = Duration::from_secs(120);

const LEFT: [u8; 6] = [2, 0, 0, 0, 0, 0x11];
const RIGHT: [u8; 6] = [2, 0, 0, 0, 0, 0x22];

/// Sends `FRAMES` numbered frames and takes as many: at most `WINDOW` ahead of what came back.
fn play(rig: &mut Rig, to: [u8; 6]) -> Result<(), String> {
    let (mut sent, mut received) = (0u32, 0u32);
    let mut packet = frame(to, 60, 0);
    let start = Instant::now();
    while received < FRAMES || sent < FRAMES {
        let mut posted = false;
        while sent < FRAMES && sent < received + WINDOW {
            packet[20..24].copy_from_slice(&sent.to_be_bytes());
            rig.put(0, &packet, data(60));
            (sent, posted) = (sent + 1, true);
        }
        if posted {
            rig.ring(0);
        }
        let mut got = 0;
        while let Some(frame) = rig.take(0) {
            let number =
                u32::from_be_bytes([frame.frame[20], frame.frame[21], frame.frame[22], frame.frame[23]]);
            if number != received {
                return Err(format!("{number} where {received} was due"));
            }
            (received, got) = (received + 1, got + 1);
        }
        if got > 0 {
            rig.post(0, got);
        } else {
            std::thread::yield_now();
        }
        if start.elapsed() > LIMIT {
            return Err(format!("stuck: {sent} sent, {received} received of {FRAMES}"));
        }
    }
    Ok(())
}

fn both_ways(mode: Mode) {
    let (a, b) = Wire::pair();
    let watches = [a.watch(), b.watch()];
    let mut rigs = [Rig::with(a, LEFT, mode), Rig::with(b, RIGHT, mode)];
    rigs.iter_mut().for_each(|rig| rig.start(1));
    let barrier = Barrier::new(2);
    let [left, right] = &mut rigs;
    std::thread::scope(|scope| {
        let sides = [(left, RIGHT), (right, LEFT)];
        let threads: Vec<_> = sides
            .into_iter()
            .map(|(rig, to)| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    play(rig, to)
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap().unwrap();
        }
    });
    for rig in &rigs {
        rig.assert_clean();
        assert_eq!(
            rig.read(0x40A0) + rig.read(0x4010),
            0,
            "none waited for a descriptor"
        );
        assert_eq!((rig.read(0x4074), rig.read(0x4080)), (FRAMES, FRAMES));
    }
    assert_eq!(
        watches.map(|watch| (watch.dropped(), watch.queued())),
        [(0, 0); 2]
    );
}

#[test]
fn two_callers_in_both_directions_lose_nothing() {
    both_ways(Mode::Sync);
}

#[test]
fn two_device_threads_lose_nothing_and_stop() {
    both_ways(Mode::Thread);
}
