//! Packed rings, the device's side (2.8).

use super::chain::{Chain, Desc, Fail, Mark, Setup, flag};
use super::misuse::Misuse;
use super::report::Used;
use barline::mem::order;
use barline_sim::{Host, Spoiled};

/// Descriptor flags: available and used.
const AVAIL: u16 = 1 << 7;
const USED: u16 = 1 << 15;
/// Event suppression: always, never, at a descriptor.
const ENABLE: u16 = 0;
const DISABLE: u16 = 1;
const AT_DESC: u16 = 2;

/// A place in the ring, counted without end: position and wrap counter follow from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Count(u64);

impl Count {
    fn position(self, size: u16) -> u16 {
        (self.0 % u64::from(size)) as u16
    }

    /// The ring wrap counter, which starts as 1.
    fn wrap(self, size: u16) -> bool {
        (self.0 / u64::from(size)).is_multiple_of(2)
    }

    /// As in an event suppression structure: offset, and wrap counter in bit 15.
    fn event(self, size: u16) -> u16 {
        self.position(size) | u16::from(self.wrap(size)) << 15
    }
}

/// Where the device is in a packed ring.
#[derive(Clone, Copy, Debug, Default)]
pub struct Packed {
    avail: Count,
    used: Count,
    /// `used` when the driver was told last.
    told: Count,
    /// What the driver was told about notifications last.
    asked: Option<u32>,
    /// A lie was told: what the driver does now is not to be held against it.
    lied: bool,
}

impl Packed {
    /// Whether lies were told.
    pub fn lied(&self) -> bool {
        self.lied
    }

    /// The place of the next buffer.
    pub fn bookmark(&self) -> Mark {
        (self.avail.0, 0)
    }

    /// Goes back to it.
    pub fn back_to(&mut self, mark: Mark) {
        self.avail = Count(mark.0);
    }

    /// The next buffer.
    pub fn next(
        &mut self,
        host: &mut Host,
        setup: &Setup,
        notes: &mut Vec<Misuse>,
    ) -> Result<Option<Chain>, Fail> {
        let Some(first) = self.available(host, setup, self.avail)? else {
            return Ok(None);
        };
        let mut chain = Chain::default();
        if first.fourth & flag::INDIRECT != 0 {
            table(host, setup, first, &mut chain, notes)?;
            (chain.id, chain.slots) = (first.third, 1);
        } else {
            self.list(host, setup, first, &mut chain, notes)?;
        }
        self.avail.0 += u64::from(chain.slots);
        Ok(Some(chain))
    }

    /// The descriptor at `at`, where it is available.
    fn available(&self, host: &mut Host, setup: &Setup, at: Count) -> Result<Option<Desc>, Fail> {
        let iova = place(setup, at);
        // The word with the flags first, with acquire: what it makes available was written before it.
        let high = host.load(iova.wrapping_add(8))?;
        let flags = (high >> 48) as u16;
        let wrap = at.wrap(setup.size);
        // No further than the ring is long: the descriptor of a turn ago is not used yet.
        let full = at.0 - self.used.0 >= u64::from(setup.size);
        if full || (flags & AVAIL != 0) != wrap || (flags & USED != 0) == wrap {
            return Ok(None);
        }
        Ok(Some(Desc::of([host.load(iova)?, high])))
    }

    /// Follows a list of descriptors in the ring.
    fn list(
        &self,
        host: &mut Host,
        setup: &Setup,
        first: Desc,
        chain: &mut Chain,
        notes: &mut Vec<Misuse>,
    ) -> Result<(), Fail> {
        let (mut desc, mut at) = (first, self.avail);
        loop {
            let flags = desc.fourth;
            if flags & !(flag::NEXT | flag::WRITE | flag::INDIRECT | AVAIL | USED) != 0 {
                notes.push(Misuse::Flags(flags));
            }
            if flags & flag::INDIRECT != 0 {
                return Err(Misuse::IndirectChained.into());
            }
            chain.push(desc, flags & flag::WRITE != 0)?;
            chain.slots += 1;
            if flags & flag::NEXT == 0 {
                // The id is in the last descriptor of the list (2.8.6).
                chain.id = desc.third;
                return Ok(());
            }
            if chain.slots >= setup.size {
                return Err(Misuse::TooLong.into());
            }
            at.0 += 1;
            desc = self
                .available(host, setup, at)?
                .ok_or(Fail::Misuse(Misuse::NotAvailable))?;
        }
    }

    /// Gives buffers back. The first is marked last, so that a driver never sees a part of them (2.8.9).
    pub fn publish(&mut self, host: &mut Host, setup: &Setup, list: &[Used]) -> Result<(), Fail> {
        let mut at = self.used;
        let mut places = Vec::with_capacity(list.len());
        for used in list {
            let never = used
                .report
                .is_some_and(|report| report.how == Some(Spoiled::Never));
            places.push(at);
            at.0 += if never { 0 } else { u64::from(used.slots) };
        }
        for (used, at) in list.iter().zip(&places).rev() {
            self.mark(host, setup, used, *at)?;
        }
        self.used = at;
        Ok(())
    }

    fn mark(&mut self, host: &mut Host, setup: &Setup, used: &Used, at: Count) -> Result<(), Fail> {
        let Some(report) = used.report else { return Ok(()) };
        self.lied |= report.lies;
        let marks = |at: Count| if at.wrap(setup.size) { AVAIL | USED } else { 0 };
        let wrote = if used.len > 0 { flag::WRITE } else { 0 };
        let flags = (marks(at) | wrote) ^ report.flags;
        let word = u64::from(report.len) | u64::from(report.id as u16) << 32 | u64::from(flags) << 48;
        let iova = place(setup, at).wrapping_add(8);
        match report.how {
            Some(Spoiled::Never) => {}
            Some(Spoiled::Late(by)) => host.store_later(by, iova, word, 8),
            Some(Spoiled::Torn(by)) => {
                let old = host.load(iova)?;
                host.store(iova, old & !(0xffff << 48) | u64::from(flags) << 48)?;
                host.store_later(by, iova, word, 8);
            }
            Some(Spoiled::Elsewhere(further)) => {
                let there = Count(at.0 + u64::from(further % u32::from(setup.size)));
                host.store(place(setup, there).wrapping_add(8), word)?;
            }
            None | Some(Spoiled::Words { .. }) => host.store(iova, word)?,
        }
        for further in 0..u64::from(report.ahead.min(setup.size - 1)) {
            let there = Count(at.0 + u64::from(used.slots) + further);
            let iova = place(setup, there).wrapping_add(8);
            let old = host.load(iova)? & !(u64::from(AVAIL | USED) << 48);
            host.store(iova, old | u64::from(marks(there)) << 48)?;
        }
        Ok(())
    }

    /// Whether something was used that the driver has not been told of and wants to hear (2.8.10).
    pub fn tells(&mut self, host: &mut Host, setup: &Setup, notes: &mut Vec<Misuse>) -> Result<bool, Fail> {
        if self.used == self.told {
            return Ok(false);
        }
        // The descriptors before the look at what the driver wants: it writes that and then looks at them.
        order::dma_mb();
        let (old, new) = (std::mem::replace(&mut self.told, self.used), self.used);
        let word = host.load(setup.driver & !7)? >> (setup.driver % 8 * 8);
        let (event, flags) = (word as u16, (word >> 16) as u16);
        if flags > AT_DESC || (flags == AT_DESC && !setup.event_idx) {
            notes.push(Misuse::EventFlags(flags));
        }
        Ok(match flags & 3 {
            DISABLE => false,
            AT_DESC if setup.event_idx => {
                let (size, turn) = (setup.size, u64::from(setup.size));
                // Within two turns of it each place comes once.
                let first = Count(old.0 / turn * turn + u64::from(event & 0x7fff));
                let crossed = |at: Count| at >= old && at < new && at.event(size) == event;
                new.0 - old.0 >= 2 * turn || (0..3).any(|more| crossed(Count(first.0 + more * turn)))
            }
            _ => true,
        })
    }

    /// Says whether the next buffer is to be notified (2.8.10).
    pub fn ask(&mut self, host: &mut Host, setup: &Setup, on: bool) -> Result<(), Fail> {
        let value = match (on, setup.event_idx) {
            (false, _) => u32::from(DISABLE) << 16,
            (true, false) => u32::from(ENABLE) << 16,
            (true, true) => u32::from(AT_DESC) << 16 | u32::from(self.avail.event(setup.size)),
        };
        if self.asked != Some(value) {
            host.write(setup.device, &value.to_le_bytes())?;
            self.asked = Some(value);
        }
        // What was asked before the look at the ring: the driver writes that and then looks at what was asked.
        order::dma_mb();
        Ok(())
    }
}

fn place(setup: &Setup, at: Count) -> u64 {
    setup.desc.wrapping_add(u64::from(at.position(setup.size)) * 16)
}

/// Reads a table of descriptors: all of it, in order (2.8.7).
fn table(
    host: &mut Host,
    setup: &Setup,
    desc: Desc,
    chain: &mut Chain,
    notes: &mut Vec<Misuse>,
) -> Result<(), Fail> {
    let why = match () {
        () if !setup.indirect => Misuse::IndirectUnasked,
        () if desc.fourth & flag::NEXT != 0 => Misuse::IndirectChained,
        () if desc.len == 0 || !desc.len.is_multiple_of(16) => Misuse::IndirectLength(desc.len),
        () if desc.len / 16 > u32::from(setup.size) => Misuse::TooLong,
        () => {
            for index in 0..(desc.len / 16) as u16 {
                let element = Desc::load(host, desc.iova, index)?;
                if element.fourth & !flag::WRITE != 0 {
                    notes.push(Misuse::Flags(element.fourth));
                }
                chain.push(element, element.fourth & flag::WRITE != 0)?;
            }
            return Ok(());
        }
    };
    Err(why.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_and_wrap_follow_from_the_count() {
        let at = [0, 4, 5, 9, 10, 14].map(|count| (Count(count).position(5), Count(count).wrap(5)));
        assert_eq!(
            at,
            [(0, true), (4, true), (0, false), (4, false), (0, true), (4, true)]
        );
        assert_eq!(Count(3).event(5), 3 | 1 << 15);
        assert_eq!(Count(8).event(5), 3);
    }
}
