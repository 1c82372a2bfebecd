//! Several queues, several threads.

use crate::frames::udp_parts;
use crate::{Lane, Patience, Subject, pool, skip, udp};
use barline::pool::Batch;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// A lane of `n` queues each way, where the port has so many.
fn lane(subject: &dyn Subject, n: u16) -> Option<Lane> {
    let station = subject.bench(1).pop()?;
    let caps = (station.open)().expect("opens").caps().clone();
    if caps.rx_queues < n || caps.tx_queues < n {
        skip("the port has too few queues");
        return None;
    }
    Some(Lane::at(station, &pool(8192), |config| {
        (config.rx_queues, config.tx_queues) = (n, n);
    }))
}

pub fn flows_spread_over_queues_and_stay_in_one(subject: &dyn Subject) {
    const FLOWS: u32 = 128;
    for queues in [1, 2, 4] {
        let Some(mut lane) = lane(subject, queues) else {
            return;
        };
        let mut home = BTreeMap::new();
        let mut next = vec![0u64; FLOWS as usize];
        for number in 0..8 {
            for lot in (0..FLOWS).collect::<Vec<_>>().chunks(32) {
                lot.iter()
                    .for_each(|flow| lane.inject(&udp(lane.mac, *flow * 7919, number)));
                let mut got = 0;
                let patience = Patience::new();
                while got < lot.len() {
                    let packets = lane.poll();
                    got += packets.len();
                    for (queue, packet) in packets {
                        let (flow, number) = udp_parts(&packet);
                        let flow = flow / 7919;
                        assert_eq!(
                            *home.entry(flow).or_insert(queue),
                            queue,
                            "flow {flow} is in two queues"
                        );
                        assert_eq!(next[flow as usize], number, "flow {flow} is out of order");
                        next[flow as usize] += 1;
                    }
                    patience.wait("flows");
                }
            }
        }
        assert_eq!(home.len(), FLOWS as usize);
        let mut load = vec![0; queues.into()];
        home.values().for_each(|queue| load[*queue] += 1);
        let fair = FLOWS / u32::from(queues);
        assert!(
            load.iter().all(|flows| *flows >= fair / 2),
            "{FLOWS} flows over {queues} queues: {load:?}"
        );
        lane.end();
    }
}

pub fn a_queue_works_on_another_thread(subject: &dyn Subject) {
    let mut lane = Lane::up(subject);
    for round in 0..4 {
        let there = std::thread::spawn(move || {
            let (mac, window) = (lane.mac, lane.window());
            lane.echo(300, 32, window, |n| crate::frame(mac, 60 + n as usize, round + n));
            lane
        });
        lane = there.join().expect("the other thread's checks");
    }
    lane.end();
}

pub fn queues_work_on_two_threads_at_once(subject: &dyn Subject) {
    const FRAMES: u64 = 20_000;
    let Some(mut lane) = lane(subject, 2) else { return };
    let echoed = AtomicU64::new(0);
    let (rx, tx) = (std::mem::take(&mut lane.rx), std::mem::take(&mut lane.tx));
    let back = std::thread::scope(|scope| {
        let workers: Vec<_> = rx
            .into_iter()
            .zip(tx)
            .map(|(mut rx, mut tx)| {
                let (mut cache, echoed) = (lane.pool.cache(), &echoed);
                scope.spawn(move || {
                    let mut batch = Batch::with_burst(32);
                    let (mut idle, mut seen) = (Patience::new(), 0);
                    while echoed.load(Ordering::Relaxed) < FRAMES {
                        rx.receive(&mut cache, &mut batch);
                        tx.transmit(&mut cache, &mut batch);
                        let all = echoed.load(Ordering::Relaxed);
                        if all != seen {
                            (idle, seen) = (Patience::new(), all);
                        }
                        idle.wait("frames on any queue");
                    }
                    (rx, tx)
                })
            })
            .collect();
        let (mut injected, mut next, mut idle) = (0, BTreeMap::new(), Patience::new());
        while echoed.load(Ordering::Relaxed) < FRAMES {
            while injected < FRAMES && injected - echoed.load(Ordering::Relaxed) < 128 {
                lane.inject(&udp(lane.mac, (injected % 64) as u32 * 7919, injected));
                injected += 1;
            }
            while let Some(frame) = lane.far.take() {
                let (flow, number) = udp_parts(&frame);
                let last = next.insert(flow, number);
                assert!(
                    last.is_none_or(|last| last + 64 == number),
                    "lost or out of order"
                );
                echoed.fetch_add(1, Ordering::Relaxed);
                idle.renew();
            }
            idle.wait("frames to come back");
        }
        workers
            .into_iter()
            .map(|worker| worker.join().expect("a worker's checks"))
            .collect::<Vec<_>>()
    });
    for (rx, tx) in back {
        assert!(rx.counters().rx_packets.get() > 0, "a queue without work");
        lane.rx.push(rx);
        lane.tx.push(tx);
    }
    assert_eq!(
        (lane.rx_sum("rx_packets"), lane.tx_sum("tx_packets")),
        (FRAMES, FRAMES)
    );
    lane.end();
}

pub fn every_transmit_queue_sends(subject: &dyn Subject) {
    let Some(mut lane) = lane(subject, 4) else { return };
    for n in 0..400 {
        let frame = lane.frame(60, n);
        let mut batch = lane.batch(&[frame]);
        lane.transmit((n % 4) as usize, &mut batch);
        crate::lane::same(&lane.take(1)[0], &lane.frame(60, n));
    }
    for queue in &lane.tx {
        assert_eq!(queue.counters().tx_packets.get(), 100);
    }
    lane.end();
}
