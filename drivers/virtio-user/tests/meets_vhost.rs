//! Our own back end: both ends of the socket in one process, each with a pool of its own.

use barline::mem::{PageSize, Source};
use barline::pool::{Batch, Pool, PoolCache};
use barline::port::{LinkRequest, Port, PortConfig, Queues};
use barline_vhost::{Options, Vhost};
use barline_virtio_user::{Settings, VirtioUser};
use std::path::Path;
use std::thread::{self, yield_now};
use std::time::{Duration, Instant};

/// Only for what would never come.
const LIMIT: Duration = Duration::from_secs(60);
const MOST: usize = 9000;

/// One end.
struct Side<P> {
    port: P,
    queues: Queues,
    pool: Pool,
    cache: PoolCache,
    batch: Batch,
}

impl<P: Port> Side<P> {
    fn start(mut port: P, pairs: u16) -> Self {
        let memory = Source::MemFd(PageSize::Base4K);
        let pool = Pool::builder().packets(1024).data_room(MOST + 18).source(memory);
        let pool = pool.build().unwrap();
        let config = PortConfig {
            rx_queues: pairs,
            tx_queues: pairs,
            rx_ring: 128,
            tx_ring: 128,
            mtu: MOST as u32,
            link: LinkRequest::DoNotWait,
            ring_memory: memory,
            ..PortConfig::new(&pool)
        };
        let queues = port.start(&config).unwrap();
        let cache = pool.cache();
        Self {
            port,
            queues,
            pool,
            cache,
            batch: Batch::new(),
        }
    }

    /// What comes goes back.
    fn reflect(&mut self) {
        for (rx, tx) in self.queues.rx.iter_mut().zip(&mut self.queues.tx) {
            rx.receive(&mut self.cache, &mut self.batch);
            while !self.batch.is_empty() && self.port.link().up {
                tx.transmit(&mut self.cache, &mut self.batch);
                yield_now();
            }
            self.cache.free(&mut self.batch);
        }
    }

    /// All buffers come home.
    fn stop(self) {
        let Self {
            mut port,
            queues,
            pool,
            cache,
            batch,
        } = self;
        port.stop(queues).unwrap();
        drop((cache, batch));
        assert_eq!(pool.available(), pool.packets());
    }
}

fn len(n: u64) -> usize {
    let most = if n.is_multiple_of(64) { MOST as u64 } else { 1514 };
    60 + (n * 331 % (most - 59)) as usize
}

fn write(bytes: &mut [u8], queue: usize, n: u64) {
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    for (at, byte) in bytes[8..].iter_mut().enumerate() {
        *byte = (n as usize * 7 + queue * 3 + at) as u8;
    }
}

/// Sends `frames` numbered frames a queue and has each come back as it was, in order.
fn exchange(user: &mut Side<VirtioUser>, frames: u64) {
    let end = Instant::now() + LIMIT;
    let mut counts = vec![(0u64, 0u64); user.queues.rx.len()];
    let mut wanted = vec![0; MOST];
    while counts.iter().any(|(_, back)| *back < frames) {
        assert!(Instant::now() < end, "they do not come back: {counts:?}");
        for (queue, (sent, back)) in counts.iter_mut().enumerate() {
            while *sent < frames && *sent - *back < 100 && user.batch.room() > 0 {
                let mut packet = user.cache.alloc().unwrap();
                write(packet.append(len(*sent)).unwrap(), queue, *sent);
                user.batch.extend([packet]);
                *sent += 1;
            }
            user.queues.tx[queue].transmit(&mut user.cache, &mut user.batch);
            *sent -= user.batch.len() as u64;
            user.cache.free(&mut user.batch);
            user.queues.rx[queue].receive(&mut user.cache, &mut user.batch);
            for packet in user.batch.as_slice() {
                let wanted = &mut wanted[..len(*back)];
                write(wanted, queue, *back);
                assert!(packet[..] == *wanted, "queue {queue}: frame {back}");
                *back += 1;
            }
            user.cache.free(&mut user.batch);
        }
        yield_now();
    }
}

fn await_link(port: &dyn Port, up: bool) {
    let end = Instant::now() + LIMIT;
    while port.link().up != up {
        assert!(Instant::now() < end, "the link is not as it should be");
        yield_now();
    }
}

fn vhost(path: &Path, pairs: u16) -> Side<Vhost> {
    Side::start(Vhost::open(&Options::new(path)).unwrap(), pairs)
}

fn user(path: &Path, pairs: u16, options: &str) -> Side<VirtioUser> {
    let settings = Settings::parse(&format!("queues={pairs},{options}")).unwrap();
    Side::start(VirtioUser::open(path, settings).unwrap(), pairs)
}

#[test]
fn every_combination_of_features_brings_every_frame_there_and_back() {
    let dir = tempfile::tempdir().unwrap();
    for bits in 0..16u16 {
        let on = |bit: u16| if bits >> bit & 1 != 0 { "on" } else { "off" };
        let (pairs, path) = (1 + (bits >> 3), dir.path().join(bits.to_string()));
        let options = format!("packed={},mrg={},in-order={}", on(0), on(1), on(2));
        let mut back = vhost(&path, pairs);
        let mut front = user(&path, pairs, &options);
        let done = std::sync::atomic::AtomicBool::new(false);
        thread::scope(|scope| {
            let reflector = scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    back.reflect();
                    yield_now();
                }
                back
            });
            let finish = Finish(&done);
            await_link(&front.port, true);
            exchange(&mut front, 2000);
            front.stop();
            drop(finish);
            reflector.join().unwrap().stop();
        });
    }
}

/// So that a failure of ours ends the other side too.
struct Finish<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn a_back_end_that_is_closed_and_opened_ten_times_is_met_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let mut back = vhost(&path, 1);
    let mut front = user(&path, 1, "");
    for _ in 0..10 {
        let done = std::sync::atomic::AtomicBool::new(false);
        await_link(&front.port, true);
        back = thread::scope(|scope| {
            let reflector = scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    back.reflect();
                    yield_now();
                }
                back
            });
            let finish = Finish(&done);
            exchange(&mut front, 200);
            drop(finish);
            reflector.join().unwrap().stop();
            await_link(&front.port, false);
            vhost(&path, 1)
        });
    }
    front.stop();
    back.stop();
}

#[test]
fn descriptors_are_told_in_words() {
    let dir = tempfile::tempdir().unwrap();
    for options in ["packed=on", "packed=off"] {
        let path = dir.path().join(options);
        let (mut back, mut front) = (vhost(&path, 1), user(&path, 1, options));
        await_link(&front.port, true);
        let (end, mut told) = (Instant::now() + LIMIT, None);
        let mut packet = front.cache.alloc().unwrap();
        packet.append(60).unwrap();
        front.batch.extend([packet]);
        while told.is_none() {
            assert!(Instant::now() < end, "{options}: nothing comes back");
            let (rx, tx) = (&mut front.queues.rx[0], &mut front.queues.tx[0]);
            if !front.batch.is_empty() && tx.transmit(&mut front.cache, &mut front.batch) == 1 {
                // The header of 12 bytes is with it.
                let sent = tx.describe(0).expect("it was just posted");
                assert!(sent.contains("length 72"), "{sent}");
            }
            // What does not fit yet stays in the batch: one thread has both ends.
            let (from, to) = (&mut back.queues.rx[0], &mut back.queues.tx[0]);
            from.receive(&mut back.cache, &mut back.batch);
            to.transmit(&mut back.cache, &mut back.batch);
            told = rx.describe();
            if told.is_none() {
                // A ring that is new is taken and filled by a look at it; a frame that is there stays.
                let mut none = Batch::new();
                assert_eq!(rx.receive(&mut front.cache, &mut none), 0);
            }
        }
        let told = told.unwrap_or_default();
        assert!(told.contains("72"), "{told}");
        front.stop();
        back.stop();
    }
}
