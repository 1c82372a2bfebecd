use crate::bytes::Bytes;
use crate::rig::{RING, Rig};
use barline::pool::{Batch, Packet};
use barline::port::RxQueue;
use barline::ring::RxRing;
use barline_igb::Rx;
use std::collections::HashSet;

/// A receive ring of the 82576's format whose device writes back what it likes, where it likes, when it likes.
pub fn rx_ring(bytes: &[u8]) {
    let (rig, descriptors, doorbell) = Rig::new();
    let ring = RxRing::<Rx>::new(descriptors, doorbell, &rig.map, &rig.custody);
    let mut ring = ring.expect("a ring that is long enough");
    let mut cache = rig.pool.cache();
    ring.fill(&mut cache);
    let (mut held, mut input) = (Vec::new(), Bytes::new(bytes));
    while !input.is_empty() {
        let command = input.u8();
        match command & 7 {
            0 | 1 => {
                let mut batch = Batch::with_burst(usize::from(command >> 3) + 1);
                let got = ring.receive(&mut cache, &mut batch);
                assert_eq!(got, batch.len());
                held.extend(std::iter::from_fn(|| batch.pop()));
                check(&held, rig.pool.data_room());
                if command & 7 == 0 {
                    held.clear();
                }
            }
            2 => held.truncate(usize::from(command >> 3)),
            3 => {
                let len = usize::from(input.u8());
                // A fault is the device's own: it was told to forget the address.
                let _ = rig.fill(command >> 3, &[command; 256][..len]);
                rig.store(command >> 3, 1, (len as u64) << 32 | 3);
            }
            4 => rig.store(command >> 3, 1, input.u64()),
            5 => rig.store(command >> 3, 0, input.u64()),
            6 => rig.store(
                command >> 3,
                1,
                u64::from(input.u16()) << 32 | u64::from(input.u16()),
            ),
            _ => (0..RING as u8).for_each(|index| rig.store(index, 1, u64::from(command >> 3) << 32 | 3)),
        }
    }
    let delivered = ring.counters().rx_packets.get();
    assert!(delivered > 0 || ring.counters().rx_bytes.get() == 0);
    drop((held, ring, cache));
    rig.end();
}

/// No packet is longer than its buffer, none is empty, and no two are the same buffer.
fn check(held: &[Packet], room: usize) {
    let mut places = HashSet::new();
    for packet in held {
        assert!((1..=room).contains(&packet.len()), "{} bytes", packet.len());
        // Touches every byte, which must be there.
        std::hint::black_box(packet.iter().map(|byte| u64::from(*byte)).sum::<u64>());
        let place = packet.as_ptr() as usize - packet.headroom();
        assert!(places.insert(place), "one buffer was delivered twice");
    }
}
