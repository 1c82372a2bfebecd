//! Frames, rings and bursts.

use crate::lane::same;
use crate::{Lane, Patience, Subject, pool, skip};
use barline::pool::Batch;

pub fn every_length_both_ways(subject: &dyn Subject) {
    let mut lane = Lane::up(subject);
    let (mac, window) = (lane.mac, lane.window());
    lane.echo(1455, 32, window, |n| crate::frame(mac, 60 + n as usize, n));
    lane.end();
}

pub fn data_at_every_offset_is_sent(subject: &dyn Subject) {
    let mut lane = Lane::up(subject);
    for offset in 0..130 {
        let frame = lane.frame(61 + offset, offset as u64);
        let mut packet = lane.packet(&[]);
        let headroom = packet.headroom();
        if offset <= headroom {
            assert!(packet.set(&frame[offset..]));
            let front = packet.prepend(offset).expect("headroom");
            front.copy_from_slice(&frame[..offset]);
        } else {
            assert!(packet.set(&[&[0xaa; 130][..offset], &frame].concat()));
            packet.trim_front(offset).expect("long enough");
        }
        let mut batch = Batch::new();
        batch.push(packet).expect("room");
        lane.transmit(0, &mut batch);
        same(&lane.take(1)[0], &frame);
    }
    lane.end();
}

pub fn bursts_of_any_size_wrap_rings_of_any_length(subject: &dyn Subject) {
    let (least, most) = {
        let port = subject.bench(1).pop().map(|station| (station.open)());
        port.expect("a station").expect("opens").caps().ring
    };
    let pool = pool(2 * most as usize + 2048);
    for (ring, bursts) in [
        (least, &[1, 2, 3, 5, 7, 11, 13, 17, 31, 33, 61, 63, 64][..]),
        (512, &[1, 7, 31, 33, 64]),
        (most, &[3, 61]),
    ] {
        for burst in bursts {
            let mut lane = Lane::over(subject, &pool, |config| {
                (config.rx_ring, config.tx_ring) = (ring, ring);
            });
            let (mac, window) = (lane.mac, lane.window());
            let count = u64::from(ring) * 2 + 2 * *burst as u64 + 3;
            lane.echo(count, *burst, window, |n| {
                crate::frame(mac, 60 + (n % 200) as usize, n)
            });
            lane.end();
        }
    }
}

pub fn a_full_transmit_ring_leaves_the_rest(subject: &dyn Subject) {
    let mut lane = Lane::with(subject, |config| config.tx_ring = 128);
    if !lane.far.hold(true) {
        return skip("the back end cannot hold the device");
    }
    let (mut sent, mut left) = (0u64, Batch::new());
    for round in 0..6 {
        let frames: Vec<_> = (0..left.room() as u64)
            .map(|n| lane.frame(80, sent + left.len() as u64 + n))
            .collect();
        let mut batch = lane.batch(&frames);
        while let Some(packet) = batch.pop() {
            left.push(packet).expect("room");
        }
        let had = left.len();
        let took = lane.tx[0].transmit(&mut lane.cache, &mut left);
        assert_eq!(took + left.len(), had, "round {round}");
        if let Some(first) = left.as_slice().first() {
            assert_eq!(
                crate::number(first),
                sent + took as u64,
                "what is left is in order"
            );
        }
        sent += took as u64;
    }
    // A ring that is nearly full is no full ring.
    assert!((120..=128).contains(&sent), "{sent}");
    assert_eq!((left.len(), lane.tx[0].in_flight()), (64, sent as usize));
    assert!(lane.tx_sum("tx_full") >= 4);
    lane.far.hold(false);
    let all = sent + left.len() as u64;
    lane.transmit(0, &mut left);
    for (n, frame) in (0..all).zip(lane.take(all as usize)) {
        same(&frame, &lane.frame(80, n));
    }
    lane.end();
}

pub fn every_packet_taken_is_on_the_wire_or_in_a_counter(subject: &dyn Subject) {
    let mut lane = Lane::up(subject);
    let whole = lane.frame(1514, 0);
    let mut offered = 0;
    for len in (0..60).chain([100]) {
        let mut batch = lane.batch(&[whole[..len].to_vec()]);
        lane.tx[0].transmit(&mut lane.cache, &mut batch);
        offered += 1;
        assert!(batch.is_empty());
        let (sent, dropped) = (lane.tx_sum("tx_packets"), lane.tx_sum("tx_lengths"));
        assert_eq!(sent + dropped, offered, "{len} bytes");
    }
    let sent = lane.tx_sum("tx_packets");
    assert!(sent >= 44, "what has 17 bytes or more can be padded: {sent} sent");
    let frames = lane.take(sent as usize);
    assert!(frames.iter().all(|frame| frame.len() >= 60));
    same(frames.last().map_or(&[], Vec::as_slice), &whole[..100]);
    lane.end();
}

pub fn no_register_is_read_and_one_doorbell_serves_a_burst(subject: &dyn Subject) {
    let mut lane = Lane::up(subject);
    let Some(mut last) = lane.far.costs() else {
        return skip("the back end does not count register accesses");
    };
    let mut check = |lane: &Lane, most: u64, what: &str| {
        let now = lane.far.costs().unwrap_or_default();
        assert_eq!(now.reads, last.reads, "{what}: registers were read");
        let (writes, doorbells) = (now.writes - last.writes, now.doorbells - last.doorbells);
        assert!(doorbells <= most, "{what}: {doorbells} doorbells, {most} at most");
        assert_eq!(
            writes, doorbells,
            "{what}: registers other than doorbells were written"
        );
        last = now;
    };
    let mut batch = Batch::new();
    for _ in 0..100 {
        lane.rx[0].receive(&mut lane.cache, &mut batch);
        lane.tx[0].transmit(&mut lane.cache, &mut batch);
        lane.tx[0].reclaim(&mut lane.cache);
        check(&lane, 0, "idle");
    }
    let mut n = 0;
    for burst in (1..=64).cycle().take(500) {
        for _ in 0..burst {
            lane.inject(&lane.frame(60, n));
            n += 1;
        }
        let mut got = 0;
        let patience = Patience::new();
        while got < burst {
            let now = lane.rx[0].receive(&mut lane.cache, &mut batch);
            check(&lane, 1, "receive");
            got += now;
            if now == 0 {
                patience.wait("frames");
            }
        }
        let had = batch.len();
        let sent = lane.tx[0].transmit(&mut lane.cache, &mut batch);
        check(&lane, u64::from(sent > 0), "transmit");
        assert_eq!(sent, had);
        lane.tx[0].reclaim(&mut lane.cache);
        check(&lane, 0, "reclaim");
        lane.take(burst);
    }
    let mut nothing = lane.batch(&[Vec::new(), Vec::new()]);
    lane.tx[0].transmit(&mut lane.cache, &mut nothing);
    check(&lane, 0, "only packets that cannot be sent");
    if lane.far.hold(true) {
        for n in 0..10 {
            let frames: Vec<_> = (0..64).map(|_| lane.frame(60, n)).collect();
            let mut batch = lane.batch(&frames);
            let sent = lane.tx[0].transmit(&mut lane.cache, &mut batch);
            check(&lane, u64::from(sent > 0), "a ring that fills up");
        }
        lane.far.hold(false);
    }
    lane.end();
}

pub fn nothing_stays_held_when_idle(subject: &dyn Subject) {
    let mut lane = Lane::up(subject);
    for n in 0..31 {
        let frame = lane.frame(60, n);
        let mut batch = lane.batch(&[frame]);
        lane.tx[0].transmit(&mut lane.cache, &mut batch);
    }
    lane.take(31);
    let patience = Patience::new();
    while lane.tx[0].in_flight() > 0 {
        lane.tx[0].reclaim(&mut lane.cache);
        patience.wait("packets that were sent to come back");
    }
    lane.cache.flush();
    let posted = lane.config.rx_ring as usize;
    assert!(lane.pool.available() >= lane.pool.packets() - posted);
    lane.end();
}
