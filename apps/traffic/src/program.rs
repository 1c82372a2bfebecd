//! A template of one length, compiled: bytes that are copied and a few words that are written.

use crate::error::{Result, TrafficError};
use crate::frame::{Frame, Site, Sum, covered, sum};
use crate::sign::MARK;
use crate::vary::Vary;

/// Most fields of a stream that can vary.
pub const MOST_FIELDS: usize = 8;
/// Most checksums of a frame.
const MOST_SITES: usize = 8;
/// Bytes that are copied at a time.
pub const BLOCK: usize = 64;

/// A varying field: one word is written, whose last bytes are what stands there anyway.
#[derive(Clone, Copy, Debug)]
struct Op {
    at: u32,
    shift: u32,
    keep: u64,
    rest: u64,
    /// Checksums that it changes, by index.
    sites: u32,
    /// Bits that its word is turned right by in a sum: 8 at an odd place.
    turn: u32,
}

/// A checksum that changes with the fields.
#[derive(Clone, Copy, Debug)]
struct Fix {
    at: u32,
    base: u64,
    /// Checksums outside of it that cover it, by index.
    sites: u32,
    udp: bool,
    wrong: bool,
}

/// What makes frames of one stream and one length.
#[derive(Clone, Debug)]
pub struct Program {
    blocks: Vec<[u8; BLOCK]>,
    fill: [u8; BLOCK],
    len: usize,
    room: usize,
    ops: Vec<Op>,
    fixes: Vec<Fix>,
}

impl Program {
    /// Compiles a frame of `len` bytes (without FCS) in which the given fields vary, and in which a mark is going to be
    /// written at `mark`, behind all that was given.
    ///
    /// # Errors
    /// Fields that overlap or that the frame does not have; a length that it cannot have.
    pub fn compile(
        frame: &Frame,
        len: usize,
        fill: u8,
        fields: &[Vary],
        mark: Option<usize>,
    ) -> Result<Self> {
        check(fields, len)?;
        let mut bytes = frame.unsummed(len, fill)?;
        if let Some(place) = mark.and_then(|at| bytes.get_mut(at..at + MARK)) {
            // A mark adds nothing to a checksum, and neither do zeros.
            place.fill(0);
        }
        if let Some((at, vary)) =
            mark.and_then(|at| Some((at, fields.iter().find(|vary| overlaps(vary, at, at + MARK))?)))
        {
            return Err(TrafficError::wrong(format!(
                "{}: the mark stands there, at {at}; vary other bytes, or write signed = false",
                vary.path
            )));
        }
        for vary in fields {
            if let Some((at, high)) = vary.high {
                crate::frame::value::put(&mut bytes, at, 64, high.into());
            }
            crate::frame::value::put(&mut bytes, vary.place.at, vary.place.field.bits, 0);
        }
        let all = frame.sites(len);
        let varies = |site: &Site| fields.iter().any(|vary| overlaps(vary, site.at, site.at + 2));
        for site in &all {
            if let Sum::Fixed(value) = site.sum {
                bytes[site.at..site.at + 2].copy_from_slice(&value.to_be_bytes());
            }
        }
        // What varies itself is no checksum any more.
        let sites: Vec<Site> = all
            .into_iter()
            .filter(|site| !matches!(site.sum, Sum::Fixed(_)) && !varies(site))
            .collect();
        if sites.len() > MOST_SITES {
            return Err(TrafficError::wrong(format!(
                "more than {MOST_SITES} checksums in a frame"
            )));
        }
        let fixes: Vec<Fix> = sites
            .iter()
            .map(|site| Fix {
                at: site.at as u32,
                base: covered(&bytes, site),
                sites: covering(&sites, site.at, site.at + 2),
                udp: site.udp,
                wrong: site.sum == Sum::Wrong,
            })
            .collect();
        let mut program = Self {
            blocks: Vec::new(),
            fill: [fill; BLOCK],
            len,
            room: 0,
            ops: Vec::new(),
            fixes,
        };
        let end = fields.iter().map(|vary| vary.place.at / 8 + 8).max().unwrap_or(0);
        program.room = len.max(end).next_multiple_of(BLOCK);
        let settled = program.settled(&mut bytes, &sites, fields.is_empty());
        bytes.resize(program.room, fill);
        program.ops = ops(&bytes, fields, &sites);
        if settled {
            program.fixes.clear();
        }
        let varied = fields.iter().map(|vary| vary.place.at / 8 + 8);
        let marked = mark.map(|at| at + MARK);
        let head = varied
            .chain([frame.least()])
            .chain(marked)
            .max()
            .unwrap_or(0)
            .min(program.room);
        program.blocks = bytes.as_chunks().0[..head.div_ceil(BLOCK)].to_vec();
        Ok(program)
    }

    /// Writes the checksums for good where nothing varies.
    fn settled(&self, bytes: &mut [u8], sites: &[Site], constant: bool) -> bool {
        if constant {
            for (site, fix) in sites.iter().zip(&self.fixes) {
                // Innermost first, so that those outside see it.
                let value = Site::finish(covered(bytes, site), fix.udp, fix.wrong);
                bytes[site.at..site.at + 2].copy_from_slice(&value.to_be_bytes());
            }
        }
        constant
    }

    /// Bytes of a frame, without FCS.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: a frame has headers.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that [`Program::write`] wants to write: the frame, and behind it what makes a whole number of blocks.
    #[inline(always)]
    pub fn room(&self) -> usize {
        self.room
    }

    /// Writes a frame to the start of each of `frames`, which have [`Program::room`] bytes; where one is shorter, all are left
    /// alone. `values` gives those of one field after the other, for all of these frames. Several frames at once cost less
    /// than one at a time: what is to be done about a field is decided once, and sums are added up side by side.
    #[inline(always)]
    pub fn write<const N: usize>(&self, frames: &mut [&mut [u8]; N], values: impl Iterator<Item = [u64; N]>) {
        if frames.iter().any(|frame| frame.len() < self.room) {
            return;
        }
        for frame in &mut *frames {
            self.copy(&mut frame[..self.room]);
        }
        if !self.ops.is_empty() {
            self.vary(frames, values);
        }
    }

    #[inline(always)]
    fn copy(&self, frame: &mut [u8]) {
        let (blocks, _) = frame.as_chunks_mut::<BLOCK>();
        if let ([to], [from]) = (&mut *blocks, &*self.blocks) {
            *to = *from;
            return;
        }
        let (head, tail) = blocks.split_at_mut(self.blocks.len().min(blocks.len()));
        for (to, from) in head.iter_mut().zip(&self.blocks) {
            *to = *from;
        }
        for to in tail {
            *to = self.fill;
        }
    }

    #[inline(always)]
    fn vary<const N: usize>(&self, frames: &mut [&mut [u8]; N], values: impl Iterator<Item = [u64; N]>) {
        let mut sums = [[0u64; N]; MOST_SITES];
        let sites = &mut sums[..self.fixes.len().min(MOST_SITES)];
        for (op, values) in self.ops.iter().zip(values) {
            let words = values.map(|value| (value << op.shift) & op.keep);
            for (frame, word) in frames.iter_mut().zip(words) {
                put(frame, op.at, (word | op.rest).to_be_bytes());
            }
            add(
                sites,
                op.sites,
                words.map(|word| sum::part(word.rotate_right(op.turn))),
            );
        }
        for (index, fix) in self.fixes.iter().enumerate() {
            let sums = sites.get(index).copied().unwrap_or([0; N]);
            let values = sums.map(|sum| Site::finish(fix.base + sum, fix.udp, fix.wrong));
            for (frame, value) in frames.iter_mut().zip(values) {
                put(frame, fix.at, value.to_be_bytes());
            }
            if fix.sites != 0 {
                add(sites, fix.sites, values.map(u64::from));
            }
        }
    }
}

#[inline(always)]
fn put<const BYTES: usize>(frame: &mut [u8], at: u32, bytes: [u8; BYTES]) {
    let rest = frame.get_mut(at as usize..);
    if let Some(place) = rest.and_then(<[u8]>::first_chunk_mut) {
        *place = bytes;
    }
}

/// Adds `parts` to the sums of the checksums in the set.
#[inline(always)]
fn add<const N: usize>(sites: &mut [[u64; N]], set: u32, parts: [u64; N]) {
    for (index, sums) in sites.iter_mut().enumerate() {
        if set >> index & 1 == 1 {
            sums.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part);
        }
    }
}

/// In the order of their places, so that the last bytes of a word are written over by who varies them; `values` are in the
/// order of `fields`, which [`order`] gives.
fn ops(bytes: &[u8], fields: &[Vary], sites: &[Site]) -> Vec<Op> {
    let one = |vary: &Vary| {
        let (at, bits) = (vary.place.at / 8, vary.place.field.bits);
        let shift = 64 - (vary.place.at % 8 + bits);
        let end = (vary.place.at + bits).div_ceil(8);
        let old = bytes.get(at..).and_then(|rest| rest.first_chunk()).copied();
        let keep = (u64::MAX >> (64 - bits)) << shift;
        Op {
            at: at as u32,
            shift: shift as u32,
            keep,
            rest: u64::from_be_bytes(old.unwrap_or_default()) & !keep,
            sites: covering(sites, at, end),
            turn: at as u32 % 2 * 8,
        }
    };
    fields.iter().map(one).collect()
}

/// Puts fields into the order in which [`Program::write`] takes their values.
pub fn order(fields: &mut [Vary]) {
    fields.sort_by_key(|vary| vary.place.at);
}

/// The sites that cover these bytes. All layers have an even length, so that the parity of an offset is the same for all.
fn covering(sites: &[Site], from: usize, to: usize) -> u32 {
    let inside = |range: (usize, usize)| range.0 <= from && to <= range.1;
    let covers =
        |site: &Site| site.at != from && (inside((site.from, site.to)) || site.addresses.is_some_and(inside));
    let indices = sites.iter().enumerate().filter(|(_, site)| covers(site));
    indices.fold(0, |set, (index, _)| set | 1 << index)
}

fn overlaps(vary: &Vary, from: usize, to: usize) -> bool {
    let place = &vary.place;
    place.at < to * 8 && from * 8 < place.at + place.field.bits
}

fn check(fields: &[Vary], len: usize) -> Result<()> {
    if fields.len() > MOST_FIELDS {
        return Err(TrafficError::wrong(format!(
            "{MOST_FIELDS} fields of a stream can vary at the most"
        )));
    }
    if let Some(vary) = fields
        .iter()
        .find(|vary| vary.place.at + vary.place.field.bits > len * 8)
    {
        return Err(TrafficError::wrong(format!(
            "{}: the frame ends before it",
            vary.path
        )));
    }
    for pair in fields.windows(2) {
        let (one, two) = (&pair[0].place, &pair[1].place);
        if (one.at + one.field.bits).div_ceil(8) > two.at / 8 {
            return Err(TrafficError::wrong(format!(
                "{} and {} have bytes in common; vary one of them",
                pair[0].path, pair[1].path
            )));
        }
    }
    Ok(())
}
