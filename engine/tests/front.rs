//! The zeros in front of a sent packet: they are there whatever was there before, and they are not written where they are there.

mod common;

use barline::mem::Iova;
use barline::pool::{Batch, Custody, Packet, Posted};
use common::{domain, pool};
use nix::libc::c_void;
use nix::sys::mman::{ProtFlags, mprotect};
use nix::unistd::{SysconfVar, sysconf};
use proptest::prelude::*;
use std::ptr::NonNull;

/// Bytes in front of a new packet, and most that it holds behind them.
const HEADROOM: usize = 64;
const ROOM: usize = 256;

/// What a headroom holds: anything, or zeros but for one byte, which a check by words or of a part may miss.
fn junk() -> impl Strategy<Value = Vec<u8>> {
    let one = |(at, byte): (usize, u8)| {
        let mut bytes = vec![0; HEADROOM];
        bytes[at] = byte;
        bytes
    };
    prop_oneof![
        proptest::collection::vec(any::<u8>(), HEADROOM),
        (0..HEADROOM, any::<u8>()).prop_map(one),
        (0..HEADROOM, (0u32..8).prop_map(|bit| 1 << bit)).prop_map(one),
    ]
}

/// Writes a packet that begins behind `free` bytes of the headroom, which hold the first bytes of `junk`.
fn lay(packet: &mut Packet, junk: &[u8], free: usize, content: &[u8]) {
    packet.prepend(HEADROOM).unwrap().copy_from_slice(junk);
    packet.trim_front(free).unwrap();
    assert!(packet.set(content));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_sent_packet_stands_behind_zeros(
        junk in junk(),
        free in 0..=HEADROOM,
        prefix in prop_oneof![Just(12), 0..=HEADROOM + 16],
        content in proptest::collection::vec(1u8.., 1..=100),
    ) {
        let (local, space) = domain();
        let (pool, custody) = (pool(4), Custody::new());
        let mut cache = pool.cache();
        let mut posted = Posted::new(&pool.map(&space).unwrap(), &[], 4, &custody).unwrap();
        let mut packet = cache.alloc().unwrap();
        lay(&mut packet, &junk, free, &content);
        let mut batch = Batch::new();
        batch.push(packet).unwrap();
        let mut told = Vec::new();
        let sent = posted.send_behind(prefix, &mut batch, 1, 1..=ROOM as u32, |_, at, len| told.push((at, len)));
        prop_assert_eq!((sent.packets, told.len()), (1, 1));
        let (at, len) = told[0];
        prop_assert_eq!(len as usize, content.len());
        // What is left of the headroom, the zeros, the content.
        let before = free.max(prefix);
        let mut all = vec![0; before + content.len()];
        local.read(Iova::new(at.raw() - before as u64), &mut all).unwrap();
        let (left, rest) = all.split_at(before - prefix);
        let (zeros, frame) = rest.split_at(prefix);
        prop_assert_eq!(left, &junk[..before - prefix], "in front of the prefix nothing is written");
        prop_assert!(zeros.iter().all(|byte| *byte == 0), "{:?}", zeros);
        prop_assert_eq!(frame, &content[..]);
        drop((posted, cache));
        custody.open();
    }
}

/// Each bit alone in front of a packet becomes zero: what looks for others must look at all of them.
#[test]
fn a_bit_alone_is_cleared() {
    let (local, space) = domain();
    let (pool, custody) = (pool(64), Custody::new());
    let mut cache = pool.cache();
    let mut posted = Posted::new(&pool.map(&space).unwrap(), &[], 64, &custody).unwrap();
    for prefix in 1..=16 {
        for bit in 0..8 * prefix {
            let mut junk = vec![0; HEADROOM];
            junk[HEADROOM - prefix + bit / 8] = 1 << (bit % 8);
            let mut packet = cache.alloc().unwrap();
            lay(&mut packet, &junk, HEADROOM, &[7; 60]);
            let (mut batch, mut at) = (Batch::new(), None);
            batch.push(packet).unwrap();
            posted.send_behind(prefix, &mut batch, 1, 1..=ROOM as u32, |_, iova, _| {
                at = Some(iova)
            });
            let mut front = vec![1; prefix];
            let before = at.unwrap().raw() - prefix as u64;
            local.read(Iova::new(before), &mut front).unwrap();
            assert_eq!(front, vec![0; prefix], "bit {bit}");
            posted.reclaim(&mut cache, 1);
        }
    }
    drop((posted, cache));
    custody.open();
}

/// Makes the pages of some bytes ones that nobody may write to, or ordinary ones again.
fn protect(at: NonNull<c_void>, len: usize, flags: ProtFlags) {
    let page = sysconf(SysconfVar::PAGE_SIZE).unwrap().unwrap() as usize;
    let within = at.as_ptr() as usize % page;
    let start = NonNull::new(at.as_ptr().wrapping_byte_sub(within)).unwrap();
    // SAFETY: pages of a pool that this test owns, mapped as long as it is; they stay mapped, and can be read.
    unsafe { mprotect(start, within + len, flags) }.unwrap();
}

/// The zeros of the last use are left alone: their line stays with a device that is a core. A write ends this program (SIGSEGV).
#[test]
fn zeros_that_are_there_are_not_written() {
    let (_local, space) = domain();
    let (pool, custody) = (pool(64), Custody::new());
    let mut cache = pool.cache();
    let mut posted = Posted::new(&pool.map(&space).unwrap(), &[], 64, &custody).unwrap();
    for prefix in [1, 2, 3, 4, 8, 10, 12, 13, 31, 32, HEADROOM] {
        let mut packet = cache.alloc().unwrap();
        lay(&mut packet, &[0; HEADROOM], HEADROOM, &[7; 60]);
        let front = NonNull::new(packet.as_ptr().cast_mut().wrapping_sub(HEADROOM).cast()).unwrap();
        let mut batch = Batch::new();
        batch.push(packet).unwrap();
        protect(front, HEADROOM, ProtFlags::PROT_READ);
        let sent = posted.send_behind(prefix, &mut batch, 1, 1..=ROOM as u32, |_, _, _| ());
        protect(front, HEADROOM, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE);
        assert_eq!(sent.packets, 1, "{prefix}");
    }
    drop((posted, cache));
    custody.open();
    assert_eq!(pool.available(), 64);
}
