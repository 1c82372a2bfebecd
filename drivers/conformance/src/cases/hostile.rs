//! A device that lies in what it writes back.

use crate::{Lane, Spoil, Subject, pool, skip};
use barline::pool::Packet;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::HashSet;

/// Receives what there is; every slice must lie in a buffer of its own. Writing to all of it must harm nobody.
fn look(lane: &mut Lane, held: &mut Vec<Packet>) {
    let room = lane.pool.data_room();
    for (_, mut packet) in lane.poll() {
        assert!(!packet.is_empty() && packet.len() <= room);
        assert_eq!(packet.headroom(), lane.pool.headroom());
        assert_eq!(
            packet.headroom() + packet.len() + packet.tailroom(),
            lane.pool.buffer_len()
        );
        packet.fill(0xee);
        held.push(packet);
    }
    let places: HashSet<_> = held.iter().map(|packet| packet.as_ptr() as usize).collect();
    assert_eq!(places.len(), held.len(), "one buffer in two packets");
}

pub fn any_length_written_back_is_survived(subject: &dyn Subject) {
    let mut lane = Lane::up(subject);
    if !lane.far.spoil(Spoil::Length(0)) {
        return skip("the back end cannot spoil a write-back");
    }
    let room = lane.pool.data_room() as u16;
    let near = |len: u16| len.saturating_sub(3)..=len.saturating_add(3);
    let lens: Vec<u16> = near(0)
        .chain(near(60))
        .chain(near(1024))
        .chain(near(2048))
        .chain(near(room))
        .chain(near(u16::MAX))
        .chain((0..u16::MAX).step_by(499))
        .collect();
    // The first is spoiled already.
    lane.inject(&lane.frame(60, 0));
    let mut held = Vec::new();
    for len in &lens {
        lane.far.spoil(Spoil::Length(*len));
        lane.inject(&lane.frame(60, 1));
        look(&mut lane, &mut held);
        held.drain(..held.len().saturating_sub(20));
    }
    let patience = crate::Patience::new();
    let all = lens.len() as u64 + 1;
    while lane.rx_sum("rx_packets") + lane.rx_sum("rx_lengths") < all {
        look(&mut lane, &mut held);
        held.clear();
        patience.wait("every length in one of two counters");
    }
    let longest = match subject.nature().limits_lengths {
        true => lane.config.max_frame() as u16,
        false => room,
    };
    let good = lens.iter().filter(|len| (1..=longest).contains(len)).count();
    assert_eq!(lane.rx_sum("rx_packets"), good as u64);
    // And the ring goes on.
    held.clear();
    let mac = lane.mac;
    lane.echo(300, 32, 64, |n| crate::frame(mac, 60, n));
    lane.end();
}

pub fn anything_written_back_is_survived(subject: &dyn Subject) {
    // Words, and whether each is XORed with what the device would have written (mostly plausible) or put in its
    // place (mostly not).
    let word = (any::<[u64; 2]>(), any::<u64>(), 0u8..4);
    let script = proptest::collection::vec(word, 1..150);
    let config = Config {
        cases: 24,
        failure_persistence: None,
        ..Config::default()
    };
    let shared = pool(1024);
    let result = TestRunner::new(config).run(&script, |script| {
        let mut lane = Lane::over(subject, &shared, |config| config.rx_ring = 64);
        let mut held = Vec::new();
        for (n, (words, mask, how)) in (0..).zip(script) {
            let spoiled = lane.far.spoil(Spoil::Words(Box::new(move |real| match how {
                0 => *real = words,
                1 => real[1] ^= words[1] & mask,
                2 => *real = [words[0], real[1] ^ (words[1] & mask & !3)],
                _ => {}
            })));
            if !spoiled {
                skip("the back end cannot spoil a write-back");
                break;
            }
            lane.inject(&lane.frame(60 + n as usize, n));
            look(&mut lane, &mut held);
            if held.len() > 200 {
                held.clear();
            }
            let frame = lane.frame(60, n);
            let mut batch = lane.batch(&[frame]);
            lane.tx[0].transmit(&mut lane.cache, &mut batch);
            while lane.far.take().is_some() {}
        }
        look(&mut lane, &mut held);
        drop(held);
        lane.end();
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
