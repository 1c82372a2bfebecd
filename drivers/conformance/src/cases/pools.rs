//! Pools that are empty, second, foreign, shared.

use crate::lane::same;
use crate::{Lane, Patience, Subject, pool};
use barline::pool::{Batch, Packet, Pool};

pub fn an_empty_pool_shortens_the_ring_which_recovers(subject: &dyn Subject) {
    const PACKETS: usize = 300;
    let pool = pool(PACKETS);
    let mut lane = Lane::over(subject, &pool, |_| {});
    let mut held: Vec<Packet> = Vec::new();
    let patience = Patience::new();
    let mut n = 0;
    while held.len() < PACKETS {
        for _ in 0..16.min(PACKETS - n as usize) {
            lane.inject(&lane.frame(60, n));
            n += 1;
        }
        held.extend(lane.poll().into_iter().map(|(_, packet)| packet));
        patience.wait("the pool to run empty");
    }
    for (packet, n) in held.iter().zip(0..) {
        same(packet, &lane.frame(60, n));
    }
    for _ in 0..10 {
        assert!(lane.poll().is_empty());
    }
    assert!(lane.rx_sum("rx_no_buffer") > 0 && pool.starved() > 0);
    assert!(lane.cache.alloc().is_none());
    // Three ways home: by the cache, by drop, by another thread.
    for (at, packet) in held.drain(..).enumerate() {
        match at % 3 {
            0 => lane.cache.free_one(packet),
            1 => drop(packet),
            _ => std::thread::spawn(move || drop(packet)).join().expect("a drop"),
        }
    }
    let mac = lane.mac;
    assert!(lane.poll().is_empty());
    lane.echo(2000, 32, 64, |n| crate::frame(mac, 60, n));
    lane.end();
}

fn packet_of(pool: &Pool, frame: &[u8]) -> Packet {
    let mut packet = pool.alloc().expect("a packet");
    assert!(packet.set(frame));
    packet
}

pub fn packets_of_a_second_pool_are_sent_and_come_home(subject: &dyn Subject) {
    let second = pool(256);
    let mut lane = Lane::with(subject, |config| config.send_pools = vec![second.clone()]);
    let mut batch = Batch::new();
    for n in 0..3000 {
        let frame = lane.frame(60 + n as usize % 100, n);
        // Runs of both kinds, of several lengths.
        let packet = if n / 7 % 2 == 0 {
            packet_of(&second, &frame)
        } else {
            lane.packet(&frame)
        };
        batch.push(packet).expect("room");
        if batch.room() == 0 || n % 23 == 0 {
            let had = batch.len();
            assert_eq!(lane.transmit(0, &mut batch), had);
        }
        while lane.tx[0].in_flight() > 100 {
            lane.tx[0].reclaim(&mut lane.cache);
            std::thread::yield_now();
        }
    }
    lane.transmit(0, &mut batch);
    for (n, frame) in (0..).zip(lane.take(3000)) {
        same(&frame, &lane.frame(60 + n as usize % 100, n));
    }
    assert_eq!(lane.tx_sum("tx_unmapped"), 0);
    let patience = Patience::new();
    while lane.tx[0].in_flight() > 0 {
        lane.tx[0].reclaim(&mut lane.cache);
        patience.wait("packets to come home");
    }
    assert_eq!(second.available(), 256);
    // And once more, left in the ring when the port stops.
    lane.far.hold(true);
    for n in 0..40 {
        let mut batch = Batch::new();
        batch.push(packet_of(&second, &lane.frame(60, n))).expect("room");
        lane.tx[0].transmit(&mut lane.cache, &mut batch);
    }
    lane.end();
}

pub fn packets_of_an_unmapped_pool_are_dropped_and_counted(subject: &dyn Subject) {
    let stranger = pool(64);
    let mut lane = Lane::up(subject);
    let mut batch = Batch::new();
    for n in 0..30 {
        let frame = lane.frame(60, n);
        let packet = if n % 3 == 0 {
            packet_of(&stranger, &frame)
        } else {
            lane.packet(&frame)
        };
        batch.push(packet).expect("room");
    }
    assert_eq!(lane.tx[0].transmit(&mut lane.cache, &mut batch), 20);
    assert!(batch.is_empty());
    assert_eq!((lane.tx_sum("tx_packets"), lane.tx_sum("tx_unmapped")), (20, 10));
    assert_eq!(stranger.available(), 64);
    let numbers: Vec<_> = lane.take(20).iter().map(|frame| crate::number(frame)).collect();
    assert_eq!(numbers, (0..30).filter(|n| n % 3 != 0).collect::<Vec<_>>());
    lane.end();
}

pub fn empty_and_long_packets_are_dropped_and_counted(subject: &dyn Subject) {
    let mut lane = Lane::up(subject);
    let lens = [0, 60, 1519, 1514, 2000, 0, 0, 61, 2112, 62];
    let frames: Vec<_> = lens.iter().map(|len| vec![0x02; *len]).collect();
    let mut batch = lane.batch(&frames);
    assert_eq!(lane.tx[0].transmit(&mut lane.cache, &mut batch), 4);
    assert!(batch.is_empty());
    assert_eq!((lane.tx_sum("tx_packets"), lane.tx_sum("tx_lengths")), (4, 6));
    assert_eq!(lane.tx_sum("tx_bytes"), 60 + 1514 + 61 + 62);
    let lens: Vec<_> = lane.take(4).iter().map(Vec::len).collect();
    assert_eq!(lens, [60, 1514, 61, 62]);
    lane.end();
}

pub fn two_ports_share_a_pool(subject: &dyn Subject) {
    let pool = pool(4096);
    let mut lanes: Vec<_> = subject
        .bench(2)
        .into_iter()
        .map(|station| Lane::at(station, &pool, |_| {}))
        .collect();
    let (mac, mut batch) = (lanes[0].mac, Batch::with_burst(32));
    let (mut injected, mut taken) = (0, 0);
    let mut patience = Patience::new();
    // In at one, out at the other: its buffers come home through the other's transmit ring.
    while taken < 20_000 {
        while injected < 20_000 && injected - taken < 200 {
            lanes[0].inject(&crate::frame(mac, 60, injected));
            injected += 1;
        }
        let [one, other] = &mut lanes[..] else {
            panic!("two lanes")
        };
        one.rx[0].receive(&mut one.cache, &mut batch);
        other.tx[0].transmit(&mut one.cache, &mut batch);
        while let Some(frame) = other.far.take() {
            same(&frame, &crate::frame(mac, 60, taken));
            taken += 1;
            patience.renew();
        }
        patience.wait("frames to pass");
    }
    drop(batch);
    for lane in &mut lanes {
        lane.stop().expect("stops");
        lane.cache.flush();
    }
    lanes.into_iter().for_each(Lane::gone);
    assert_eq!(pool.available(), pool.packets());
}
