use crate::bytes::Bytes;
use crate::rig::{RING, Rig};
use barline::pool::Batch;
use barline::port::TxQueue;
use barline::ring::{FrameLimit, TxRing};
use barline_igb::Tx;

/// The longest frame that the ring is told to send.
const LIMIT: u32 = 200;

/// A transmit ring of the 82576's format whose device reports what it likes, where it likes, when it likes.
pub fn tx_ring(bytes: &[u8]) {
    let (rig, descriptors, doorbell) = Rig::new();
    let limit = FrameLimit::new(LIMIT);
    let ring = TxRing::<Tx>::new(descriptors, doorbell, &rig.map, &[], &rig.custody, &limit);
    let mut ring = ring.expect("a ring that is long enough");
    let mut cache = rig.pool.cache();
    let (mut batch, mut handed, mut input) = (Batch::new(), 0, Bytes::new(bytes));
    while !input.is_empty() {
        let command = input.u8();
        match command & 7 {
            0 | 1 => {
                for _ in 0..=command >> 3 {
                    let (len, room) = (input.u8(), batch.room());
                    handed += cache.alloc_batch(&mut batch, room.min(1), usize::from(len)) as u64;
                }
                ring.transmit(&mut cache, &mut batch);
            }
            2 => assert!(ring.reclaim(&mut cache) < RING as usize),
            3 => {
                handed -= batch.len() as u64;
                cache.free(&mut batch);
            }
            4 => rig.store(command >> 3, 1, input.u64()),
            5 => rig.store(command >> 3, 0, input.u64()),
            6 => limit.set(u32::from(input.u16())),
            _ => (0..RING as u8).for_each(|index| rig.store(index, 1, 1 << 32)),
        }
        let counters = ring.counters();
        assert_eq!(
            counters.taken() + batch.len() as u64,
            handed,
            "a packet has no counter"
        );
        assert!(ring.in_flight() < RING as usize);
    }
    drop((batch, ring, cache));
    rig.end();
}
