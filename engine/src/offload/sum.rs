//! The Internet checksum (RFC 1071).

/// A ones' complement sum under way: of 16-bit words, as they stand in the packet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds bytes; all parts but the last must be of even length.
    #[must_use]
    pub fn with(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<8>();
        let mut sum = u128::from(self.0);
        for word in words {
            sum += u128::from(u64::from_be_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        sum += u128::from(u64::from_be_bytes(last));
        // Of 64 bits with the carries added at the end, which is the same sum modulo 2^16 - 1.
        while sum >> 64 != 0 {
            sum = (sum & u128::from(u64::MAX)) + (sum >> 64);
        }
        Self(sum as u64)
    }

    /// Adds a number of 16 bits.
    #[must_use]
    pub fn with_u16(self, number: u16) -> Self {
        self.with(&number.to_be_bytes())
    }

    /// The checksum: what makes the sum of all zero.
    pub fn finish(self) -> u16 {
        let mut sum = self.0;
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }
}

/// Completes a checksum that its sender has left to the device (`CHECKSUM_PARTIAL`): the field, `offset` bytes behind
/// `start`, has the sum of the pseudo header; the checksum is over everything from `start` on. False where that is not in
/// the frame.
pub fn complete(frame: &mut [u8], start: usize, offset: usize) -> bool {
    let Some(end) = start.checked_add(offset).and_then(|field| field.checked_add(2)) else {
        return false;
    };
    if end > frame.len() {
        return false;
    }
    let sum = Sum::default().with(&frame[start..]).finish();
    // 0 means "none" for UDP (RFC 768), and is the same number.
    let sum = if sum == 0 { 0xffff } else { sum };
    frame[end - 2..end].copy_from_slice(&sum.to_be_bytes());
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// By the book, a word at a time.
    fn plain(bytes: &[u8]) -> u16 {
        let mut sum = 0u64;
        for pair in bytes.chunks(2) {
            sum += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
        }
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    proptest! {
        #[test]
        fn the_sum_is_that_of_the_book(bytes: Vec<u8>, cut: u16, number: u16) {
            let cut = (usize::from(cut) % (bytes.len() + 1)) & !1;
            let (front, back) = bytes.split_at(cut);
            let ours = Sum::default().with_u16(number).with(front).with(back).finish();
            prop_assert_eq!(ours, plain(&[&number.to_be_bytes()[..], &bytes].concat()));
        }

        #[test]
        fn a_completed_checksum_sums_up_to_zero(mut frame in proptest::collection::vec(any::<u8>(), 0..200), start in 0usize..220, offset in 0usize..220) {
            let whole = frame.clone();
            let done = complete(&mut frame, start, offset);
            prop_assert_eq!(done, start + offset + 2 <= whole.len());
            if !done {
                prop_assert_eq!(frame, whole);
            } else if offset % 2 == 0 {
                // The seed and the checksum both in it: the seed is what the pseudo header adds.
                let seed = [whole[start + offset], whole[start + offset + 1]];
                let sum = plain(&[&seed[..], &frame[start..]].concat());
                prop_assert!(sum == 0 || sum == 0xffff);
            }
        }
    }
}
