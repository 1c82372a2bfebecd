use super::*;
use barline::mem::{PageSize, Source};
use barline::pool::Pool;
use barline::telemetry::{RxCounters, TxCounters};
use crossbeam::utils::CachePadded;
use std::sync::Arc;

/// Receives one packet of each length from 0 to 64, then nothing; its bytes count up from 1.
#[derive(Debug)]
struct Ladder(usize);

impl RxQueue for Ladder {
    fn receive(&mut self, cache: &mut PoolCache, out: &mut Batch) -> usize {
        let mut got = 0;
        while self.0 <= 64 && out.room() > 0 {
            let mut packet = cache.alloc().unwrap();
            assert!(packet.set(&content(self.0)));
            out.push(packet).unwrap();
            (self.0, got) = (self.0 + 1, got + 1);
        }
        got
    }

    fn counters(&self) -> &RxCounters {
        unreachable!("not looked at")
    }

    fn shared_counters(&self) -> Arc<CachePadded<RxCounters>> {
        RxCounters::shared()
    }
}

/// Keeps the bytes of what is sent, up to `room` packets a call.
#[derive(Debug)]
struct Keep {
    seen: Vec<Vec<u8>>,
    room: usize,
    reclaims: usize,
}

impl TxQueue for Keep {
    fn transmit(&mut self, cache: &mut PoolCache, packets: &mut Batch) -> usize {
        let n = packets.len().min(self.room);
        for _ in 0..n {
            let packet = packets.pop().unwrap();
            self.seen.push(packet.to_vec());
            cache.free_one(packet);
        }
        n
    }

    fn reclaim(&mut self, _cache: &mut PoolCache) -> usize {
        self.reclaims += 1;
        0
    }

    fn in_flight(&self) -> usize {
        0
    }

    fn counters(&self) -> &TxCounters {
        unreachable!("not looked at")
    }

    fn shared_counters(&self) -> Arc<CachePadded<TxCounters>> {
        TxCounters::shared()
    }
}

fn content(len: usize) -> Vec<u8> {
    (1..=len as u8).collect()
}

fn pool(packets: usize) -> Pool {
    let source = Source::MemFd(PageSize::Base4K);
    let pool = Pool::builder().packets(packets).source(source);
    pool.data_room(128).build().unwrap()
}

/// Runs a mode until nothing comes any more; the queues are behind `dyn`.
fn run(mode: Mode, room: usize, bursts: usize) -> (Keep, Tally, usize) {
    let pool = pool(64);
    let seen = Vec::new();
    let (mut rx, mut tx) = (
        Ladder(0),
        Keep {
            seen,
            room,
            reclaims: 0,
        },
    );
    let (mut cache, mut batch, mut tally) = (pool.cache(), Batch::with_burst(32), Tally::default());
    let settings = Settings::l2fwd(1, MacAddress([0x52, 0x54, 0, 0, 0, 9]));
    for _ in 0..bursts {
        let (rx, tx): (&mut dyn RxQueue, &mut dyn TxQueue) = (&mut rx, &mut tx);
        let (cache, batch) = (&mut cache, &mut batch);
        run_burst(mode, &settings, Lane { rx, tx, cache, batch }, &mut tally);
        assert!(batch.is_empty());
        let out = tally.sent + tally.freed + tally.full;
        assert_eq!(tally.received + tally.made, out, "{tally:?}");
    }
    drop(cache);
    (tx, tally, pool.available())
}

#[test]
fn io_changes_nothing() {
    let (tx, tally, free) = run(Mode::Io, 64, 4);
    assert_eq!(tx.seen, (0..=64).map(content).collect::<Vec<_>>());
    assert_eq!((tally.received, tally.sent, free, tx.reclaims), (65, 65, 64, 1));
}

#[test]
fn mac_writes_both_addresses_of_whole_frames() {
    let (tx, _, _) = run(Mode::Mac, 64, 4);
    for (len, seen) in tx.seen.iter().enumerate() {
        let mut wanted = content(len);
        if len >= 12 {
            wanted[..12].copy_from_slice(&[2, 0, 0, 0, 0, 1, 0x52, 0x54, 0, 0, 0, 9]);
        }
        assert_eq!(*seen, wanted);
    }
}

#[test]
fn macswap_swaps_both_addresses_of_whole_frames() {
    let (tx, _, _) = run(Mode::MacSwap, 64, 4);
    for (len, seen) in tx.seen.iter().enumerate() {
        let mut wanted = content(len);
        if len >= 12 {
            wanted[..12].rotate_left(6);
        }
        assert_eq!(*seen, wanted);
    }
}

#[test]
fn rxonly_sends_nothing_and_frees_all() {
    let (tx, tally, free) = run(Mode::RxOnly, 64, 4);
    assert_eq!((tx.seen.len(), tally.freed, free), (0, 65, 64));
}

#[test]
fn txonly_makes_frames_of_its_own() {
    let (tx, tally, free) = run(Mode::TxOnly, 64, 3);
    assert_eq!((tally.made, tally.sent, free), (96, 96, 64));
    assert!(
        tx.seen
            .iter()
            .all(|frame| frame.len() == 64 && frame[12..14] == [8, 0])
    );
}

#[test]
fn what_does_not_fit_is_dropped_counted_and_free_again() {
    for mode in [Mode::Io, Mode::Mac, Mode::MacSwap] {
        let (_, tally, free) = run(mode, 20, 4);
        assert_eq!((tally.sent, tally.full, free), (41, 24, 64), "{mode}");
    }
    let (_, tally, free) = run(Mode::TxOnly, 20, 2);
    assert_eq!((tally.made, tally.sent, tally.full, free), (64, 40, 24, 64));
}

#[test]
fn txonly_with_an_empty_pool_looks_for_sent_packets() {
    let pool = pool(8);
    let held: Vec<Packet> = std::iter::from_fn(|| pool.alloc()).collect();
    let (mut cache, mut batch, mut tally) = (pool.cache(), Batch::with_burst(32), Tally::default());
    let seen = Vec::new();
    let mut tx = Keep {
        seen,
        room: 64,
        reclaims: 0,
    };
    let settings = Settings::l2fwd(0, MacAddress([2, 0, 0, 0, 0, 0]));
    let made = txonly(&mut tx, &mut cache, &mut batch, &settings.template, &mut tally);
    assert_eq!(
        (made, tx.reclaims, tally, held.len()),
        (0, 1, Tally::default(), 8)
    );
}
