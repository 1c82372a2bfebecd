//! Models of the rings: every interleaving and every permitted reordering of few operations.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p barline --release --test ring_loom`
#![cfg(loom)]

use barline::ring::{Mpmc, Spsc};
use loom::sync::Arc;
use loom::thread;

/// As many preemptions as find every known bug of such rings, in seconds instead of hours.
fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.check(model);
}

/// Three values through two slots, with indices that wrap at 2^32 on the way: positions are reused, so both
/// directions are checked (published before read, read before overwritten).
#[test]
fn spsc_wraps() {
    check(4, || {
        let (mut tx, mut rx) = Spsc::with_start(2, u32::MAX).expect("a ring").split();
        let sender = thread::spawn(move || {
            let mut next = 1u32;
            while next <= 3 {
                if tx.push(Box::new(next)).is_ok() {
                    next += 1;
                } else {
                    thread::yield_now();
                }
            }
        });
        let mut expect = 1;
        while expect <= 3 {
            match rx.pop() {
                Some(value) => {
                    assert_eq!(*value, expect);
                    expect += 1;
                }
                None => thread::yield_now(),
            }
        }
        sender.join().expect("the sender");
        assert!(rx.pop().is_none());
    });
}

#[test]
fn spsc_batches() {
    check(4, || {
        let (mut tx, mut rx) = Spsc::<u32>::with_start(4, u32::MAX - 2).expect("a ring").split();
        let sender = thread::spawn(move || {
            let mut next = 0;
            for _ in 0..2 {
                next += tx.push_slice(&[next, next + 1, next + 2]) as u32;
            }
            next
        });
        let (mut got, mut to) = (0, [0; 3]);
        let mut take = |rx: &mut barline::ring::Consumer<u32>| {
            let n = rx.pop_slice(&mut to);
            for value in &to[..n] {
                assert_eq!(*value, got);
                got += 1;
            }
            n
        };
        take(&mut rx);
        take(&mut rx);
        let sent = sender.join().expect("the sender");
        while take(&mut rx) > 0 {}
        assert_eq!(got, sent);
    });
}

/// Once the producer is seen to be gone, everything it sent is there, and what is not taken is dropped once
/// (loom checks that nothing leaks).
#[test]
fn spsc_abandoned() {
    check(4, || {
        let (mut tx, mut rx) = Spsc::new(2).expect("a ring").split();
        let sender = thread::spawn(move || {
            assert!(tx.push(Arc::new(1)).is_ok());
            assert!(tx.push(Arc::new(2)).is_ok());
        });
        if rx.is_abandoned() {
            assert_eq!(rx.pop().as_deref(), Some(&1));
            assert_eq!(rx.available(), 1);
        }
        drop(rx);
        sender.join().expect("the sender");
    });
}

fn ring(values: &[u32], start: u32) -> Arc<Mpmc<u32>> {
    let ring = Mpmc::with_start(2, start).expect("a ring");
    assert!(ring.push_exact(values));
    Arc::new(ring)
}

fn drain(ring: &Mpmc<u32>) -> u32 {
    std::iter::from_fn(|| ring.pop()).sum()
}

/// Two producers, and a consumer that looks while they are at it.
#[test]
fn mpmc_two_producers() {
    check(3, || {
        let ring = ring(&[], u32::MAX);
        let senders = [1, 2].map(|value| {
            let ring = ring.clone();
            thread::spawn(move || assert!(ring.push(value).is_ok()))
        });
        let early = ring.pop().unwrap_or(0) + ring.pop().unwrap_or(0);
        senders
            .into_iter()
            .for_each(|sender| sender.join().expect("a sender"));
        assert_eq!(early + drain(&ring), 3);
    });
}

/// Two producers that wait for the slots which the consumer empties.
#[test]
fn mpmc_two_producers_reuse() {
    check(3, || {
        let ring = ring(&[1, 2], u32::MAX);
        let senders = [4, 8].map(|value| {
            let ring = ring.clone();
            thread::spawn(move || if ring.push(value).is_ok() { value } else { 0 })
        });
        assert_eq!((ring.pop(), ring.pop()), (Some(1), Some(2)));
        let sent: u32 = senders
            .into_iter()
            .map(|sender| sender.join().expect("a sender"))
            .sum();
        assert_eq!(drain(&ring), sent);
    });
}

/// Two consumers, and a producer that wants the slots they empty.
#[test]
fn mpmc_two_consumers() {
    check(3, || {
        let ring = ring(&[1, 2], u32::MAX);
        let takers = [(); 2].map(|()| {
            let ring = ring.clone();
            thread::spawn(move || ring.pop().expect("one for each"))
        });
        let sent = ring.push_slice(&[4, 8]);
        let taken: u32 = takers
            .into_iter()
            .map(|taker| taker.join().expect("a taker"))
            .sum();
        assert_eq!(taken, 3);
        assert_eq!(drain(&ring), [0, 4, 12][sent]);
    });
}

/// Two consumers, and a producer that sees only the tail of the second: the first one's copy must come before the
/// producer's all the same.
#[test]
fn mpmc_tail_is_handed_on() {
    check(3, || {
        let ring = ring(&[1, 2], 0);
        let takers = [(); 2].map(|()| {
            let ring = ring.clone();
            thread::spawn(move || ring.pop().expect("one for each"))
        });
        // Lets both run first. Loom would not come to that by itself: it takes a store for a race with the last
        // access before it only, and that is the same consumer's own look at the tail.
        thread::yield_now();
        let sent = ring.push_exact(&[4, 8]);
        let taken: u32 = takers
            .into_iter()
            .map(|taker| taker.join().expect("a taker"))
            .sum();
        assert_eq!(taken, 3);
        assert_eq!(drain(&ring), if sent { 12 } else { 0 });
    });
}

/// A producer that trusts what another producer has seen of the consumer.
#[test]
fn mpmc_seen_is_handed_on() {
    check(3, || {
        let ring = ring(&[1, 2], 0);
        let senders = [4, 8].map(|value| {
            let ring = ring.clone();
            thread::spawn(move || if ring.push(value).is_ok() { value } else { 0 })
        });
        let mut to = [0; 2];
        assert!(ring.pop_exact(&mut to));
        let sent: u32 = senders
            .into_iter()
            .map(|sender| sender.join().expect("a sender"))
            .sum();
        assert_eq!(drain(&ring), sent);
    });
}
