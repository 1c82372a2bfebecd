//! Used entries, as they are and as faults make them.

use barline_sim::{Host, Side, Spoiled};

/// What a used entry says. Tests and plans that spoil it ([`barline_sim::Corrupt`], [`Spoiled::Words`]) see two words,
/// the same for both ring formats:
///
/// | word | bits  | meaning                                                                         |
/// |------|-------|---------------------------------------------------------------------------------|
/// | 0    | 31:0  | head (split) or buffer id (packed, 16 bits)                                      |
/// | 0    | 47:32 | `num_buffers` of the header; counts in the first entry of a received packet      |
/// | 0    | 63:48 | so much further than the truth the ring claims to be used (one time)             |
/// | 1    | 15:0  | bits to invert in a packed descriptor's flags                                    |
/// | 1    | 63:32 | length without the header (the first entry of a received packet has one)         |
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Id.
    pub id: u32,
    /// Bytes written, header and all.
    pub len: u32,
    /// `num_buffers`.
    pub buffers: u16,
    /// How far the ring runs ahead.
    pub ahead: u16,
    /// Flags to invert.
    pub flags: u16,
    /// What else is wrong with it.
    pub how: Option<Spoiled>,
    /// A driver that believes it cannot know its own ring any more.
    pub lies: bool,
}

impl Report {
    /// The truth.
    pub fn plain(id: u16, len: u32) -> Self {
        Self {
            id: id.into(),
            len,
            buffers: 0,
            ahead: 0,
            flags: 0,
            how: None,
            lies: false,
        }
    }

    /// The truth, unless a plan or a test has other ideas; `header` is how much of `len` is header.
    pub fn draw(host: &mut Host, side: Side, id: u16, len: u32, header: u32, buffers: u16) -> Self {
        let truth = [
            u64::from(id) | u64::from(buffers) << 32,
            u64::from(len.wrapping_sub(header)) << 32,
        ];
        let mut words = truth;
        let how = host.spoiled(side, &mut words);
        let id_lies = words[0] != truth[0] || words[1] as u32 != 0;
        Self {
            id: words[0] as u32,
            len: ((words[1] >> 32) as u32).wrapping_add(header),
            buffers: (words[0] >> 32) as u16,
            ahead: (words[0] >> 48) as u16,
            flags: words[1] as u16,
            how,
            lies: id_lies || !matches!(how, None | Some(Spoiled::Late(_))),
        }
    }
}

/// A buffer that the device is done with.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// Id.
    pub id: u16,
    /// How far the ring goes on with it.
    pub slots: u16,
    /// Bytes written.
    pub len: u32,
    /// Used to its end: what IN_ORDER lets a device skip (2.7.9, 2.8.8).
    pub whole: bool,
    /// What is reported, where that is drawn already.
    pub report: Option<Report>,
}

/// Joins runs of buffers into one entry, which stands for `most` of them at most.
pub fn batched(used: &mut Vec<Used>, most: u16) {
    let mut joined = Vec::with_capacity(used.len());
    let mut run: Option<(Used, u16)> = None;
    for next in used.drain(..) {
        run = Some(match run {
            Some((last, count)) if last.whole && count < most => {
                let slots = last.slots + next.slots;
                (Used { slots, ..next }, count + 1)
            }
            Some((last, _)) => {
                joined.push(last);
                (next, 1)
            }
            None => (next, 1),
        });
    }
    joined.extend(run.map(|(last, _)| last));
    *used = joined;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_ends_where_a_buffer_is_not_whole() {
        let used = |id, whole| Used {
            id,
            slots: 2,
            len: 0,
            whole,
            report: None,
        };
        let wholes = [true, false, true, true, true, true, true];
        let mut list: Vec<_> = (0..).zip(wholes).map(|(id, whole)| used(id, whole)).collect();
        batched(&mut list, 3);
        let ends: Vec<_> = list.iter().map(|used| (used.id, used.slots)).collect();
        assert_eq!(ends, [(1, 4), (4, 6), (6, 4)]);
    }
}
