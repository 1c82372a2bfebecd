//! Our side: a port with one pair of queues, and frames with numbers.

use barline::mem::{PageSize, Source};
use barline::pool::{Batch, Pool, PoolCache};
use barline::port::{LinkRequest, Port, PortConfig, PortEvent, Queues};
use barline_virtio_user::{Settings, VirtioUser};
use std::path::Path;
use std::time::{Duration, Instant};

/// Only for what would never come: a test that fails takes so long.
const LIMIT: Duration = Duration::from_secs(60);
pub const PACKETS: usize = 512;

pub struct Rig {
    pub port: VirtioUser,
    pub queues: Queues,
    pub pool: Pool,
    pub cache: PoolCache,
    next: u64,
}

impl Rig {
    pub fn open(path: &Path, options: &str) -> VirtioUser {
        VirtioUser::open(path, Settings::parse(options).unwrap()).unwrap()
    }

    pub fn start(mut port: VirtioUser) -> Self {
        let memory = Source::MemFd(PageSize::Base4K);
        let pool = Pool::builder().packets(PACKETS).source(memory).build().unwrap();
        let config = PortConfig {
            rx_ring: 64,
            tx_ring: 64,
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
            next: 0,
        }
    }

    /// Polls both queues until `done`; what was received is handed to `each`.
    pub fn poll(&mut self, mut each: impl FnMut(&[u8]), mut done: impl FnMut(&mut Self) -> bool) {
        let (end, mut batch) = (Instant::now() + LIMIT, Batch::new());
        while !done(self) {
            assert!(Instant::now() < end, "it does not happen");
            self.queues.rx[0].receive(&mut self.cache, &mut batch);
            batch.as_slice().iter().for_each(|packet| each(packet));
            self.cache.free(&mut batch);
            self.queues.tx[0].reclaim(&mut self.cache);
            std::thread::yield_now();
        }
    }

    pub fn await_link(&mut self, up: bool) {
        self.poll(|_| (), |rig| rig.port.link().up == up);
    }

    /// Sends one frame, when there is room; whether it was taken.
    pub fn send(&mut self) -> bool {
        let len = 60 + (self.next * 37 % 1400) as usize;
        let mut packet = self.cache.alloc().expect("the pool is empty");
        let mut bytes = vec![self.next as u8; len];
        bytes[..8].copy_from_slice(&self.next.to_le_bytes());
        assert!(packet.set(&bytes));
        let mut batch = Batch::new();
        batch.push(packet).unwrap();
        let taken = self.queues.tx[0].transmit(&mut self.cache, &mut batch) == 1;
        self.cache.free(&mut batch);
        self.next += u64::from(taken);
        taken
    }

    /// Sends `n` frames and has them come back.
    pub fn exchange(&mut self, n: u64) {
        let first = self.next;
        let (mut seen, mut wanted) = (0, first);
        while seen < n {
            let due = (n - seen).min(16);
            let goal = self.next + due;
            self.poll(
                |_| (),
                |rig| {
                    while rig.next < goal && rig.send() {}
                    rig.next == goal
                },
            );
            let mut got = 0;
            let count = std::cell::Cell::new(0);
            self.poll(
                |frame| {
                    let number = u64::from_le_bytes(frame[..8].try_into().unwrap());
                    assert_eq!(number, wanted, "lost or out of order");
                    assert_eq!(frame.len(), 60 + (number * 37 % 1400) as usize);
                    assert!(frame[8..].iter().all(|byte| *byte == number as u8));
                    wanted += 1;
                    got += 1;
                    count.set(got);
                },
                |_| count.get() == due,
            );
            seen += due;
        }
    }

    pub fn counter(&mut self, wanted: &str) -> u64 {
        let mut found = None;
        self.port.counters(&mut |name: &'static str, value: u64| {
            if name == wanted {
                found = Some(value);
            }
        });
        found.unwrap()
    }

    pub fn events(&mut self) -> Vec<PortEvent> {
        std::iter::from_fn(|| self.port.event()).collect()
    }

    /// Stops it; the packets that did not come home, and whether its back end has let go.
    pub fn stop(mut self) -> (usize, bool) {
        let stopped = self.port.stop(self.queues).is_ok();
        drop(self.cache);
        (PACKETS - self.pool.available(), stopped)
    }
}
