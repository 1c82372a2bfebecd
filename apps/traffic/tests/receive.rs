//! What a bad line does to frames is what the receive side says, on a clock of its own.

use barline::pool::{Batch, Packet, Pool};
use barline::port::{Port, PortConfig};
use barline_null::Loopback;
use barline_sim::Clock as Time;
use barline_traffic::{Analyser, Cost, Generator, Pacer, Receiver, Sender, Shape, Snapshot, StreamConfig};
use barline_wrap::{Impair, Impairment, Wrapped};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

const COUNT: u64 = 3000;
const GAP: u64 = 1000;

/// What came through such a line, and what the line counted.
fn through(how: Impairment) -> (Snapshot, BTreeMap<&'static str, u64>) {
    let time = Time::virtual_until(Duration::from_secs(100));
    let now = || time.elapsed().as_nanos() as u64;
    let pool = Pool::builder().packets(4096).build().unwrap();
    let impair = Impair::with_clock(how, time.clone());
    let mut port = Wrapped::new(Box::new(Loopback::new()), Box::new(impair));
    let mut queues = port.start(&PortConfig::new(&pool)).unwrap();
    let mut cache = pool.cache();
    let stream = StreamConfig::from_toml("size = '100'")
        .unwrap()
        .compile()
        .unwrap();
    let place = stream.mark.unwrap();
    let cost = Cost {
        packet: GAP as f64,
        bit: 0.0,
    };
    let generator = Generator::new(&[stream], 0, 0, 1).unwrap();
    let mut sender = Sender::new(generator, Pacer::new(Shape::Even, cost, 0), 1);
    let mut receiver = Receiver::new(Analyser::new(1, &[place], None), 64);
    sender.limit(Some(COUNT));
    // Until long after the last one has gone.
    for _ in 0..COUNT + 5000 {
        sender.poll(&mut *queues.tx[0], &mut cache, now());
        queues.tx[0].reclaim(&mut cache);
        receiver.poll(&mut *queues.rx[0], &mut cache, now);
        time.pass(Duration::from_nanos(GAP));
    }
    let mut snapshot = Snapshot::default();
    receiver.analyser.snapshot(&mut snapshot);
    let mut counts = BTreeMap::new();
    port.counters(&mut |name, value| _ = counts.insert(name, value));
    assert_eq!((sender.made(), queues.tx[0].in_flight()), (COUNT, 0));
    port.stop(queues).unwrap();
    drop(cache);
    assert_eq!(pool.available(), 4096);
    (snapshot, counts)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn loss_duplicates_and_order_are_exact_and_so_is_the_time(
        loss in 0u32..100_000, duplicate in 0u32..100_000, reorder in 0u32..100_000, delay in 0u64..200, seed: u64
    ) {
        let delay = delay * GAP;
        let how = Impairment {
            loss, duplicate, reorder, seed, delay: Duration::from_nanos(delay), rate: 0.0, ..Impairment::default()
        };
        let (came, counts) = through(how);
        let flow = came.flows[0].clone().unwrap();
        let count = |name| counts.get(name).copied().unwrap_or(0);
        prop_assert_eq!(COUNT - flow.order.unique, count("impair_lost"));
        prop_assert_eq!(flow.order.duplicates, count("impair_doubled"));
        prop_assert_eq!(flow.order.reordered, count("impair_reordered"));
        prop_assert_eq!((came.damaged, came.foreign, flow.order.stale), (0, 0, 0));
        let latency = flow.latency.summary();
        prop_assert_eq!(latency.min, delay);
        // The half that nothing overtook: within a bucket of what was asked for.
        prop_assert!(latency.p50 >= delay && latency.p50 <= delay + delay / 128 + 1, "{latency:?}");
    }
}

#[test]
fn damage_is_seen_where_it_can_be() {
    let how = Impairment {
        corrupt: 100_000,
        seed: 3,
        ..Impairment::default()
    };
    let (came, counts) = through(how);
    let corrupted = counts["impair_corrupted"];
    let unique = came.flows[0].as_ref().unwrap().order.unique;
    // 16 of 96 bytes are the mark; a bit elsewhere is not looked at.
    assert_eq!(unique + came.damaged + came.foreign, COUNT);
    assert_eq!(came.foreign, 0);
    let share = came.damaged as f64 / corrupted as f64;
    assert!(corrupted > 200 && (share - 16.0 / 96.0).abs() < 0.06, "{share}");
}

fn frames(text: &str, n: usize) -> (Vec<Vec<u8>>, usize) {
    let stream = StreamConfig::from_toml(text).unwrap().compile().unwrap();
    let place = stream.mark.unwrap();
    let pool = Pool::builder().packets(256).build().unwrap();
    let (mut cache, mut batch) = (pool.cache(), Batch::new());
    let mut generator = Generator::new(&[stream], 0, 0, 1).unwrap();
    generator.fill(&mut cache, &mut batch, n, 0);
    (
        batch.as_slice().iter().map(|packet| packet.to_vec()).collect(),
        place,
    )
}

fn looked_at(frames: &[Vec<u8>], place: usize, fill: Option<u8>) -> Snapshot {
    let pool = Pool::builder().packets(256).build().unwrap();
    let mut analyser = Analyser::new(1, &[place], fill);
    let packets: Vec<Packet> = frames
        .iter()
        .map(|frame| {
            let mut packet = pool.alloc().unwrap();
            assert!(packet.set(frame));
            packet
        })
        .collect();
    analyser.look(&packets, 0);
    let mut snapshot = Snapshot::default();
    analyser.snapshot(&mut snapshot);
    snapshot
}

#[test]
fn marks_outlive_other_addresses_and_a_tag_more_or_less() {
    let unique = |came: &Snapshot| came.flows[0].as_ref().map_or(0, |flow| flow.order.unique);
    let (mut rewritten, place) = frames("size = '128'", 20);
    rewritten.iter_mut().for_each(|frame| frame[..12].fill(0x52));
    assert_eq!(unique(&looked_at(&rewritten, place, Some(0))), 20);
    let mut tagged = rewritten.clone();
    tagged
        .iter_mut()
        .for_each(|frame| drop(frame.splice(12..12, [0x81, 0, 0, 5])));
    assert_eq!(unique(&looked_at(&tagged, place, Some(0))), 20);
    let (mut stripped, place) = frames("frame = 'ethernet/vlan(id=3)/ipv4/udp'\nsize = '128'", 20);
    stripped.iter_mut().for_each(|frame| drop(frame.drain(12..16)));
    assert_eq!(unique(&looked_at(&stripped, place, Some(0))), 20);
    // A byte at the end, seen only when every byte is looked at.
    rewritten[3][120] ^= 1;
    let place = 42;
    assert_eq!(unique(&looked_at(&rewritten, place, None)), 20);
    let came = looked_at(&rewritten, place, Some(0));
    assert_eq!((unique(&came), came.damaged), (19, 1));
}
