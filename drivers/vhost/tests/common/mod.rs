//! A peer: the driver side of a virtio network card over vhost-user, written from the specifications.
#![allow(dead_code, reason = "each test uses a part")]

pub mod memory;
pub mod ring;

use barline::mem::{PageSize, Source};
use barline::pool::{Batch, Pool, PoolCache};
use barline::port::{LinkRequest, Port, PortConfig, Queues};
use barline_vhost::{Features, Options, Vhost};
use memory::Memory;
use ring::{Piece, Ring, Shape};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};
use vhost::VhostBackend;
use vhost::vhost_user::message::{VhostUserHeaderFlag, VhostUserProtocolFeatures};
use vhost::vhost_user::{Frontend, VhostUserFrontend};

pub const GUEST_CSUM: u64 = 1 << 1;
pub const MRG: u64 = 1 << 15;
pub const LOG_ALL: u64 = 1 << 26;
pub const INDIRECT: u64 = 1 << 28;
pub const EVENT_IDX: u64 = 1 << 29;
pub const PROTOCOL: u64 = 1 << 30;
pub const VERSION_1: u64 = 1 << 32;
pub const PACKED: u64 = 1 << 34;
pub const IN_ORDER: u64 = 1 << 35;

/// How a peer is.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Features besides VERSION_1 and PROTOCOL_FEATURES.
    pub features: u64,
    pub pairs: usize,
    pub size: u16,
    /// Bytes of a receive buffer.
    pub buffer: u32,
    /// The header in a piece of its own.
    pub apart: bool,
    /// Pieces of a sent frame.
    pub pieces: usize,
    /// Memory by ADD_MEM_REG.
    pub slots: bool,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            features: MRG | INDIRECT | EVENT_IDX | IN_ORDER,
            pairs: 1,
            size: 64,
            buffer: 2048,
            apart: false,
            pieces: 1,
            slots: false,
        }
    }
}

/// Bytes of a place for one buffer, and of one ring's places.
const PLACE: u64 = 0x4000;
pub const HEADER: usize = 12;

/// A connected peer.
pub struct Peer {
    pub frontend: Frontend,
    pub memory: Memory,
    pub wish: Wish,
    /// What the last frame that it received was said to ask for.
    pub header: [u8; 10],
    /// What it receives and what it sends, by pair.
    pub rings: Vec<Ring>,
    places: Vec<Vec<u64>>,
    /// Parts of a frame that is not whole.
    parts: Vec<(Vec<u8>, u16)>,
}

impl Peer {
    pub fn connect(path: &Path, wish: Wish) -> Self {
        let mut peer = Self::greet(path, wish);
        peer.start();
        peer
    }

    /// Features and memory; no rings yet.
    pub fn greet(path: &Path, wish: Wish) -> Self {
        Self::on(Frontend::connect(path, wish.pairs as u64 * 2).unwrap(), wish)
    }

    /// The same over a connection that stands.
    pub fn on(mut frontend: Frontend, wish: Wish) -> Self {
        let rings = wish.pairs as u64 * 2;
        let offered = frontend.get_features().unwrap();
        let features = wish.features | VERSION_1 | PROTOCOL;
        assert_eq!(features & !offered, 0, "{offered:#x}");
        frontend.set_owner().unwrap();
        let protocol = frontend.get_protocol_features().unwrap();
        frontend.set_protocol_features(protocol).unwrap();
        frontend.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        assert!(protocol.contains(VhostUserProtocolFeatures::MQ));
        // Not GET_QUEUE_NUM: the crate takes the number of pairs for that of rings.
        frontend.set_features(features).unwrap();
        let each = Ring::BYTES + u64::from(wish.size) * PLACE;
        let memory = Memory::new(each * rings);
        let shape = Shape {
            packed: wish.features & PACKED != 0,
            event_idx: wish.features & EVENT_IDX != 0,
            in_order: wish.features & IN_ORDER != 0,
            size: wish.size,
        };
        let mut peer = Self {
            rings: (0..rings).map(|n| Ring::new(&memory, n * each, shape)).collect(),
            places: (0..rings)
                .map(|n| {
                    let first = n * each + Ring::BYTES;
                    (0..u64::from(wish.size))
                        .map(|place| first + place * PLACE)
                        .collect()
                })
                .collect(),
            parts: vec![Default::default(); rings as usize],
            frontend,
            memory,
            wish,
            header: [0; 10],
        };
        let regions: Vec<_> = (0..rings).map(|n| peer.memory.region(n * each, each)).collect();
        if wish.slots {
            for region in &regions {
                peer.frontend.add_mem_region(region).unwrap();
            }
        } else {
            peer.frontend.set_mem_table(&regions).unwrap();
        }
        peer
    }

    pub fn start(&mut self) {
        for index in 0..self.rings.len() {
            self.start_ring(index, false);
            self.frontend.set_vring_enable(index, true).unwrap();
        }
        (0..self.wish.pairs).for_each(|pair| self.refill(pair));
    }

    /// A ring that the device has not seen before.
    pub fn start_ring(&mut self, index: usize, log: bool) {
        assert!(!log);
        self.start_ring_at(index, self.rings[index].base());
    }

    /// Where the guest has the buffer that is filled `n` buffers from now.
    pub fn next_place(&self, index: usize, n: usize) -> u64 {
        self.rings[index].nth(n).pieces[0].0
    }

    pub fn start_ring_at(&mut self, index: usize, base: u16) {
        let ring = &self.rings[index];
        self.frontend.set_vring_num(index, ring.shape.size).unwrap();
        self.frontend.set_vring_base(index, base).unwrap();
        self.frontend.set_vring_addr(index, &ring.config(false)).unwrap();
        self.frontend.set_vring_call(index, &ring.call).unwrap();
        self.frontend.set_vring_kick(index, &ring.kick).unwrap();
    }

    fn cut(at: u64, len: u32, wish: &Wish, sent: bool) -> Vec<Piece> {
        let (mut pieces, mut at, mut len) = (Vec::new(), at, len);
        if wish.apart {
            pieces.push((at, HEADER as u32));
            (at, len) = (at + HEADER as u64, len - HEADER as u32);
        }
        let count = if sent { wish.pieces as u32 } else { 1 };
        for n in 0..count {
            let part = if n + 1 == count { len } else { (len / count).min(9) };
            if part > 0 {
                pieces.push((at, part));
            }
            (at, len) = (at + u64::from(part), len - part);
        }
        pieces
    }

    /// Gives the device buffers to write to, as many as there are.
    pub fn refill(&mut self, pair: usize) {
        let (index, indirect) = (pair * 2, self.wish.features & INDIRECT != 0);
        while let Some(place) = self.places[index].pop() {
            let pieces = Self::cut(place, self.wish.buffer, &self.wish, false);
            if !self.rings[index].add(&pieces, true, indirect && pieces.len() > 1) {
                self.places[index].push(place);
                break;
            }
        }
    }

    /// Sends a frame; false where the ring is full.
    pub fn send(&mut self, pair: usize, frame: &[u8]) -> bool {
        self.send_with(pair, [0; 10], frame)
    }

    /// The same, and says of it what is in the header.
    pub fn send_with(&mut self, pair: usize, header: [u8; 10], frame: &[u8]) -> bool {
        self.reap(pair);
        let (index, indirect) = (pair * 2 + 1, self.wish.features & INDIRECT != 0);
        let Some(place) = self.places[index].pop() else {
            return false;
        };
        let bytes = [&header[..], &[0; HEADER - 10], frame].concat();
        self.memory.write(place, &bytes);
        let pieces = Self::cut(place, bytes.len() as u32, &self.wish, true);
        let ring = &mut self.rings[index];
        let old = if ring.shape.packed { ring.base() } else { ring.next };
        if !ring.add(&pieces, false, indirect && pieces.len() > 1) {
            self.places[index].push(place);
            return false;
        }
        ring.notify(old);
        true
    }

    /// Takes back what the device has sent on.
    pub fn reap(&mut self, pair: usize) {
        let index = pair * 2 + 1;
        while let Some((token, written)) = self.rings[index].take() {
            assert_eq!(written, 0);
            self.places[index].push(token.pieces[0].0 / PLACE * PLACE);
        }
    }

    /// Frames that wait to be sent on.
    pub fn unsent(&mut self, pair: usize) -> usize {
        self.reap(pair);
        self.rings[pair * 2 + 1].outstanding()
    }

    /// The next frame.
    pub fn receive(&mut self, pair: usize) -> Option<Vec<u8>> {
        let index = pair * 2;
        loop {
            let (token, written) = self.rings[index].take()?;
            let mut bytes: Vec<u8> = token
                .pieces
                .iter()
                .flat_map(|(at, len)| self.memory.read(*at, *len as usize))
                .collect();
            bytes.truncate(written as usize);
            self.places[index].push(token.pieces[0].0 / PLACE * PLACE);
            let (part, left) = &mut self.parts[index];
            if *left == 0 {
                self.header = bytes[..10].try_into().unwrap();
                let agreed = self.wish.features & GUEST_CSUM != 0;
                assert!(agreed || self.header == [0; 10], "no offload was negotiated");
                *left = u16::from_le_bytes([bytes[10], bytes[11]]);
                assert!(*left > 0);
                bytes.drain(..HEADER);
            }
            part.extend(bytes);
            *left -= 1;
            if *left == 0 {
                let frame = std::mem::take(part);
                self.refill(pair);
                return Some(frame);
            }
        }
    }
}

/// A started port and its queues.
pub struct Near {
    pub port: Vhost,
    pub queues: Queues,
    pub pool: Pool,
    pub cache: PoolCache,
    pub path: std::path::PathBuf,
    _dir: tempfile::TempDir,
}

/// A port leaves a ring that it found short alone for a moment, below a microsecond.
pub fn rest() {
    std::thread::sleep(std::time::Duration::from_micros(5));
}

impl Near {
    pub fn new(pairs: u16, mtu: u32) -> Self {
        Self::with(pairs, mtu, Features::default())
    }

    pub fn with(pairs: u16, mtu: u32, features: Features) -> Self {
        Self::started(pairs, mtu, mtu as usize + 18, features, |_| ())
    }

    /// With so much room in buffers, and another configuration.
    pub fn started(
        pairs: u16,
        mtu: u32,
        room: usize,
        features: Features,
        change: impl FnOnce(&mut PortConfig),
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let options = Options {
            features,
            ..Options::new(&path)
        };
        let mut port = Vhost::open(&options).unwrap();
        let pool = Pool::builder()
            .packets(if room > 1 << 14 { 256 } else { 2048 })
            .data_room(room);
        let pool = pool.source(Source::MemFd(PageSize::Base4K)).build().unwrap();
        let mut config = PortConfig {
            rx_queues: pairs,
            tx_queues: pairs,
            mtu,
            link: LinkRequest::DoNotWait,
            ..PortConfig::new(&pool)
        };
        change(&mut config);
        let queues = port.start(&config).unwrap();
        let cache = pool.cache();
        Self {
            port,
            queues,
            cache,
            pool,
            path,
            _dir: dir,
        }
    }

    /// A peer that has set up its rings; the link is up.
    pub fn meet(&self, wish: Wish) -> Peer {
        let peer = Peer::connect(&self.path, wish);
        until("the link", || self.port.link().up);
        peer
    }

    /// Once the last peer is gone, the next one is served. The end.
    pub fn serves_the_next(mut self, wish: Wish) {
        let mut peer = self.meet(wish);
        assert!(peer.send(0, &frame(60, 1)));
        until("a frame", || self.receive(0) == [frame(60, 1)]);
        self.end();
    }

    pub fn receive(&mut self, queue: usize) -> Vec<Vec<u8>> {
        rest();
        let mut batch = Batch::new();
        self.queues.rx[queue].receive(&mut self.cache, &mut batch);
        let frames = batch.as_slice().iter().map(|packet| packet.to_vec()).collect();
        self.cache.free(&mut batch);
        frames
    }

    /// Sends frames; how many were not taken.
    pub fn send(&mut self, queue: usize, frames: &[Vec<u8>]) -> usize {
        let mut batch = Batch::new();
        for frame in frames {
            let mut packet = self.cache.alloc().unwrap();
            assert!(packet.set(frame));
            batch.push(packet).unwrap();
        }
        rest();
        self.queues.tx[queue].transmit(&mut self.cache, &mut batch);
        let left = batch.len();
        self.cache.free(&mut batch);
        left
    }

    pub fn device(&mut self) -> BTreeMap<&'static str, u64> {
        let mut counters = BTreeMap::new();
        self.port.counters(&mut |name, value| {
            counters.insert(name, value);
        });
        counters
    }

    /// Stops, and checks that every packet is home.
    pub fn end(self) {
        let Self {
            mut port,
            queues,
            pool,
            cache,
            ..
        } = self;
        port.stop(queues).unwrap();
        drop(cache);
        assert_eq!(pool.available(), pool.packets());
    }
}

/// A frame that is like no other.
pub fn frame(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes: Vec<u8> = (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect();
    bytes.splice(..8.min(len), seed.to_le_bytes().into_iter().take(len));
    bytes
}

/// Waits for something of another thread's, half a minute at most.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < end, "waited for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
