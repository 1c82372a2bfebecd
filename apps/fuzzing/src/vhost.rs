use crate::bytes::Bytes;
use barline::mem::{PageSize, Source};
use barline::offload::{Checksum, Offload};
use barline::pool::{Batch, Pool, PoolCache};
use barline::port::{RxQueue, TxQueue};
use barline_vhost::fuzzing::{APART, GUEST, Ground, LOG_ALL, PLACES, Rings, SIZE, messages};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Bytes of the guest's memory.
const MEMORY: u64 = 0x4_0000;
/// Where the second region begins, if there is one: among buffers.
const BORDER: u64 = 0x2_8010;
/// Where good buffers are.
const BUFFERS: u64 = 0x2_2000;
/// Where tables of descriptors are.
const TABLES: u64 = 0x3_0000;
/// Longest frame in bytes.
const MOST: usize = 1518;

/// Messages of a vhost-user peer, as they come out of the socket.
pub fn vhost_messages(bytes: &[u8]) {
    messages(bytes);
}

/// Rings whose peer writes what it likes, where it likes, when it likes.
pub fn vhost_rings(bytes: &[u8]) {
    let mut input = Bytes::new(bytes);
    let mut peer = Peer::new(input.u8());
    let pool = Pool::builder()
        .packets(256)
        .source(Source::MemFd(PageSize::Base4K));
    let pool = pool.build().expect("a pool");
    let mut cache = pool.cache();
    while !input.is_empty() {
        let command = input.u8();
        let ring = command >> 3 & 1;
        match command & 7 {
            0 if command & 0x40 != 0 => peer.good_descriptor(ring, command & 0x20 != 0, &mut input),
            // A descriptor: mostly of memory that is there.
            0 => {
                let (slot, at, rest) = (u64::from(input.u8()) % u64::from(SIZE), input.u64(), input.u64());
                let at = if command & 0x80 != 0 {
                    at
                } else {
                    GUEST + at % MEMORY
                };
                peer.put(base(ring, 0) + slot * 16, &at.to_le_bytes());
                peer.put(base(ring, 0) + slot * 16 + 8, &rest.to_le_bytes());
            }
            // The index: some more than were used, or anything.
            1 if command & 0x40 != 0 => peer.make_available(ring, input.u8()),
            1 => peer.put(base(ring, 1) + 2, &input.u16().to_le_bytes()),
            // A whole buffer, as good drivers make it.
            2 if command & 0x40 != 0 => peer.post(ring, &mut input),
            2 => peer.put(
                base(ring, 1) + 4 + u64::from(input.u8()) % u64::from(SIZE) * 2,
                &input.u16().to_le_bytes(),
            ),
            3 => peer.put(
                u64::from(input.u16()) << (command >> 6),
                &input.u64().to_le_bytes(),
            ),
            4 | 5 => receive(&mut peer.rings, &mut cache, usize::from(command >> 3) + 1),
            6 => send(&mut peer.rings, &mut cache, command >> 3, &mut input),
            _ => {
                peer.rings.rx.arm();
                peer.rings.rx.disarm();
                peer.restart(ring, input.u16());
            }
        }
    }
    let (rx, tx) = (peer.rings.rx.counters(), peer.rings.tx.counters());
    assert!(rx.rx_packets.get() > 0 || rx.rx_bytes.get() == 0);
    assert!(tx.tx_packets.get() > 0 || tx.tx_bytes.get() == 0);
    drop((peer, cache));
    assert_eq!(pool.available(), pool.packets());
}

/// Where an area of a ring is.
fn base(ring: u8, area: usize) -> u64 {
    PLACES[area] + u64::from(ring) * APART
}

/// The guest's memory, and the rings in it.
struct Peer {
    file: File,
    rings: Rings,
    packed: bool,
    /// Where the next buffer of each ring goes: its number, of a packed ring its place and the wrap counter.
    next: [(u16, bool); 2],
}

impl Peer {
    /// With VERSION_1, and of the rest what the bits say.
    fn new(chosen: u8) -> Self {
        let on = |n: u8| chosen >> n & 1 != 0;
        // MRG_RXBUF, INDIRECT_DESC, EVENT_IDX, RING_PACKED, CSUM and GUEST_CSUM, HOST_TSO4 and GUEST_TSO4.
        let bits = [
            1 << 15,
            1 << 28,
            1 << 29,
            1 << 34,
            1 << 0 | 1 << 1,
            1 << 11 | 1 << 7,
            LOG_ALL,
        ];
        let features = (0..7)
            .filter(|n| on(*n))
            .fold(1 << 32, |all, n| all | bits[usize::from(n)]);
        let file = File::from(memfd_create(c"guest", MFdFlags::MFD_CLOEXEC).expect("memory"));
        file.set_len(MEMORY).expect("memory");
        let ground = Ground {
            len: MEMORY,
            border: on(7).then_some(BORDER),
            features,
            most: MOST as u32,
        };
        Self {
            rings: Rings::new(&file, &ground),
            file,
            packed: on(3),
            next: [(0, false); 2],
        }
    }

    /// Stops a ring and sets it up anew, going on at a place.
    fn restart(&mut self, ring: u8, base: u16) {
        self.rings.restart(ring.into(), base.into());
        let place = if self.packed {
            base & 0x7fff
        } else {
            self.used(ring)
        };
        self.next[usize::from(ring)] = (place, base >> 15 != 0);
    }

    /// The index of a split ring's used entries.
    fn used(&self, ring: u8) -> u16 {
        let mut used = [0; 2];
        let read = self.file.read_exact_at(&mut used, base(ring, 2) + 2);
        read.expect("memory");
        u16::from_le_bytes(used)
    }

    /// Makes a buffer available: of up to four pieces, linked or in a table, its memory across the border or not; one that is sent with
    /// a header that may ask for a checksum and for segments.
    fn post(&mut self, ring: u8, input: &mut Bytes<'_>) {
        let (bits, len) = (input.u8(), u32::from(input.u16()) % 4000 + 26);
        let on = |bit: u8| bits >> bit & 1 != 0;
        let at = if on(3) { BORDER - 40 } else { BUFFERS } + u64::from(ring) * 0x1000;
        if ring == 1 {
            let (flags, kind) = (u8::from(on(4)), u8::from(on(5)));
            self.put(at, &[flags, kind, 0, 0, 100, 0, 20, 0, 10, 0, 0, 0]);
        }
        let count = u64::from(bits & 3) + 1;
        let piece = |n: u64| {
            let rest = u64::from(len) - (count - 1) * 7;
            (at + n * 7, if n + 1 == count { rest } else { 7 })
        };
        let write = if ring == 0 { 2 } else { 0 };
        let (place, wrap) = self.next[usize::from(ring)];
        let turn = if wrap { 1 << 7 } else { 1 << 15 };
        let slot = u64::from(place) % u64::from(SIZE);
        let table = TABLES + slot * 64;
        let descriptors = if on(2) { 1 } else { count };
        for n in 0..count {
            let to = match on(2) {
                true => table + n * 16,
                false => base(ring, 0) + (slot + n) % u64::from(SIZE) * 16,
            };
            // In a table numbers count from its start.
            let next = if on(2) {
                n + 1
            } else {
                (slot + n + 1) % u64::from(SIZE)
            };
            self.describe(to, piece(n), write | u64::from(n + 1 < count), [next, slot, turn]);
        }
        if on(2) {
            let to = base(ring, 0) + slot * 16;
            self.describe(to, (table, count * 16), 4, [0, slot, turn]);
        }
        self.put(base(ring, 1) + 4 + slot * 2, &(slot as u16).to_le_bytes());
        let next = &mut self.next[usize::from(ring)];
        if self.packed {
            let place = slot + descriptors;
            *next = (
                (place % u64::from(SIZE)) as u16,
                wrap ^ (place >= u64::from(SIZE)),
            );
        } else {
            next.0 = next.0.wrapping_add(1);
            let index = next.0;
            self.put(base(ring, 1) + 2, &index.to_le_bytes());
        }
    }

    /// A descriptor of either kind of ring.
    fn describe(&self, to: u64, (at, len): (u64, u64), flags: u64, [next, id, turn]: [u64; 3]) {
        let rest = match self.packed {
            true => len | id << 32 | (flags | turn) << 48,
            false => len | flags << 32 | next << 48,
        };
        self.put(to, &(GUEST + at).to_le_bytes());
        self.put(to + 8, &rest.to_le_bytes());
    }

    fn put(&self, at: u64, bytes: &[u8]) {
        self.file.write_all_at(bytes, at % (MEMORY - 64)).expect("memory");
    }

    /// A descriptor as good drivers write them, nearly: of a ring, or of a table.
    fn good_descriptor(&self, ring: u8, in_table: bool, input: &mut Bytes<'_>) {
        let slot = u64::from(input.u8()) % u64::from(SIZE);
        let (at, len, bits) = (u64::from(input.u16()), u64::from(input.u16()), input.u8());
        let flag = |bit: u8, value: u64| u64::from(bits >> bit & 1) * value;
        let (next, table) = (flag(1, 1), flag(2, 4));
        let write = (flag(0, 1) ^ u64::from(ring == 0)) * 2;
        let (at, len, write) = match table {
            0 => (at * 4, len, write),
            _ => (TABLES + at % u64::from(SIZE) * 16, len % 6 * 16, 0),
        };
        // Made available with the wrap counter at 1, or at 0 (2.8.1).
        let turn = if bits & 8 != 0 { 1 << 7 } else { 1 << 15 };
        let place = if in_table { TABLES } else { base(ring, 0) } + slot * 16;
        let words = [(slot + 1) % u64::from(SIZE), slot, turn];
        self.describe(place, (at % MEMORY, len), write | next | table, words);
    }

    /// So many more buffers than were used, whose heads are the numbers behind those of the last ones.
    fn make_available(&self, ring: u8, count: u8) {
        let (used, count) = (self.used(ring), u16::from(count % 16));
        for n in 0..count {
            let place = u64::from(used.wrapping_add(n)) % u64::from(SIZE);
            self.put(base(ring, 1) + 4 + place * 2, &(place as u16).to_le_bytes());
        }
        self.put(base(ring, 1) + 2, &used.wrapping_add(count).to_le_bytes());
    }
}

/// What comes is as long as a frame may be, and asks for nothing outside of it.
fn receive(rings: &mut Rings, cache: &mut PoolCache, most: usize) {
    let mut batch = Batch::with_burst(most);
    let got = rings.rx.receive(cache, &mut batch);
    assert_eq!(got, batch.len());
    for packet in batch.as_slice() {
        let offload = packet.offload();
        let most = if offload.segmentation.is_some() {
            cache.pool().data_room()
        } else {
            MOST
        };
        assert!((14..=most).contains(&packet.len()), "{} bytes", packet.len());
        if let Checksum::Partial { start, offset } = offload.checksum {
            assert!(usize::from(start) + usize::from(offset) + 2 <= packet.len());
        }
        // Touches every byte, which must be there.
        std::hint::black_box(packet.iter().map(|byte| u64::from(*byte)).sum::<u64>());
    }
    cache.free(&mut batch);
}

/// Sends 1 to 8 packets, with open checksums or not.
fn send(rings: &mut Rings, cache: &mut PoolCache, how: u8, input: &mut Bytes<'_>) {
    let mut batch = Batch::new();
    for _ in 0..=how >> 2 {
        let mut packet = cache.alloc().expect("none is held");
        let len = usize::from(input.u16()) % 1600;
        packet.append(len).expect("room");
        if how & 1 != 0 && len > 60 {
            packet.set_offload(Offload {
                checksum: Checksum::Partial {
                    start: 34,
                    offset: 16,
                },
                segmentation: None,
            });
        }
        batch.push(packet).expect("room");
    }
    rings.tx.transmit(cache, &mut batch);
    cache.free(&mut batch);
}
