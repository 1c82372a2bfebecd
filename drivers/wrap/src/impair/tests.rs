use super::*;
use crate::Wrapped;
use barline::pool::{Batch, Pool, PoolCache};
use barline::port::{Port, PortConfig, Queues};
use barline_null::Loopback;
use std::collections::BTreeMap;

/// Number, time of arrival, and whether it was whole.
type Got = Vec<(u32, u64, bool)>;

struct Line {
    clock: Arc<Clock>,
    pool: Pool,
    cache: PoolCache,
    port: Wrapped,
    queues: Queues,
    got: Got,
}

impl Line {
    fn new(how: Impairment) -> Self {
        let clock = Clock::virtual_until(Duration::from_secs(100));
        let pool = Pool::builder().packets(1 << 14).build().unwrap();
        let wrapper = Impair::with_clock(how, clock.clone());
        let mut port = Wrapped::new(Box::new(Loopback::new()), Box::new(wrapper));
        let queues = port.start(&PortConfig::new(&pool)).unwrap();
        let cache = pool.cache();
        Self {
            clock,
            pool,
            cache,
            port,
            queues,
            got: Vec::new(),
        }
    }

    fn now(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    fn send(&mut self, number: u32) {
        let mut batch = Batch::new();
        let mut packet = self.cache.alloc().unwrap();
        assert!(packet.set(&number.to_be_bytes().repeat(15)));
        batch.push(packet).unwrap();
        assert_eq!(self.queues.tx[0].transmit(&mut self.cache, &mut batch), 1);
        self.take();
    }

    fn pass(&mut self, ns: u64) {
        self.clock.pass(Duration::from_nanos(ns));
        self.queues.tx[0].reclaim(&mut self.cache);
        self.take();
    }

    fn take(&mut self) {
        let (mut batch, now) = (Batch::new(), self.now());
        while self.queues.rx[0].receive(&mut self.cache, &mut batch) > 0 {
            for packet in batch.as_slice() {
                let number = u32::from_be_bytes(*packet.first_chunk().unwrap());
                let whole = packet
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .all(|word| *word == number.to_be_bytes());
                self.got.push((number, now, whole));
            }
            self.cache.free(&mut batch);
        }
    }

    fn end(mut self) -> (Got, BTreeMap<&'static str, u64>) {
        let mut counts = BTreeMap::new();
        self.port
            .counters(&mut |name, value| _ = counts.insert(name, value));
        let taken = self.queues.tx[0].counters().tx_packets.get();
        let held = self.queues.tx[0].in_flight() as u64;
        let count = |name| counts.get(name).copied().unwrap_or(0);
        let through =
            taken + count("impair_doubled") - count("impair_lost") - count("impair_overflow") - held;
        assert_eq!(self.got.len() as u64, through, "{counts:?}");
        self.port.stop(self.queues).unwrap();
        drop(self.cache);
        assert_eq!(self.pool.available(), 1 << 14);
        (self.got, counts)
    }
}

#[test]
fn what_comes_out_is_what_the_counters_say() {
    let how = Impairment {
        loss: 50_000,
        duplicate: 40_000,
        reorder: 30_000,
        corrupt: 20_000,
        delay: Duration::from_micros(50),
        seed: 7,
        ..Impairment::default()
    };
    let mut line = Line::new(how);
    for number in 0..5000 {
        line.send(number);
        line.pass(1000);
    }
    (0..1200).for_each(|_| line.pass(1000));
    let (got, counts) = line.end();
    let times = |number| got.iter().filter(|one| one.0 == number).count();
    let whole: Vec<_> = got.iter().filter(|one| one.2).collect();
    assert!(
        counts.values().filter(|count| **count > 50).count() == 4,
        "{counts:?}"
    );
    assert!(got.len() - whole.len() >= counts["impair_corrupted"] as usize);
    let lost = (0..5000).filter(|number| times(*number) == 0).count() as u64;
    // A frame whose number was damaged is found under another one.
    assert!(lost.abs_diff(counts["impair_lost"]) <= counts["impair_corrupted"]);
    let late: Vec<u64> = whole.iter().map(|one| one.1 - u64::from(one.0) * 1000).collect();
    assert!(late.iter().all(|late| (50_000..1_100_000).contains(late)));
    assert!(late.iter().filter(|late| **late == 50_000).count() > 4500);
    let turned = whole.windows(2).filter(|pair| pair[1].0 < pair[0].0).count() as u64;
    assert!(
        turned <= counts["impair_reordered"] && turned + 150 > counts["impair_reordered"],
        "{turned} {counts:?}"
    );
}

#[test]
fn a_ceiling_lets_its_rate_through_and_keeps_so_many() {
    // 1 Mpps behind a buffer of 8, offered 2 Mpps.
    let how = Impairment {
        rate: 1e6,
        buffer: 8,
        ..Impairment::default()
    };
    let mut line = Line::new(how);
    for number in 0..10_000 {
        line.send(number);
        line.pass(500);
    }
    line.pass(100_000);
    let (got, counts) = line.end();
    assert_eq!(got.len() as u64 + counts["impair_overflow"], 10_000);
    assert!((5000..=5009).contains(&got.len()), "{}", got.len());
    // A burst at once: as many as there is room for.
    let mut line = Line::new(how);
    (0..20).for_each(|number| line.send(number));
    line.pass(1_000_000);
    assert_eq!(line.end().0.len(), 8);
}

#[test]
fn one_that_does_nothing_is_not_there() {
    let mut impair = Impair::new(Impairment::default());
    let pool = Pool::builder().packets(64).build().unwrap();
    let mut port = Loopback::new();
    let queues = port
        .start(&PortConfig {
            tx_ring: 16,
            ..PortConfig::new(&pool)
        })
        .unwrap();
    let tx = queues.tx.into_iter().next().unwrap();
    let before = format!("{tx:?}");
    assert_eq!(format!("{:?}", impair.tx(0, tx)), before);
}

#[test]
fn text_is_read_and_slips_are_answered() {
    let mut how = Impairment::default();
    for (key, value) in [
        ("loss", "0.5%"),
        ("delay", "50us"),
        ("rate", "3.7Mpps"),
        ("buffer", "512"),
        ("seed", "3"),
    ] {
        how.set(key, value).unwrap();
    }
    assert_eq!(
        (how.loss, how.delay.as_micros(), how.rate, how.buffer),
        (5000, 50, 3.7e6, 512)
    );
    for (key, value) in [
        ("loss", "2"),
        ("loss", "101%"),
        ("delay", "5"),
        ("rate", "3"),
        ("buffer", "0"),
        ("los", "1%"),
    ] {
        assert!(how.set(key, value).is_err(), "{key}={value}");
    }
}
