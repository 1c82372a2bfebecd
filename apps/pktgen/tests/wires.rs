//! Through l2fwd's packet path and over simulated wires, on a time that the test moves: what is done to frames on purpose is
//! what is measured, to the packet and to the histogram's bucket.

use barline::pool::{Batch, Pool, PoolCache};
use barline::port::{LinkRequest, Port, PortConfig, Queues};
use barline_drivers::{Feed, Opened, Opener, PortSpec};
use barline_modes::{Addresses, Lane, Tally, mac};
use barline_sim::Clock;
use barline_traffic::{
    Analyser, Buckets, FlowState, Generator, Pacer, Rate, Receiver, Sender, Shape, Snapshot, Stream,
    StreamConfig,
};
use barline_wrap::{Impair, Impairment, Wrapped};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Packets of each direction.
const COUNT: u64 = 4000;
/// Nanoseconds between two rounds of the poll loop, and between two packets.
const STEP: u64 = 1000;
const GAP: u64 = 10 * STEP;
/// A whole number of rounds, so that nothing but the delay is in the latency.
const DELAY: u64 = 300 * STEP;
/// How long the impairment keeps a packet that is to be overtaken and that nothing follows.
const PATIENCE: u64 = 1_000_000;

struct End {
    port: Box<dyn Port>,
    queues: Queues,
}

/// A tester's two ports, and the forwarder's two at the other ends of their cables.
struct World {
    time: Arc<Clock>,
    pool: Pool,
    cache: PoolCache,
    tester: [End; 2],
    forwarder: [End; 2],
    sides: [(Sender, Receiver); 2],
    place: usize,
}

impl World {
    /// The tester's ports impair what they send.
    fn new(model: &str, how: [Impairment; 2]) -> Self {
        let time = Clock::virtual_until(Duration::from_secs(1000));
        let pool = Pool::builder().packets(1 << 14).build().unwrap();
        let names = format!("{model},wire=a,{model},wire=b,{model},wire=a,{model},wire=b");
        let mut opener = Opener::new(Feed::Silence);
        let mut opened: Vec<Opened> = PortSpec::parse_list(&names)
            .unwrap()
            .iter()
            .map(|spec| opener.open(spec).unwrap())
            .collect();
        let forwarder = opened.split_off(2);
        let config = PortConfig {
            link: LinkRequest::DoNotWait,
            promiscuous: true,
            rx_ring: 256,
            tx_ring: 256,
            ..PortConfig::new(&pool)
        };
        let start = |mut port: Box<dyn Port>| End {
            queues: port.start(&config).unwrap(),
            port,
        };
        let impaired = |(opened, how): (Opened, Impairment)| {
            let impair = Impair::with_clock(how, time.clone());
            start(Box::new(Wrapped::new(opened.port, Box::new(impair))))
        };
        let ends = |ends: Vec<End>| <[End; 2]>::try_from(ends).ok().unwrap();
        let stream: Stream = StreamConfig::default().compile().unwrap();
        let place = stream.mark.unwrap();
        Self {
            tester: ends(opened.into_iter().zip(how).map(impaired).collect()),
            forwarder: ends(forwarder.into_iter().map(|opened| start(opened.port)).collect()),
            sides: [0, 1].map(|flow| side(&stream, flow)),
            place,
            cache: pool.cache(),
            pool,
            time,
        }
    }

    fn now(&self) -> u64 {
        self.time.elapsed().as_nanos() as u64
    }

    /// One round of everybody's poll loop.
    fn round(&mut self) {
        let now = self.now();
        for (end, (sender, _)) in self.tester.iter_mut().zip(&mut self.sides) {
            sender.poll(&mut *end.queues.tx[0], &mut self.cache, now);
        }
        let mut batch = Batch::new();
        let [one, two] = &mut self.forwarder;
        for (from, to, number) in [(0, 1, 1), (1, 0, 0)] {
            let (from, to) = match from < to {
                true => (&mut *one, &mut *two),
                false => (&mut *two, &mut *one),
            };
            let addresses = Addresses::l2fwd(number, to.port.mac());
            let (rx, tx) = (&mut *from.queues.rx[0], &mut *to.queues.tx[0]);
            let mut tally = Tally::default();
            let lane = Lane {
                rx,
                tx,
                cache: &mut self.cache,
                batch: &mut batch,
            };
            mac(lane, &addresses, &mut tally);
            assert_eq!(tally.full + tally.refused, 0);
            tx.reclaim(&mut self.cache);
        }
        for (end, (_, receiver)) in self.tester.iter_mut().zip(&mut self.sides) {
            while receiver.poll(&mut *end.queues.rx[0], &mut self.cache, || now) > 0 {}
        }
        self.time.pass(Duration::from_nanos(STEP));
    }

    /// Sends everything, waits until nothing is on its way, and takes all down: what came of each direction, and what its
    /// impairment counted.
    fn run(mut self) -> [(FlowState, BTreeMap<&'static str, u64>); 2] {
        let begin = self.now();
        for (sender, _) in &mut self.sides {
            sender.restart(0, Some(COUNT), begin);
        }
        // Flow 0 at one port, flow 1 at the other.
        self.sides[1].0.generator.restart(1);
        while !self.sides.iter_mut().all(|(sender, _)| sender.is_done()) {
            self.round();
        }
        (0..2000).for_each(|_| self.round());
        let mut came = Snapshot::default();
        for (_, receiver) in &self.sides {
            let mut one = Snapshot::default();
            receiver.analyser.snapshot(&mut one);
            came.add(&one);
        }
        assert_eq!((came.damaged, came.foreign, self.place), (0, 0, 42));
        let mut counts = [0, 1].map(|_| BTreeMap::new());
        for (end, counts) in self.tester.iter_mut().zip(&mut counts) {
            end.port
                .counters(&mut |name, value| _ = counts.insert(name, value));
        }
        for End { mut port, queues } in self.tester.into_iter().chain(self.forwarder) {
            port.stop(queues).unwrap();
        }
        drop(self.cache);
        assert_eq!(self.pool.available(), 1 << 14, "packets are missing");
        let mut flows = came.flows.into_iter().map(Option::unwrap_or_default);
        counts.map(|counts| (flows.next().unwrap(), counts))
    }
}

fn side(stream: &Stream, flow: u16) -> (Sender, Receiver) {
    let cost = Rate::Packets(1e9 / GAP as f64).cost(0, 64.0).unwrap();
    let generator = Generator::new(std::slice::from_ref(stream), flow, 0, 1).unwrap();
    let sender = Sender::new(generator, Pacer::new(Shape::Even, cost, 0), 32);
    let analyser = Analyser::new(2, &[stream.mark.unwrap()], Some(0));
    (sender, Receiver::new(analyser, 32))
}

/// How many values are in the bucket that `value` falls into.
fn at(latency: &Buckets, value: u64) -> u64 {
    let mut buckets = latency.filled();
    let found = buckets.find(|(least, most, _)| (*least..=*most).contains(&value));
    found.map_or(0, |(_, _, count)| count)
}

fn check(model: &str, how: Impairment) {
    let second = Impairment {
        seed: how.seed + 1,
        ..how
    };
    for (flow, counts) in World::new(model, [how, second]).run() {
        let count = |name: &str| counts.get(name).copied().unwrap_or(0);
        let (lost, doubled, reordered) = (
            count("impair_lost"),
            count("impair_doubled"),
            count("impair_reordered"),
        );
        let order = flow.order;
        let said = format!("{model} {how:?}: {order:?} {counts:?}");
        assert_eq!(lost > 30, how.loss > 0, "{said}");
        assert_eq!(doubled > 30, how.duplicate > 0, "{said}");
        assert_eq!(reordered > 30, how.reorder > 0, "{said}");
        assert_eq!(COUNT - order.unique, lost, "{said}");
        assert_eq!(order.duplicates, doubled, "{said}");
        assert_eq!((order.reordered, order.stale), (reordered, 0), "{said}");
        assert_eq!(order.extent_max, u64::from(reordered > 0), "{said}");
        // Every packet takes the delay, and one that is overtaken waits for the next besides.
        let delay = how.delay.as_nanos() as u64;
        let came = order.unique + doubled;
        assert_eq!(flow.latency.count(), came, "{said}");
        assert_eq!(flow.latency.summary().min, delay, "{said}");
        // More than one gap where the next was lost.
        let waited: u64 = (1..=3).map(|gaps| at(&flow.latency, delay + gaps * GAP)).sum();
        assert_eq!(waited, reordered, "{said}");
        // Nothing comes behind the last packet, which is let go after a while.
        let last = at(&flow.latency, delay + PATIENCE);
        assert!(last <= u64::from(how.reorder > 0), "{said}");
        assert_eq!(at(&flow.latency, delay), came - reordered - last, "{said}");
    }
}

const MODELS: [&str; 2] = ["sim:82576", "sim:virtio-net"];

fn each(how: Impairment) {
    for model in MODELS {
        check(model, how);
    }
}

const NONE: Impairment = Impairment {
    loss: 0,
    duplicate: 0,
    reorder: 0,
    corrupt: 0,
    delay: Duration::ZERO,
    rate: 0.0,
    buffer: 0,
    seed: 5,
};

#[test]
fn a_good_line_loses_nothing_and_takes_no_time() {
    each(NONE);
}

#[test]
fn loss_is_measured_exactly() {
    each(Impairment { loss: 20_000, ..NONE });
}

#[test]
fn duplicates_are_measured_exactly() {
    each(Impairment {
        duplicate: 20_000,
        ..NONE
    });
}

#[test]
fn reordering_is_measured_exactly() {
    each(Impairment {
        reorder: 20_000,
        ..NONE
    });
}

#[test]
fn delay_is_measured_within_a_bucket() {
    each(Impairment {
        delay: Duration::from_nanos(DELAY),
        ..NONE
    });
}

#[test]
fn all_of_them_at_once_are() {
    each(Impairment {
        loss: 30_000,
        duplicate: 20_000,
        reorder: 20_000,
        delay: Duration::from_nanos(DELAY),
        ..NONE
    });
}
