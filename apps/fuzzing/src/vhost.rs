use crate::bytes::Bytes;
use barline::mem::{PageSize, Source};
use barline::offload::Checksum;
use barline::pool::{Batch, Pool};
use barline::port::{RxQueue, TxQueue};
use barline_vhost::fuzzing::{APART, GUEST, PLACES, Rings, SIZE, messages};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Bytes of the guest's memory.
const MEMORY: u64 = 0x4_0000;
/// Longest frame in bytes.
const MOST: usize = 1518;

/// Messages of a vhost-user peer, as they come out of the socket.
pub fn vhost_messages(bytes: &[u8]) {
    messages(bytes);
}

/// Rings whose peer writes what it likes, where it likes, when it likes.
pub fn vhost_rings(bytes: &[u8]) {
    let mut input = Bytes::new(bytes);
    let file = File::from(memfd_create(c"guest", MFdFlags::MFD_CLOEXEC).expect("memory"));
    file.set_len(MEMORY).expect("memory");
    let pool = Pool::builder()
        .packets(256)
        .source(Source::MemFd(PageSize::Base4K));
    let pool = pool.build().expect("a pool");
    let mut cache = pool.cache();
    // VERSION_1, and of the rest what the first byte says: MRG_RXBUF, INDIRECT_DESC, EVENT_IDX, RING_PACKED, CSUM, HOST_TSO4.
    let chosen = u64::from(input.u8());
    let bits = [15, 28, 29, 34, 0, 11];
    let features = (0..6)
        .filter(|n| chosen >> n & 1 != 0)
        .fold(1 << 32, |all, n| all | 1 << bits[n]);
    let mut rings = Rings::new(&file, MEMORY, features, MOST as u32);
    while !input.is_empty() {
        let command = input.u8();
        let ring = u64::from(command >> 3 & 1);
        let base = |area: usize| PLACES[area] + ring * APART;
        let put = |at: u64, bytes: &[u8]| file.write_all_at(bytes, at % (MEMORY - 64)).expect("memory");
        match command & 7 {
            // A descriptor: mostly of memory that is there.
            0 => {
                let (slot, at, rest) = (u64::from(input.u8()) % u64::from(SIZE), input.u64(), input.u64());
                let at = if command & 0x80 != 0 {
                    at
                } else {
                    GUEST + at % MEMORY
                };
                put(base(0) + slot * 16, &at.to_le_bytes());
                put(base(0) + slot * 16 + 8, &rest.to_le_bytes());
            }
            1 => put(base(1) + 2, &input.u16().to_le_bytes()),
            2 => put(
                base(1) + 4 + u64::from(input.u8()) % u64::from(SIZE) * 2,
                &input.u16().to_le_bytes(),
            ),
            3 => put(
                u64::from(input.u16()) << (command >> 6),
                &input.u64().to_le_bytes(),
            ),
            4 | 5 => {
                let mut batch = Batch::with_burst(usize::from(command >> 3) + 1);
                let got = rings.rx.receive(&mut cache, &mut batch);
                assert_eq!(got, batch.len());
                for packet in batch.as_slice() {
                    let offload = packet.offload();
                    let most = if offload.segmentation.is_some() {
                        pool.data_room()
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
            6 => {
                let mut batch = Batch::new();
                for _ in 0..=command >> 5 {
                    let mut packet = cache.alloc().expect("none is held");
                    packet.append(usize::from(input.u16()) % 1600).expect("room");
                    batch.push(packet).expect("room");
                }
                rings.tx.transmit(&mut cache, &mut batch);
                cache.free(&mut batch);
            }
            _ => {
                rings.rx.arm();
                rings.rx.disarm();
                rings.restart(ring as u32, input.u16().into());
            }
        }
    }
    let (rx, tx) = (rings.rx.counters(), rings.tx.counters());
    assert!(rx.rx_packets.get() > 0 || rx.rx_bytes.get() == 0);
    assert!(tx.tx_packets.get() > 0 || tx.tx_bytes.get() == 0);
    drop((rings, cache));
    assert_eq!(pool.available(), pool.packets());
}
