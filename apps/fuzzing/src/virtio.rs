use crate::bytes::Bytes;
use barline::mem::{Access, DmaDomain, Iova, LocalDomain, Mapping, Memory, Numa, PageSize, Source};
use barline::offload::Offloads;
use barline::pool::{Batch, Custody, Packet, Pool, PoolCache, PoolMap};
use barline::port::{RxQueue, TxQueue};
use barline::ring::FrameLimit;
use barline::ring::completion::{Format, Health, Notify, RxRing, TxRing};
use barline_virtio::{Areas, Packed, Split, Traits};
use std::collections::HashSet;
use std::sync::Arc;

const SMALL: Source = Source::MemFd(PageSize::Base4K);
/// Positions of a ring.
const RING: u32 = 16;
/// Fewer than two rings and what is held want, so that the pool runs dry.
const PACKETS: usize = 40;

/// What a back end answers to a virtio-user port.
pub fn virtio_user_answers(bytes: &[u8]) {
    barline_virtio_user::fuzzing::answers(bytes);
}

/// Rings of virtio-user and virtio ports whose other side writes what it likes, where it likes, when it likes.
pub fn virtio_rings(bytes: &[u8]) {
    let mut input = Bytes::new(bytes);
    let chosen = input.u8();
    let on = |bit: u8| chosen >> bit & 1 != 0;
    let with = Traits {
        event_idx: on(1),
        in_order: on(2),
        merges: on(3),
        offloads: if on(4) { Offloads::all() } else { Offloads::empty() },
    };
    let ground = Ground::new();
    if on(0) {
        let make = |memory: &Arc<Mapping>, at| Packed::new(memory, at, RING, with);
        let rings = (
            make(&ground.memory, 0),
            Packed::new(&ground.memory, HALF, RING, with),
        );
        let (rx, tx): (Option<Packed<true>>, Option<Packed<false>>) = rings;
        let (rx, tx) = (rx.expect("room"), tx.expect("room"));
        let areas = [rx.areas(), tx.areas()];
        ground.play(rx, tx, areas, true, input);
    } else {
        let make = |memory: &Arc<Mapping>, at| Split::new(memory, at, RING, with);
        let rings = (
            make(&ground.memory, 0),
            Split::new(&ground.memory, HALF, RING, with),
        );
        let (rx, tx): (Option<Split<true>>, Option<Split<false>>) = rings;
        let (rx, tx) = (rx.expect("room"), tx.expect("room"));
        let areas = [rx.areas(), tx.areas()];
        ground.play(rx, tx, areas, false, input);
    }
}

/// Where the second ring stands.
const HALF: usize = 4096;

#[derive(Debug)]
struct Silent;

impl Notify for Silent {
    fn notify(&mut self, _tail: u32) {}
}

/// What the rings stand on.
struct Ground {
    local: Arc<LocalDomain>,
    memory: Arc<Mapping>,
    pool: Pool,
    map: PoolMap,
    custody: Arc<Custody>,
}

impl Ground {
    fn new() -> Self {
        let local = Arc::new(LocalDomain::new());
        let domain: Arc<dyn DmaDomain> = local.clone();
        let pool = Pool::builder().packets(PACKETS).data_room(256).headroom(64);
        let pool = pool.source(SMALL).build().expect("memory for a pool");
        let memory = Memory::new(2 * HALF, SMALL, Numa::Any).expect("memory for rings");
        Self {
            memory: Mapping::new(&memory, &domain, Access::ReadWrite).expect("an address for rings"),
            map: pool.map(&domain).expect("an address for the pool"),
            local,
            pool,
            custody: Custody::new(),
        }
    }

    fn play<R: Format, T: Format>(self, rx: R, tx: T, areas: [Areas; 2], packed: bool, mut input: Bytes<'_>) {
        let (limit, health) = (FrameLimit::new(256), Health::default());
        let rx = RxRing::new(rx, Silent, &self.map, &self.custody, &limit, &health);
        let tx = TxRing::new(tx, Silent, &self.map, &[], &self.custody, &limit, &health);
        let (mut rx, mut tx) = (rx.expect("a ring"), tx.expect("a ring"));
        let mut cache = self.pool.cache();
        rx.fill(&mut cache);
        let mut held = Vec::new();
        while !input.is_empty() {
            let command = input.u8();
            let areas = areas[usize::from(command >> 3 & 1)];
            match command & 7 {
                0 | 1 => {
                    let mut batch = Batch::with_burst(usize::from(command >> 3) + 1);
                    let got = rx.receive(&mut cache, &mut batch);
                    assert_eq!(got, batch.len());
                    held.extend(std::iter::from_fn(|| batch.pop()));
                    check(&held);
                    held.truncate(if command & 7 == 0 { 0 } else { usize::MAX });
                }
                2 => send(&mut tx, &mut cache, command >> 4, input.u16()),
                3 => drop(tx.reclaim(&mut cache)),
                4 => self.complete(areas, packed, command, &mut input),
                5 => self.header(areas, input.u8(), input.u8().into()),
                6 => self.put(areas.device.offset(2), &input.u16().to_le_bytes()),
                _ => {
                    let at = u64::from(input.u16()) % (2 * HALF as u64 - 8);
                    self.put(self.memory.iova().offset(at), &input.u64().to_le_bytes());
                }
            }
        }
        let counters = rx.counters();
        assert!(counters.rx_packets.get() > 0 || counters.rx_bytes.get() == 0);
        drop((held, rx, tx, cache));
        self.custody.open();
        assert_eq!(self.pool.available(), PACKETS, "packets are missing");
    }

    fn put(&self, at: Iova, bytes: &[u8]) {
        // Beyond the rings there is nothing that it could write to.
        let _ = self.local.write(at, bytes);
    }

    /// A completion such as good devices write them: place, id, length; of a packed ring with the wrap counter of the command.
    fn complete(&self, areas: Areas, packed: bool, command: u8, input: &mut Bytes<'_>) {
        let place = u64::from(input.u8()) % u64::from(RING);
        let (id, len) = (u16::from(input.u8()), u32::from(input.u16()));
        if packed {
            let flags: u16 = if command & 16 == 0 { 1 << 7 | 1 << 15 } else { 0 };
            let rest = [&len.to_le_bytes()[..], &id.to_le_bytes(), &flags.to_le_bytes()].concat();
            self.put(areas.desc.offset(place * 16 + 8), &rest);
        } else {
            let entry = [u32::from(id).to_le_bytes(), len.to_le_bytes()].concat();
            self.put(areas.device.offset(4 + place * 8), &entry);
        }
    }

    /// A header before a frame of so many parts, in a buffer that a descriptor names.
    fn header(&self, areas: Areas, place: u8, parts: u16) {
        let place = u64::from(place) % u64::from(RING);
        let mut address = [0; 8];
        if self
            .local
            .read(areas.desc.offset(place * 16), &mut address)
            .is_ok()
        {
            let header = [[0; 10].as_slice(), &parts.to_le_bytes()].concat();
            // The name may be nonsense by now.
            self.put(Iova::new(u64::from_le_bytes(address)), &header);
        }
    }
}

fn send(tx: &mut dyn TxQueue, cache: &mut PoolCache, count: u8, len: u16) {
    let mut batch = Batch::new();
    for _ in 0..=count {
        let Some(mut packet) = cache.alloc() else { break };
        packet.append(usize::from(len) % 257).expect("room");
        batch.push(packet).expect("room");
    }
    tx.transmit(cache, &mut batch);
    cache.free(&mut batch);
}

/// No packet is longer than its buffer, none is empty, and no two are the same buffer.
fn check(held: &[Packet]) {
    let mut places = HashSet::new();
    for packet in held {
        assert!((1..=256).contains(&packet.len()), "{} bytes", packet.len());
        // Touches every byte, which must be there.
        std::hint::black_box(packet.iter().map(|byte| u64::from(*byte)).sum::<u64>());
        let place = packet.as_ptr() as usize - packet.headroom();
        assert!(places.insert(place), "one buffer was delivered twice");
    }
}
