//! The ring between two threads: against a model, across threads, and at its edges.
#![cfg(not(loom))]

use barline::mem::{PageSize, Source};
use barline::pool::{Batch, Pool};
use barline::ring::{Consumer, Producer, Spsc};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

fn ring<T: Send>(capacity: usize, start: u32) -> (Producer<T>, Consumer<T>) {
    Spsc::with_start(capacity, start).expect("a power of two").split()
}

#[derive(Clone, Debug)]
enum Step {
    Push,
    Pop,
    PushSlice(usize),
    PushExact(usize),
    PushFrom(usize),
    PushIter(usize),
    PopSlice(usize),
    PopExact(usize),
    PopInto(usize),
    PopEach(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Push),
        Just(Step::Pop),
        (0usize..40).prop_map(Step::PushSlice),
        (0usize..40).prop_map(Step::PushExact),
        (0usize..40).prop_map(Step::PushFrom),
        (0usize..40).prop_map(Step::PushIter),
        (0usize..40).prop_map(Step::PopSlice),
        (0usize..40).prop_map(Step::PopExact),
        (0usize..40).prop_map(Step::PopInto),
        (0usize..40).prop_map(Step::PopEach),
    ]
}

proptest! {
    #[test]
    fn behaves_like_a_queue(
        shift in 0u32..6,
        start in prop_oneof![Just(0u32), (u32::MAX - 100)..=u32::MAX, any::<u32>()],
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let capacity = 1usize << shift;
        let (mut tx, mut rx) = ring::<u64>(capacity, start);
        let mut model = VecDeque::new();
        let mut next = 0u64;
        for step in steps {
            let room = capacity - model.len();
            match step {
                Step::Push => {
                    let fits = room > 0;
                    prop_assert_eq!(tx.push(next).is_ok(), fits);
                    if fits { model.push_back(next); next += 1; }
                }
                Step::PushSlice(n) | Step::PushFrom(n) | Step::PushIter(n) => {
                    let values: Vec<u64> = (next..next + n as u64).collect();
                    let got = match step {
                        Step::PushSlice(_) => tx.push_slice(&values),
                        Step::PushFrom(_) => tx.push_from(n, |i| values[i]),
                        _ => tx.push_iter(values.iter().copied()),
                    };
                    prop_assert_eq!(got, n.min(room));
                    model.extend(&values[..got]);
                    next += got as u64;
                }
                Step::PushExact(n) => {
                    let values: Vec<u64> = (next..next + n as u64).collect();
                    prop_assert_eq!(tx.push_exact(&values), n <= room);
                    if n <= room { model.extend(values); next += n as u64; }
                }
                Step::Pop => prop_assert_eq!(rx.pop(), model.pop_front()),
                Step::PopSlice(n) => {
                    let mut to = vec![u64::MAX; n];
                    let got = rx.pop_slice(&mut to);
                    prop_assert_eq!(got, n.min(model.len()));
                    prop_assert!(to[..got].iter().copied().eq(model.drain(..got)));
                    prop_assert!(to[got..].iter().all(|left| *left == u64::MAX));
                }
                Step::PopExact(n) => {
                    let mut to = vec![u64::MAX; n];
                    let whole = rx.pop_exact(&mut to);
                    prop_assert_eq!(whole, n <= model.len());
                    if whole { prop_assert!(to.into_iter().eq(model.drain(..n))); }
                }
                Step::PopInto(n) => {
                    let mut to = vec![7];
                    let got = rx.pop_into(&mut to, n);
                    prop_assert_eq!(got, n.min(model.len()));
                    prop_assert!(to[1..].iter().copied().eq(model.drain(..got)));
                }
                Step::PopEach(n) => {
                    let mut to = Vec::new();
                    let got = rx.pop_each(n, |value| to.push(value));
                    prop_assert_eq!(got, n.min(model.len()));
                    prop_assert!(to.into_iter().eq(model.drain(..got)));
                }
            }
            prop_assert_eq!(rx.available(), model.len());
            prop_assert_eq!(tx.room(), capacity - model.len());
        }
    }
}

#[test]
fn refuses_what_is_no_power_of_two() {
    assert!(
        [0, 3, 6, (1 << 31) + 1, usize::MAX]
            .iter()
            .all(|n| Spsc::<()>::new(*n).is_none())
    );
    assert!(Spsc::<()>::new(1 << 31).is_some() && Spsc::<[u64; 1 << 40]>::new(1 << 31).is_none());
}

#[test]
fn values_of_no_size_are_counted() {
    let (mut tx, mut rx) = ring::<()>(4, 0);
    assert_eq!(tx.push_from(9, |_| ()), 4);
    assert_eq!(rx.pop_each(9, |()| ()), 4);
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn what_is_left_is_dropped_once() {
    for start in [0, u32::MAX - 2] {
        let drops = Arc::new(AtomicUsize::new(0));
        let (mut tx, mut rx) = ring(8, start);
        assert_eq!(tx.push_from(6, |_| Counted(drops.clone())), 6);
        drop(rx.pop());
        assert_eq!(drops.load(Ordering::Relaxed), 1);
        assert!(!tx.is_abandoned() && !rx.is_abandoned());
        drop(rx);
        assert!(tx.is_abandoned());
        assert_eq!(drops.load(Ordering::Relaxed), 1);
        drop(tx);
        assert_eq!(drops.load(Ordering::Relaxed), 6);
    }
}

#[test]
fn an_abandoned_ring_still_gives_what_is_in_it() {
    let (mut tx, mut rx) = ring(8, 0);
    assert_eq!(tx.push_slice(&[1, 2, 3]), 3);
    drop(tx);
    assert!(rx.is_abandoned());
    assert_eq!(
        (rx.pop(), rx.pop(), rx.pop(), rx.pop()),
        (Some(1), Some(2), Some(3), None)
    );
}

#[test]
fn a_panic_in_a_closure_loses_and_doubles_nothing() {
    let drops = Arc::new(AtomicUsize::new(0));
    let (mut tx, mut rx) = ring(8, 0);
    let made = catch_unwind(AssertUnwindSafe(|| {
        tx.push_from(5, |i| {
            assert!(i < 3, "on purpose");
            Counted(drops.clone())
        })
    }));
    assert!(made.is_err());
    assert_eq!(rx.available(), 3);
    let taken = catch_unwind(AssertUnwindSafe(|| rx.pop_each(3, |_value| panic!("on purpose"))));
    assert!(taken.is_err());
    assert_eq!((rx.available(), drops.load(Ordering::Relaxed)), (2, 1));
    drop((tx, rx));
    assert_eq!(drops.load(Ordering::Relaxed), 3);
}

#[test]
fn across_threads_in_order() {
    const N: u64 = 100_000;
    for capacity in [1, 64, 1024] {
        let (mut tx, mut rx) = ring::<u64>(capacity, u32::MAX - 1000);
        let sender = thread::spawn(move || {
            let mut next = 0;
            while next < N {
                let n = (1 + next % 37).min(N - next) as usize;
                let got = tx.push_from(n, |i| next + i as u64);
                next += got as u64;
                if got == 0 {
                    thread::yield_now();
                }
            }
        });
        let (mut expect, mut to) = (0, [0; 29]);
        while expect < N {
            let got = rx.pop_slice(&mut to);
            for value in &to[..got] {
                assert_eq!(*value, expect);
                expect += 1;
            }
            if got == 0 {
                thread::yield_now();
            }
        }
        sender.join().expect("the sender");
        assert!(rx.is_abandoned() && rx.pop().is_none());
    }
}

#[test]
fn packets_move_and_come_home() {
    let pool = Pool::builder()
        .packets(256)
        .source(Source::MemFd(PageSize::Base4K))
        .build()
        .expect("a pool");
    let (mut tx, mut rx) = ring(32, u32::MAX - 5);
    let mut cache = pool.cache();
    let (mut batch, mut out) = (Batch::new(), Batch::with_burst(20));
    assert_eq!(cache.alloc_batch(&mut batch, 40, 64), 40);
    for (i, packet) in batch.as_mut_slice().iter_mut().enumerate() {
        packet[0] = i as u8;
    }
    assert!(!tx.send_exact(&mut batch));
    assert_eq!((tx.send(&mut batch), batch.len()), (32, 8));
    assert_eq!((rx.receive(&mut out), rx.receive(&mut out)), (20, 0));
    assert!(
        out.as_slice()
            .iter()
            .enumerate()
            .all(|(i, packet)| packet[0] == i as u8)
    );
    assert!(tx.send_exact(&mut batch) && batch.is_empty());
    cache.free(&mut out);
    drop((tx, rx));
    cache.flush();
    assert_eq!(pool.available(), 256);
}
