//! The mark in a frame's payload by which it is known again: 16 bytes behind the headers.
//!
//! ```text
//! byte 0  2     4         8                   14    16
//!      magic flow sequence  time (ns, 48 bits)  check
//! ```
//!
//! `check` makes the one's-complement sum of all 16 bytes all ones. So the mark proves itself, and it adds nothing to the
//! checksums of the headers around it, wherever it stands: they need not be touched when sequence and time change. A
//! device between may rewrite any header (l2fwd writes MAC addresses); the mark stands where it stood as long as no header
//! is put in or taken out, and by a VLAN tag more or less it is found too.

use crate::frame::sum::{fold, part};

/// Bytes of a mark.
pub const MARK: usize = 16;
/// First two bytes.
const MAGIC: u16 = 0xba71;
/// Bits of the time.
const TIME: u64 = (1 << 48) - 1;

/// What a mark says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Which flow.
    pub flow: u16,
    /// Which frame of the flow, modulo 2^32.
    pub sequence: u32,
    /// When it was made, in nanoseconds modulo 2^48.
    pub time: u64,
}

/// What stands where a mark could be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A mark.
    Mark(Mark),
    /// A mark that was damaged on its way.
    Damaged,
    /// Something else.
    Nothing,
}

impl Mark {
    /// Writes it; a place too short for it is left alone.
    #[inline(always)]
    pub fn write(self, place: &mut [u8]) {
        let high = u64::from(MAGIC) << 48 | u64::from(self.flow) << 32 | u64::from(self.sequence);
        let low = (self.time & TIME) << 16;
        let check = !fold(part(high) + part(low));
        if let Some(place) = place.first_chunk_mut::<MARK>() {
            let both = u128::from(high) << 64 | u128::from(low | u64::from(check));
            *place = both.to_be_bytes();
        }
    }

    /// Reads what is there.
    #[inline(always)]
    pub fn read(place: &[u8]) -> Found {
        let Some(place) = place.first_chunk::<MARK>() else {
            return Found::Nothing;
        };
        let both = u128::from_be_bytes(*place);
        let (high, low) = ((both >> 64) as u64, both as u64);
        let magic = (high >> 48) as u16;
        let right = fold(part(high) + part(low)) == 0xffff;
        if magic == MAGIC && right {
            return Found::Mark(Self {
                flow: (high >> 32) as u16,
                sequence: high as u32,
                time: low >> 16,
            });
        }
        // Of foreign frames one in some 4,000 looks like this; of damaged ones all where a bit or two changed.
        match (magic ^ MAGIC).count_ones() <= 1 && magic_is_near(magic, right) {
            true => Found::Damaged,
            false => Found::Nothing,
        }
    }

    /// Nanoseconds from when it was made until `now`.
    #[inline(always)]
    pub fn age(self, now: u64) -> u64 {
        now.wrapping_sub(self.time) & TIME
    }
}

/// A damaged magic number with a check that fits is no bit that changed: something else wrote it.
fn magic_is_near(magic: u16, right: bool) -> bool {
    magic == MAGIC || !right
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::sum::sum;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_mark_is_read_back_adds_nothing_and_shows_every_bit(
            flow: u16, sequence: u32, time: u64, bit in 0usize..128, other: u16
        ) {
            let mark = Mark { flow, sequence, time: time & TIME };
            let mut place = [0; MARK];
            mark.write(&mut place);
            prop_assert_eq!(Mark::read(&place), Found::Mark(mark));
            prop_assert_eq!(fold(sum(&place) + u64::from(other)) % 0xffff, other % 0xffff);
            place[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Mark::read(&place), Found::Damaged);
            prop_assert_eq!(mark.age(time.wrapping_add(77)), 77);
        }
    }

    #[test]
    fn other_things_are_no_marks() {
        assert_eq!(Mark::read(&[0; 16]), Found::Nothing);
        assert_eq!(Mark::read(&[0xff; 15]), Found::Nothing);
    }
}
