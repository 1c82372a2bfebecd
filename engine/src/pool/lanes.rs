//! Handles made and taken apart many at a time: what allocating and freeing a burst costs (ADR 0006).
//!
//! The vector forms change the order within a burst. That is free: a slot is a slot, and neither a stack of free ones
//! nor a burst of empty packets has an order that anybody could rely on.

use super::{LINE_SHIFT, Packet};
use std::mem::{MaybeUninit, offset_of};

/// What the handles of a burst said, besides their slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Not 0 when a packet is of another arena.
    pub strange: u64,
    /// Bytes of all packets.
    pub bytes: u32,
}

/// What is the same in all handles of a burst.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mould {
    /// Address of slot 0's first byte of data: the arena's base and the headroom.
    pub first: u64,
    /// Length and headroom where a handle has them.
    pub rest: u64,
}

impl Mould {
    #[inline(always)]
    pub(super) fn new(base: u64, len: u16, headroom: u16) -> Self {
        Self {
            first: base + u64::from(headroom),
            rest: u64::from(len) << 32 | u64::from(headroom) << 48,
        }
    }
}

/// The second half of a handle as one word: slot, length, headroom, little-endian.
const _: () = assert!(
    offset_of!(Packet, slot) == 8 && offset_of!(Packet, len) == 12 && offset_of!(Packet, headroom) == 14
);

/// Writes one handle a slot.
///
/// # Safety
/// `to` has room for as many handles as there are slots; the mould's lengths are within the buffers of the pool whose
/// slots these are, and the caller gives the slots up.
type Make = unsafe fn(slots: &[u32], to: *mut MaybeUninit<Packet>, mould: Mould);

/// Writes the slots of packets, and looks at the rest of their handles.
///
/// # Safety
/// `to` has room for as many slots as there are packets.
type Take = unsafe fn(packets: &[Packet], to: *mut u32, arena: u64) -> Seen;

/// The two functions that suit this CPU.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lanes {
    pub make: Make,
    pub take: Take,
}

impl Lanes {
    /// The fastest that the CPU has.
    pub(super) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            return Self::AVX2;
        }
        Self::PLAIN
    }

    /// One at a time, for any CPU.
    const PLAIN: Self = Self { make, take };

    /// Vectors of two handles. With AVX-512, vectors of four took as long (ADR 0006).
    #[cfg(target_arch = "x86_64")]
    const AVX2: Self = Self {
        make: x86::make,
        take: x86::take,
    };
}

/// # Safety
/// See [`Make`].
unsafe fn make(slots: &[u32], to: *mut MaybeUninit<Packet>, mould: Mould) {
    for (at, slot) in slots.iter().enumerate() {
        let slot = u64::from(*slot);
        // SAFETY: `to` has room for every slot (caller); a handle is two words without padding.
        unsafe {
            let words = to.add(at).cast::<u64>();
            words.write((slot << LINE_SHIFT) + mould.first);
            words.add(1).write(slot | mould.rest);
        }
    }
}

/// # Safety
/// See [`Take`].
unsafe fn take(packets: &[Packet], to: *mut u32, arena: u64) -> Seen {
    let mut seen = Seen::default();
    for (at, packet) in packets.iter().enumerate() {
        // SAFETY: `to` has room for every packet (caller).
        unsafe { to.add(at).write(packet.slot()) };
        seen.strange |= packet.arena() as u64 ^ arena;
        seen.bytes += packet.len() as u32;
    }
    seen
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Mould, Seen};
    use crate::mem::ARENA;
    use crate::pool::{LINE_SHIFT, Packet};
    use std::arch::x86_64::*;
    use std::mem::MaybeUninit;

    const HIGH: u64 = !(ARENA as u64 - 1);

    /// # Safety
    /// See [`Make`]; the CPU has AVX2.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn make(slots: &[u32], to: *mut MaybeUninit<Packet>, mould: Mould) {
        let (first, rest) = (
            _mm256_set1_epi64x(mould.first as i64),
            _mm256_set1_epi64x(mould.rest as i64),
        );
        let (fours, odd) = slots.as_chunks::<4>();
        let mut out = to.cast::<__m256i>();
        for four in fours {
            // SAFETY: four slots are read, and four handles, two vectors, written: `to` has room for them (caller).
            unsafe {
                let slots = _mm256_cvtepu32_epi64(_mm_loadu_si128(four.as_ptr().cast()));
                let data = _mm256_add_epi64(_mm256_slli_epi64::<{ LINE_SHIFT as i32 }>(slots), first);
                let word = _mm256_or_si256(slots, rest);
                _mm256_storeu_si256(out, _mm256_unpacklo_epi64(data, word));
                _mm256_storeu_si256(out.add(1), _mm256_unpackhi_epi64(data, word));
                out = out.add(2);
            }
        }
        // SAFETY: the rest, and the room after what was written.
        unsafe { super::make(odd, out.cast(), mould) }
    }

    /// # Safety
    /// See [`Take`]; the CPU has AVX2.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn take(packets: &[Packet], to: *mut u32, arena: u64) -> Seen {
        let ours = _mm256_set1_epi64x(arena as i64);
        let low = _mm256_set1_epi32(0xffff);
        let (mut strange, mut bytes) = (_mm256_setzero_si256(), _mm256_setzero_si256());
        let (eights, odd) = packets.as_chunks::<8>();
        let mut out = to;
        for eight in eights {
            // SAFETY: eight handles are four vectors; eight slots are written, `to` has room (caller).
            unsafe {
                let from = eight.as_ptr().cast::<__m256i>();
                let [a, b, c, d] = [0, 1, 2, 3].map(|i| _mm256_loadu_si256(from.add(i)));
                for v in [a, b, c, d] {
                    strange = _mm256_or_si256(strange, _mm256_xor_si256(v, ours));
                }
                let ab = _mm256_unpackhi_epi64(a, b);
                let cd = _mm256_unpackhi_epi64(c, d);
                let (ab, cd) = (_mm256_castsi256_ps(ab), _mm256_castsi256_ps(cd));
                let slots = _mm256_castps_si256(_mm256_shuffle_ps::<0b10_00_10_00>(ab, cd));
                let lens = _mm256_castps_si256(_mm256_shuffle_ps::<0b11_01_11_01>(ab, cd));
                bytes = _mm256_add_epi32(bytes, _mm256_and_si256(lens, low));
                _mm256_storeu_si256(out.cast(), slots);
                out = out.add(8);
            }
        }
        // SAFETY: the rest, and the room after what was written.
        let rest = unsafe { super::take(odd, out, arena) };
        let mut sums = [0u32; 8];
        let mut words = [0u64; 4];
        // SAFETY: both are as long as a vector.
        unsafe {
            _mm256_storeu_si256(sums.as_mut_ptr().cast(), bytes);
            _mm256_storeu_si256(words.as_mut_ptr().cast(), strange);
        }
        Seen {
            strange: rest.strange | (words[0] | words[2]) & HIGH,
            bytes: rest.bytes + sums.iter().sum::<u32>(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::ARENA;
    use crate::pool::{Batch, Pool};
    use proptest::prelude::*;

    fn all() -> Vec<Lanes> {
        let mut all = vec![Lanes::PLAIN];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            all.push(Lanes::AVX2);
        }
        all
    }

    proptest! {
        #[test]
        fn handles_name_their_slots_once_whatever_the_way(
            slots in proptest::collection::vec(0u32..1 << 28, 0..=64), len: u16, headroom: u16, arena in 1u64..1 << 12
        ) {
            let base = arena * ARENA as u64;
            for lanes in all() {
                let mut words = vec![[0u64; 2]; slots.len() + 1];
                // SAFETY: two words a slot; they are never used as packets.
                unsafe { (lanes.make)(&slots, words.as_mut_ptr().cast(), Mould::new(base, len, headroom)) };
                prop_assert_eq!(words.pop(), Some([0; 2]), "written beyond the last");
                let mut want: Vec<_> = slots.iter().map(|slot| {
                    let slot = u64::from(*slot);
                    [base + (slot << LINE_SHIFT) + u64::from(headroom), slot | u64::from(len) << 32 | u64::from(headroom) << 48]
                }).collect();
                want.sort_unstable();
                words.sort_unstable();
                prop_assert_eq!(&words, &want);
            }
        }

        #[test]
        fn slots_bytes_and_strangers_are_seen_whatever_the_way(
            lens in proptest::collection::vec(0usize..2048, 0..=64), stranger: Option<prop::sample::Index>
        ) {
            let (pool, other) = (Pool::builder().packets(64).build().unwrap(), Pool::builder().packets(1).build().unwrap());
            let mut batch = Batch::new();
            let strange = stranger.filter(|_| !lens.is_empty()).map(|index| index.index(lens.len()));
            for (at, len) in lens.iter().enumerate() {
                let mut packet = if strange == Some(at) { &other } else { &pool }.alloc().unwrap();
                packet.set(&vec![0; *len]);
                batch.push(packet).unwrap();
            }
            let arena = pool.base().as_ptr() as u64;
            let mut want: Vec<_> = batch.as_slice().iter().map(Packet::slot).collect();
            want.sort_unstable();
            for lanes in all() {
                let mut slots = vec![u32::MAX; lens.len() + 1];
                // SAFETY: one slot a packet; the packets stay where they are.
                let seen = unsafe { (lanes.take)(batch.as_slice(), slots.as_mut_ptr(), arena) };
                prop_assert_eq!(slots.pop(), Some(u32::MAX), "written beyond the last");
                slots.sort_unstable();
                prop_assert_eq!(&slots, &want);
                prop_assert_eq!(seen.bytes as usize, lens.iter().sum::<usize>());
                prop_assert_eq!(seen.strange != 0, strange.is_some());
            }
        }
    }
}
