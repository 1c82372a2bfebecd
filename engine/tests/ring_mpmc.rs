//! The ring between many threads: against a model, under more threads than cores, and over shared memory.
#![cfg(not(loom))]

use barline::mem::{PageSize, Source};
use barline::pool::{Batch, Pool};
use barline::ring::{Mpmc, SharedRing, Stalled};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

#[derive(Clone, Debug)]
enum Step {
    Push,
    Pop,
    PushSlice(usize),
    PushExact(usize),
    PushVec(usize),
    PopSlice(usize),
    PopExact(usize),
    PopInto(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Push),
        Just(Step::Pop),
        (0usize..40).prop_map(Step::PushSlice),
        (0usize..40).prop_map(Step::PushExact),
        (0usize..40).prop_map(Step::PushVec),
        (0usize..40).prop_map(Step::PopSlice),
        (0usize..40).prop_map(Step::PopExact),
        (0usize..40).prop_map(Step::PopInto),
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
        let ring = Mpmc::<u64>::with_start(capacity, start).expect("a ring");
        let mut model = VecDeque::new();
        let mut next = 0u64;
        for step in steps {
            let room = capacity - model.len();
            let fresh = |n: usize| (next..next + n as u64).collect::<Vec<_>>();
            match step {
                Step::Push => {
                    prop_assert_eq!(ring.push(next).is_ok(), room > 0);
                    if room > 0 { model.push_back(next); next += 1; }
                }
                Step::PushSlice(n) => {
                    let values = fresh(n);
                    let got = ring.push_slice(&values);
                    prop_assert_eq!(got, n.min(room));
                    model.extend(&values[..got]);
                    next += got as u64;
                }
                Step::PushVec(n) => {
                    let (values, mut rest) = (fresh(n), fresh(n));
                    let got = ring.push_vec(&mut rest);
                    prop_assert_eq!(got, n.min(room));
                    prop_assert_eq!(&values[got..], &rest[..]);
                    model.extend(&values[..got]);
                    next += got as u64;
                }
                Step::PushExact(n) => {
                    prop_assert_eq!(ring.push_exact(&fresh(n)), n <= room);
                    if n <= room { model.extend(fresh(n)); next += n as u64; }
                }
                Step::Pop => prop_assert_eq!(ring.pop(), model.pop_front()),
                Step::PopSlice(n) => {
                    let mut to = vec![u64::MAX; n];
                    let got = ring.pop_slice(&mut to);
                    prop_assert_eq!(got, n.min(model.len()));
                    prop_assert!(to[..got].iter().copied().eq(model.drain(..got)));
                    prop_assert!(to[got..].iter().all(|left| *left == u64::MAX));
                }
                Step::PopExact(n) => {
                    let mut to = vec![u64::MAX; n];
                    let whole = ring.pop_exact(&mut to);
                    prop_assert_eq!(whole, n <= model.len());
                    if whole { prop_assert!(to.into_iter().eq(model.drain(..n))); }
                }
                Step::PopInto(n) => {
                    let mut to = vec![7];
                    let got = ring.pop_into(&mut to, n);
                    prop_assert_eq!(got, n.min(model.len()));
                    prop_assert!(to[1..].iter().copied().eq(model.drain(..got)));
                }
            }
            prop_assert_eq!(ring.len(), model.len());
        }
    }
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn what_is_left_or_refused_is_dropped_once() {
    let drops = Arc::new(AtomicUsize::new(0));
    let ring = Mpmc::with_start(4, u32::MAX - 1).expect("a ring");
    for _ in 0..4 {
        assert!(ring.push(Counted(drops.clone())).is_ok());
    }
    assert!(ring.push(Counted(drops.clone())).is_err());
    assert_eq!(drops.load(Ordering::Relaxed), 1);
    drop(ring.pop());
    let mut more: Vec<_> = (0..3).map(|_| Counted(drops.clone())).collect();
    assert_eq!((ring.push_vec(&mut more), more.len()), (1, 2));
    drop(more);
    assert_eq!(drops.load(Ordering::Relaxed), 4);
    drop(ring);
    assert_eq!(drops.load(Ordering::Relaxed), 8);
}

/// What `producers` threads put in, in batches of odd sizes, `consumers` threads take out: every value once, and
/// those of one producer in order within what one consumer gets.
fn stress(capacity: usize, producers: u64, consumers: usize, each: u64) {
    let ring = Mpmc::<u64>::with_start(capacity, u32::MAX - 5000).expect("a ring");
    let (left, sum) = (AtomicU64::new(producers * each), AtomicU64::new(0));
    thread::scope(|scope| {
        let ring = &ring;
        for producer in 0..producers {
            scope.spawn(move || {
                let mut next = 0;
                while next < each {
                    let n = (1 + (next * 7 + producer) % 23).min(each - next);
                    let values: Vec<u64> = (next..next + n).map(|value| producer << 40 | value).collect();
                    let got = ring.push_slice(&values);
                    next += got as u64;
                    if got == 0 {
                        thread::yield_now();
                    }
                }
            });
        }
        for _ in 0..consumers {
            scope.spawn(|| {
                let mut last = vec![None; producers as usize];
                let mut to = [0; 19];
                while left.load(Ordering::Relaxed) > 0 {
                    let got = ring.pop_slice(&mut to);
                    for value in &to[..got] {
                        let (producer, value) = ((value >> 40) as usize, value & ((1 << 40) - 1));
                        assert!(last[producer].is_none_or(|last| last < value), "out of order");
                        last[producer] = Some(value);
                        sum.fetch_add(value, Ordering::Relaxed);
                    }
                    left.fetch_sub(got as u64, Ordering::Relaxed);
                    if got == 0 {
                        thread::yield_now();
                    }
                }
            });
        }
    });
    assert_eq!(sum.into_inner(), producers * (each * (each - 1) / 2));
    assert!(ring.is_empty());
}

#[test]
fn across_threads_nothing_is_lost_or_doubled() {
    stress(64, 1, 1, 100_000);
    stress(256, 2, 2, 50_000);
    stress(16, 1, 3, 50_000);
    stress(16, 3, 1, 20_000);
}

/// Four times as many threads as cores: whoever waits for a batch whose thread has lost its core must let it run.
#[test]
fn more_threads_than_cores() {
    let cores = thread::available_parallelism().map_or(2, usize::from).min(8);
    stress(128, 2 * cores as u64, 2 * cores, 10_000);
}

#[test]
fn packets_move_and_come_home() {
    let pool = Pool::builder()
        .packets(256)
        .source(Source::MemFd(PageSize::Base4K))
        .build()
        .expect("a pool");
    let ring = Mpmc::with_start(32, u32::MAX - 5).expect("a ring");
    let mut cache = pool.cache();
    let (mut batch, mut out) = (Batch::new(), Batch::with_burst(20));
    assert_eq!(cache.alloc_batch(&mut batch, 40, 64), 40);
    assert!(!ring.send_exact(&mut batch));
    assert_eq!((ring.send(&mut batch), batch.len()), (32, 8));
    assert_eq!((ring.receive(&mut out), ring.receive(&mut out)), (20, 0));
    assert!(ring.send_exact(&mut batch) && batch.is_empty());
    cache.free(&mut out);
    drop(ring);
    cache.flush();
    assert_eq!(pool.available(), 256);
}

/// Memory for a shared ring, with a guard of known content before and after.
struct Area {
    words: Vec<[AtomicU64; 16]>,
    first: usize,
    bytes: usize,
}

const GUARD: u64 = 0x5a5a_5a5a_5a5a_5a5a;

impl Area {
    fn new(bytes: usize) -> Self {
        let lines = bytes.div_ceil(128) + 4;
        let words: Vec<_> = (0..lines)
            .map(|_| [const { AtomicU64::new(GUARD) }; 16])
            .collect();
        let first = (words.as_ptr().addr() + 128).next_multiple_of(128) - words.as_ptr().addr();
        let area = Self { words, first, bytes };
        for i in 0..bytes / 8 {
            area.word(i).store(0, Ordering::Relaxed);
        }
        area
    }

    fn flat(&self, i: usize) -> &AtomicU64 {
        &self.words[i / 16][i % 16]
    }

    fn word(&self, i: usize) -> &AtomicU64 {
        self.flat(self.first / 8 + i)
    }

    fn at(&self) -> NonNull<u8> {
        NonNull::from(self.word(0)).cast()
    }

    fn ring(&self, capacity: usize) -> SharedRing<'_, u64> {
        assert_eq!(SharedRing::<u64>::bytes(capacity), Some(self.bytes));
        // SAFETY: that many bytes, all of them atomics; nothing else touches them while a ring call runs.
        let ring = unsafe { SharedRing::attach(self.at(), capacity) };
        ring.expect("aligned").with_patience(Duration::from_millis(2))
    }

    /// Index `i` of the four: producers' head and tail, consumers' head and tail.
    fn index(&self, i: usize) -> &AtomicU32 {
        let at = self.at().as_ptr().wrapping_add([0, 4, 128, 132][i]);
        // SAFETY: within the area, aligned, an atomic's memory.
        unsafe { &*at.cast::<AtomicU32>() }
    }

    fn guards_hold(&self) -> bool {
        let inside = self.first / 8..(self.first + self.bytes) / 8;
        (0..self.words.len() * 16)
            .filter(|i| !inside.contains(i))
            .all(|i| self.flat(i).load(Ordering::Relaxed) == GUARD)
    }
}

#[test]
fn two_views_of_one_memory_are_one_ring() {
    let area = Area::new(256 + 8 * 8);
    let (a, b) = (area.ring(8), area.ring(8));
    assert_eq!(a.push_slice(&[1, 2, 3, 4, 5, 6]), Ok(6));
    assert_eq!(
        (a.push_exact(&[7, 8, 9]), a.push_exact(&[7, 8])),
        (Ok(false), Ok(true))
    );
    let mut to = [0; 5];
    assert_eq!((b.pop_slice(&mut to), to), (Ok(5), [1, 2, 3, 4, 5]));
    assert_eq!((b.pop_exact(&mut to), b.len()), (Ok(false), 3));
    // The layout is an interface: another program may speak it.
    assert_eq!(
        [0, 1, 2, 3].map(|i| area.index(i).load(Ordering::Relaxed)),
        [8, 8, 5, 5]
    );
    assert_eq!(area.word(32 + 7).load(Ordering::Relaxed), 8);
    // SAFETY: refused before anything is touched.
    assert!(unsafe { SharedRing::<u64>::attach(area.at().add(8), 8) }.is_none());
    // SAFETY: as above.
    assert!(unsafe { SharedRing::<u64>::attach(area.at(), 7) }.is_none());
}

#[test]
fn a_dead_peer_stalls_nobody_for_ever() {
    let area = Area::new(256 + 8 * 8);
    let ring = area.ring(8);
    // A producer that reserved two slots and died.
    area.index(0).store(2, Ordering::Relaxed);
    assert_eq!(ring.pop_slice(&mut [0; 4]), Ok(0));
    assert_eq!(ring.push_slice(&[1, 2]), Err(Stalled));
}

proptest! {
    /// Whatever indices are found, nothing outside is touched, no more is said to be done than was asked for and
    /// fits, and every call comes back.
    #[test]
    fn a_lying_peer_reaches_nothing(
        indices in prop::array::uniform4(any::<u32>()),
        near in prop::bool::ANY,
        n in 0usize..40,
    ) {
        let area = Area::new(256 + 16 * 8);
        let ring = area.ring(16);
        for (i, index) in indices.iter().enumerate() {
            // Plain nonsense, or nonsense that looks like a ring.
            let value = if near { indices[0].wrapping_add(index % 40) } else { *index };
            area.index(i).store(value, Ordering::Relaxed);
        }
        if let Ok(done) = ring.push_slice(&vec![3; n]) { prop_assert!(done <= n.min(16)); }
        if let Ok(done) = ring.pop_slice(&mut vec![0; n]) { prop_assert!(done <= n.min(16)); }
        let _ = ring.push_exact(&vec![3; n]);
        let _ = ring.pop_exact(&mut vec![0; n]);
        prop_assert!(ring.len() <= 16);
        prop_assert!(area.guards_hold());
    }
}

/// A peer that scribbles over indices and slots while calls run.
#[test]
fn a_scribbling_peer_reaches_nothing() {
    let area = Area::new(256 + 16 * 8);
    let ring = area.ring(16).with_patience(Duration::from_micros(50));
    let calls = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut x = 0x9e37_79b9u32;
            while calls.load(Ordering::Relaxed) < 2000 {
                for i in 0..4 {
                    x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    area.index(i).store(x >> (x % 29), Ordering::Relaxed);
                }
            }
        });
        for _ in 0..2000 {
            let mut to = [0; 24];
            let _ = ring.push_slice(&[1; 24]);
            assert!(ring.pop_slice(&mut to).unwrap_or(0) <= 16);
            calls.fetch_add(1, Ordering::Relaxed);
        }
    });
    assert!(area.guards_hold());
}
