use super::VfioError;
use vfio_bindings::bindings::vfio::vfio_info_cap_header;

/// One capability in the answer to an info ioctl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cap<'a> {
    pub id: u16,
    /// From its header to the end of the answer.
    pub bytes: &'a [u8],
}

/// The capabilities of an answer whose first one stands at `first` (0: none).
///
/// The kernel appends capabilities, so offsets rise: one that does not is an error, and the walk ends by
/// construction. An error is the last item.
pub(super) fn caps(answer: &[u8], first: u32) -> impl Iterator<Item = Result<Cap<'_>, VfioError>> {
    let (mut at, mut least) = (first as usize, 1);
    std::iter::from_fn(move || {
        if at == 0 {
            return None;
        }
        let cap = (at >= least).then(|| Cap::parse(answer, at)).flatten();
        let Some((cap, next)) = cap else {
            at = 0;
            return Some(Err(VfioError::BadAnswer("its capability chain leads nowhere")));
        };
        (least, at) = (at + 1, next);
        Some(Ok(cap))
    })
}

impl<'a> Cap<'a> {
    fn parse(answer: &'a [u8], at: usize) -> Option<(Self, usize)> {
        let bytes = answer.get(at..)?;
        let next = u32_at(bytes, std::mem::offset_of!(vfio_info_cap_header, next))?;
        Some((
            Self {
                id: u16::from_ne_bytes(*bytes.first_chunk()?),
                bytes,
            },
            next as usize,
        ))
    }

    /// `count` elements of two 64-bit words each, from `at` on; an error when the answer is too short for them.
    pub fn pairs(&self, count: u32, at: usize) -> Result<Vec<(u64, u64)>, VfioError> {
        let short = || VfioError::BadAnswer("a capability is cut off");
        let len = (count as usize).checked_mul(16).ok_or_else(short)?;
        let bytes = self
            .bytes
            .get(at..)
            .and_then(|rest| rest.get(..len))
            .ok_or_else(short)?;
        let pairs = bytes
            .chunks_exact(16)
            .filter_map(|pair| Some((u64_at(pair, 0)?, u64_at(pair, 8)?)));
        Ok(pairs.collect())
    }
}

/// A 32-bit field of a kernel structure, in the machine's byte order.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A 64-bit field, likewise.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(answer: &mut [u8], at: usize, id: u16, next: u32) {
        answer[at..at + 2].copy_from_slice(&id.to_ne_bytes());
        answer[at + 4..at + 8].copy_from_slice(&next.to_ne_bytes());
    }

    proptest! {
        #[test]
        fn any_answer_ends(answer in proptest::collection::vec(any::<u8>(), 0..300), first: u32, small in 0u32..300) {
            prop_assert!(caps(&answer, first).count() <= answer.len() + 1);
            prop_assert!(caps(&answer, small).count() <= answer.len() + 1);
        }

        #[test]
        fn small_offsets_end_too(answer in proptest::collection::vec(0u8..40, 40), first in 0u32..40) {
            for cap in caps(&answer, first).flatten() {
                let _ = (cap.pairs(3, 16), cap.pairs(u32::MAX, usize::MAX));
            }
        }

        #[test]
        fn chains_round_trip(gaps in proptest::collection::vec(8usize..64, 1..20)) {
            let mut at = 0;
            let offsets: Vec<usize> = gaps.iter().map(|gap| { at += gap; at }).collect();
            let mut answer = vec![0; at + 8];
            for (n, at) in offsets.iter().enumerate() {
                header(&mut answer, *at, n as u16, offsets.get(n + 1).map_or(0, |next| *next as u32));
            }
            let ids: Vec<u16> = caps(&answer, offsets[0] as u32).map(|cap| cap.unwrap().id).collect();
            prop_assert_eq!(ids, (0..offsets.len() as u16).collect::<Vec<_>>());
        }
    }

    #[test]
    fn loops_are_errors() {
        let mut answer = [0; 64];
        header(&mut answer, 16, 1, 32);
        header(&mut answer, 32, 2, 16);
        let walked: Vec<_> = caps(&answer, 16).collect();
        assert_eq!(walked.len(), 3);
        assert!(walked[2].is_err());
        header(&mut answer, 16, 1, 16);
        assert_eq!(caps(&answer, 16).count(), 2);
    }
}
