//! The Internet checksum (RFC 1071), as sums that can be added up.

/// The sum of 16-bit words, an odd last byte with a zero behind it. Sums are equal modulo 65,535.
#[inline]
pub fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let sum: u64 = words
        .iter()
        .map(|word| u64::from(u32::from_be_bytes(*word)))
        .sum();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    sum + u64::from(u32::from_be_bytes(last))
}

/// What a 64-bit word adds to a sum.
#[inline(always)]
pub fn part(word: u64) -> u64 {
    (word >> 32) + (word & 0xffff_ffff)
}

/// A sum in 16 bits; 0 only for nothing but zeros.
#[inline(always)]
pub fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sums_are_those_of_words(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut padded = bytes.clone();
            padded.resize(bytes.len().next_multiple_of(2), 0);
            let words: u64 = padded.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(pair[1])).sum();
            prop_assert_eq!(fold(sum(&bytes)), fold(words));
        }

        #[test]
        fn folding_keeps_the_remainder(sum: u64) {
            prop_assert_eq!(u64::from(fold(sum)) % 65535, sum % 65535);
            prop_assert_eq!(fold(sum) == 0, sum == 0);
            prop_assert_eq!(part(sum) % 65535, sum % 65535);
        }
    }
}
