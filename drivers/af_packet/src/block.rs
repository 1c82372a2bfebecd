//! What the kernel writes into a block of a receive ring (linux/if_packet.h, TPACKET_V3): headers, one behind the other,
//! each with its frame and, before that, a `virtio_net_hdr`.
//!
//! Nothing of it is trusted to be in the block: an offset or length beyond it ends the block.

use barline::offload::{Offload, VNET_LEN};

/// One frame of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// From the destination address on; without its VLAN tag.
    pub bytes: &'a [u8],
    /// The tag that the kernel took out: its protocol and its control information.
    pub tag: Option<(u16, u16)>,
    /// Not all of it is in the block.
    pub cut: bool,
    /// What its sender left to us: to complete its checksum, to cut it. `None` where that cannot be.
    pub offload: Option<Offload>,
}

/// Offsets in `struct tpacket_block_desc`.
const COUNT: usize = 12;
const FIRST: usize = 16;
/// Offsets in `struct tpacket3_hdr`.
const NEXT: usize = 0;
const SNAPLEN: usize = 12;
const LEN: usize = 16;
const STATUS: usize = 20;
const MAC: usize = 24;
const TCI: usize = 32;
const TPID: usize = 36;
/// The tag's protocol where the kernel does not say (IEEE 802.1Q).
const DOT1Q: u16 = 0x8100;

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

/// A place in a block: where the next header is, and how many are left.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    at: usize,
    left: u32,
}

impl Place {
    /// The start of a block.
    pub fn start(block: &[u8]) -> Self {
        let left = u32_at(block, COUNT).unwrap_or(0);
        let at = u32_at(block, FIRST).unwrap_or(0) as usize;
        Self { at, left }
    }

    /// Whether there is another frame.
    pub fn has_more(&self) -> bool {
        self.left > 0
    }

    /// Frames that are left.
    pub fn left(&self) -> u32 {
        self.left
    }

    /// The next frame, without going on. `None` at the end of the block, and at one that is not in it.
    pub fn peek<'a>(&self, block: &'a [u8]) -> Option<Frame<'a>> {
        if self.left == 0 {
            return None;
        }
        let header = block.get(self.at..)?;
        let (len, whole) = (u32_at(header, SNAPLEN)? as usize, u32_at(header, LEN)? as usize);
        let (status, mac) = (u32_at(header, STATUS)?, usize::from(u16_at(header, MAC)?));
        let bytes = header.get(mac..)?.get(..len)?;
        // It ends where the frame begins.
        let vnet = header.get(mac.checked_sub(VNET_LEN)?..mac)?.first_chunk()?;
        let tagged = status & libc::TP_STATUS_VLAN_VALID != 0;
        let known = status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
        let tpid = if known { u16_at(header, TPID)? } else { DOT1Q };
        let tci = u32_at(header, TCI)? as u16;
        Some(Frame {
            bytes,
            tag: tagged.then_some((tpid, tci)),
            cut: len < whole,
            offload: Offload::from_vnet(vnet, len).ok(),
        })
    }

    /// Goes on to the next one.
    pub fn step(&mut self, block: &[u8]) {
        let next = block
            .get(self.at..)
            .and_then(|header| u32_at(header, NEXT))
            .unwrap_or(0) as usize;
        self.left -= self.left.min(1);
        // 0 stands behind the last one.
        match self.at.checked_add(next) {
            Some(at) if next > 0 && at < block.len() => self.at = at,
            _ => self.left = 0,
        }
    }
}

/// All frames of a block; `None` for one that is not in it, which ends the block.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn frames(block: &[u8]) -> impl Iterator<Item = Option<Frame<'_>>> {
    let mut place = Place::start(block);
    std::iter::from_fn(move || {
        if !place.has_more() {
            return None;
        }
        let frame = place.peek(block);
        match frame {
            Some(_) => place.step(block),
            None => place.left = 0,
        }
        Some(frame)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A block as the kernel would write it.
    fn block(frames: &[(&[u8], Option<u16>)]) -> Vec<u8> {
        let mut block = vec![0; 48];
        block[COUNT..COUNT + 4].copy_from_slice(&(frames.len() as u32).to_ne_bytes());
        block[FIRST..FIRST + 4].copy_from_slice(&48u32.to_ne_bytes());
        for (index, (bytes, tag)) in frames.iter().enumerate() {
            let mut header = vec![0; 96];
            let len = (bytes.len() as u32).to_ne_bytes();
            header[SNAPLEN..SNAPLEN + 4].copy_from_slice(&len);
            header[LEN..LEN + 4].copy_from_slice(&len);
            header[MAC..MAC + 2].copy_from_slice(&96u16.to_ne_bytes());
            if let Some(tci) = tag {
                header[STATUS..STATUS + 4].copy_from_slice(&libc::TP_STATUS_VLAN_VALID.to_ne_bytes());
                header[TCI..TCI + 4].copy_from_slice(&u32::from(*tci).to_ne_bytes());
            }
            header.extend_from_slice(bytes);
            header.resize(header.len().next_multiple_of(16), 0);
            if index + 1 < frames.len() {
                let next = (header.len() as u32).to_ne_bytes();
                header[NEXT..NEXT + 4].copy_from_slice(&next);
            }
            block.extend(header);
        }
        block
    }

    #[test]
    fn frames_of_a_block_are_read_in_order() {
        let (one, two) = ([1; 60], [2; 61]);
        let bytes = block(&[(&one, None), (&two, Some(7)), (&one, None)]);
        let all: Vec<_> = frames(&bytes).map(Option::unwrap).collect();
        assert_eq!(all.len(), 3);
        assert_eq!((all[0].bytes, all[1].bytes), (&one[..], &two[..]));
        assert_eq!((all[0].tag, all[1].tag), (None, Some((DOT1Q, 7))));
        assert!(
            all.iter()
                .all(|frame| !frame.cut && frame.offload == Some(Offload::default()))
        );
    }

    #[test]
    fn a_frame_beyond_the_block_ends_it() {
        let bytes = block(&[(&[1; 60], None), (&[2; 60], None)]);
        for len in 0..bytes.len() {
            let seen: Vec<_> = frames(&bytes[..len]).collect();
            let whole = seen.iter().flatten().count();
            assert!(whole < 2 || len >= bytes.len() - 16, "{len}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(mut bytes in proptest::collection::vec(any::<u8>(), 0..600), count in 0u32..20, first in 0u32..64) {
            if bytes.len() >= 20 {
                bytes[COUNT..COUNT + 4].copy_from_slice(&count.to_ne_bytes());
                bytes[FIRST..FIRST + 4].copy_from_slice(&first.to_ne_bytes());
            }
            prop_assert!(frames(&bytes).count() <= bytes.len() + 1);
        }
    }
}
