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

fn pop(ring: &Mpmc<Box<u32>>) -> u32 {
    loop {
        if let Some(value) = ring.pop() {
            return *value;
        }
        thread::yield_now();
    }
}

fn push(ring: &Mpmc<Box<u32>>, value: u32) {
    let mut value = Box::new(value);
    while let Err(back) = ring.push(value) {
        value = back;
        thread::yield_now();
    }
}

#[test]
fn mpmc_two_producers() {
    check(3, || {
        let ring = Arc::new(Mpmc::with_start(2, u32::MAX).expect("a ring"));
        let senders = [1, 2].map(|value| {
            let ring = ring.clone();
            thread::spawn(move || push(&ring, value))
        });
        let sum = pop(&ring) + pop(&ring);
        assert_eq!(sum, 3);
        assert!(ring.pop().is_none());
        senders
            .into_iter()
            .for_each(|sender| sender.join().expect("a sender"));
    });
}

/// One slot: each producer waits for the consumer's copy out before its own copy in.
#[test]
fn mpmc_two_producers_one_slot() {
    check(2, || {
        let ring = Arc::new(Mpmc::with_start(1, u32::MAX).expect("a ring"));
        let senders = [1, 2].map(|value| {
            let ring = ring.clone();
            thread::spawn(move || push(&ring, value))
        });
        assert_eq!(pop(&ring) + pop(&ring), 3);
        senders
            .into_iter()
            .for_each(|sender| sender.join().expect("a sender"));
    });
}

#[test]
fn mpmc_two_consumers() {
    check(3, || {
        let ring = Arc::new(Mpmc::with_start(2, u32::MAX).expect("a ring"));
        let takers = [(); 2].map(|()| {
            let ring = ring.clone();
            thread::spawn(move || pop(&ring))
        });
        push(&ring, 1);
        push(&ring, 2);
        // A third value into a slot that either of them has read.
        push(&ring, 4);
        let sum: u32 = takers
            .into_iter()
            .map(|taker| taker.join().expect("a taker"))
            .sum();
        assert_eq!(sum + pop(&ring), 7);
    });
}

/// Two consumers, and a producer that sees only the tail of the second: the first one's copy must come before the
/// producer's all the same.
#[test]
fn mpmc_tail_is_handed_on() {
    check(3, || {
        let ring = Arc::new(Mpmc::with_start(2, 0).expect("a ring"));
        push(&ring, 1);
        push(&ring, 2);
        let takers = [(); 2].map(|()| {
            let ring = ring.clone();
            thread::spawn(move || pop(&ring))
        });
        // Both slots at once: fits only when both consumers are through.
        let mut both = vec![Box::new(3), Box::new(4)];
        while !both.is_empty() {
            if ring.push_vec(&mut both) == 0 {
                thread::yield_now();
            }
        }
        let sum: u32 = takers
            .into_iter()
            .map(|taker| taker.join().expect("a taker"))
            .sum();
        assert_eq!(sum + pop(&ring) + pop(&ring), 10);
    });
}
