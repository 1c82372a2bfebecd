//! A port that plays the far end of another one's cable, on a thread of its own: what is injected is sent by it, what it receives is
//! there to be taken.

use barline::mem::{PageSize, Source};
use barline::pool::{Batch, Pool, PoolCache};
use barline::port::{LinkRequest, Port, PortConfig, Queues};
use barline_conformance::FarEnd;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, sleep, yield_now};
use std::time::Duration;

const MEMORY: Source = Source::MemFd(PageSize::Base4K);
/// Longest frame in bytes, and the shortest that a wire carries.
const MOST: usize = 9618;
const LEAST: usize = 60;

/// Opens the port, if that is possible now, and says how many pairs of queues to start it with.
pub type Open = Box<dyn Fn() -> Option<(Box<dyn Port>, u16)> + Send>;

#[derive(Default)]
struct Cable {
    to: Mutex<VecDeque<Vec<u8>>>,
    from: Mutex<VecDeque<Vec<u8>>>,
    pulled: AtomicBool,
    over: AtomicBool,
    /// It has a link, and has looked at its queues.
    ready: AtomicBool,
}

/// The far end.
pub struct PortFar {
    cable: Arc<Cable>,
    thread: Option<JoinHandle<()>>,
}

impl PortFar {
    /// `again`: a port that has lost its peer is opened anew, since the next one may be another.
    pub fn new(open: Open, again: bool) -> Self {
        let cable = Arc::new(Cable::default());
        let there = cable.clone();
        let thread = thread::spawn(move || play(&there, &open, again));
        Self {
            cable,
            thread: Some(thread),
        }
    }
}

/// A started port.
struct Side {
    port: Box<dyn Port>,
    queues: Queues,
    cache: PoolCache,
    batch: Batch,
    was_up: bool,
    /// Queues that the peer uses; 0: not known yet.
    open: usize,
}

impl Side {
    fn start((mut port, pairs): (Box<dyn Port>, u16)) -> Self {
        let pool = Pool::builder().packets(4096 * usize::from(pairs)).data_room(MOST);
        let pool = pool.source(MEMORY).build().unwrap();
        let config = PortConfig {
            rx_queues: pairs,
            tx_queues: pairs,
            mtu: MOST as u32 - 18,
            link: LinkRequest::DoNotWait,
            ring_memory: MEMORY,
            ..PortConfig::new(&pool)
        };
        let queues = port.start(&config).unwrap();
        Self {
            port,
            queues,
            cache: pool.cache(),
            batch: Batch::new(),
            was_up: false,
            open: 0,
        }
    }

    /// How many queues take something: a packet without a byte is dropped where there is a ring, and stays where there is none.
    fn count(&mut self) -> usize {
        let mut open = 0;
        for tx in &mut self.queues.tx {
            self.batch.extend(self.cache.alloc());
            tx.transmit(&mut self.cache, &mut self.batch);
            if !self.batch.is_empty() {
                self.cache.free(&mut self.batch);
                break;
            }
            open += 1;
        }
        open
    }

    /// Sends a frame through the queue of its flow; whether it was taken.
    fn send(&mut self, frame: &[u8]) -> bool {
        if self.open == 0 {
            self.open = self.count();
        }
        let Some(mut packet) = self.cache.alloc().filter(|_| self.open > 0) else {
            return false;
        };
        assert!(packet.set(frame));
        self.batch.extend([packet]);
        let tx = &mut self.queues.tx[flow(frame) % self.open];
        tx.transmit(&mut self.cache, &mut self.batch);
        let taken = self.batch.is_empty();
        self.cache.free(&mut self.batch);
        taken
    }

    fn turn(&mut self, cable: &Cable) {
        loop {
            let next = cable.to.lock().unwrap().pop_front();
            let Some(frame) = next else { break };
            if !self.send(&frame) {
                cable.to.lock().unwrap().push_front(frame);
                break;
            }
        }
        for (rx, tx) in self.queues.rx.iter_mut().zip(&mut self.queues.tx) {
            rx.receive(&mut self.cache, &mut self.batch);
            let mut from = cable.from.lock().unwrap();
            for packet in self.batch.as_slice() {
                let mut frame = packet.to_vec();
                frame.resize(frame.len().max(LEAST), 0);
                from.push_back(frame);
            }
            self.cache.free(&mut self.batch);
            tx.reclaim(&mut self.cache);
        }
    }
}

/// A number that is the same for all frames with the same addresses and ports, in IPv4 and UDP; 0 for all else.
fn flow(frame: &[u8]) -> usize {
    match (frame.get(12..14), frame.get(26..38)) {
        (Some([8, 0]), Some(fields)) => {
            let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            (fields.iter().fold(0xcbf2_9ce4_8422_2325, mix) >> 32) as usize
        }
        _ => 0,
    }
}

fn play(cable: &Cable, open: &Open, again: bool) {
    let mut side = None;
    while !cable.over.load(Acquire) {
        let Some(now) = &mut side else {
            side = open().filter(|_| !cable.pulled.load(Acquire)).map(Side::start);
            sleep(Duration::from_millis(1));
            continue;
        };
        let up = now.port.link().up;
        if up {
            now.turn(cable);
        }
        cable.ready.store(up, Release);
        let lost = now.was_up && !up;
        if lost {
            // On a wire without anybody.
            cable.to.lock().unwrap().clear();
            now.open = 0;
        }
        now.was_up = up;
        if lost && again || cable.pulled.load(Acquire) {
            cable.ready.store(false, Release);
            end(side.take());
        }
        yield_now();
    }
    end(side);
}

fn end(side: Option<Side>) {
    if let Some(Side { mut port, queues, .. }) = side {
        // Its peer may have gone without a word.
        let _ = port.stop(queues);
    }
}

impl FarEnd for PortFar {
    fn inject(&self, frame: &[u8]) -> bool {
        self.cable.to.lock().unwrap().push_back(frame.to_vec());
        true
    }

    fn take(&self) -> Option<Vec<u8>> {
        self.cable.from.lock().unwrap().pop_front()
    }

    fn pending(&self) -> usize {
        self.cable.to.lock().unwrap().len()
    }

    fn is_ready(&self) -> bool {
        self.cable.ready.load(Acquire)
    }

    fn complaints(&self) -> Vec<String> {
        Vec::new()
    }

    fn set_link(&self, up: bool) -> bool {
        self.cable.pulled.store(!up, Release);
        true
    }
}

impl fmt::Debug for PortFar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PortFar({} frames to come)", self.pending())
    }
}

impl Drop for PortFar {
    fn drop(&mut self) {
        self.cable.over.store(true, Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
