//! Split rings, the device's side (2.7).

use super::chain::{Chain, Desc, Fail, Mark, Setup, flag, load16};
use super::misuse::Misuse;
use super::report::Used;
use barline::mem::order;
use barline_sim::{Host, Spoiled};
use std::time::Duration;

/// `flags`: no notification, in either ring.
const NO_EVENT: u16 = 1;
/// Offsets in both rings: flags, index, entries.
const INDEX: u64 = 2;
const ENTRIES: u64 = 4;

/// Where the device is in a split ring.
#[derive(Clone, Copy, Debug, Default)]
pub struct Split {
    /// Next entry of the available ring, counted without end.
    avail: u16,
    /// The driver's index as it was read last.
    seen: u16,
    /// Next entry of the used ring, likewise.
    used: u16,
    /// `used` when the driver was told last.
    told: u16,
    /// IN_ORDER: the descriptor that comes next.
    next: u16,
    /// What the driver was told about notifications last.
    asked: Option<u16>,
    /// A used index that is kept back until then.
    kept: Option<Duration>,
    /// A lie was told: what the driver does now is not to be held against it.
    lied: bool,
}

impl Split {
    /// Whether lies were told.
    pub fn lied(&self) -> bool {
        self.lied
    }

    /// The place of the next buffer.
    pub fn bookmark(&self) -> Mark {
        (self.avail.into(), self.next)
    }

    /// Goes back to it.
    pub fn back_to(&mut self, mark: Mark) {
        (self.avail, self.next) = (mark.0 as u16, mark.1);
    }

    /// The next buffer.
    pub fn next(
        &mut self,
        host: &mut Host,
        setup: &Setup,
        notes: &mut Vec<Misuse>,
    ) -> Result<Option<Chain>, Fail> {
        if self.avail == self.seen && !self.look(host, setup)? {
            return Ok(None);
        }
        let slot = u64::from(self.avail % setup.size);
        let head = load16(host, setup.driver.wrapping_add(ENTRIES + slot * 2))?;
        if setup.in_order && head != self.next {
            return Err(Misuse::OutOfOrder(head, self.next).into());
        }
        let mut chain = Chain::new(head, 1);
        let last = walk(host, setup, head, &mut chain, notes)?;
        self.next = (last + 1) % setup.size;
        self.avail = self.avail.wrapping_add(1);
        Ok(Some(chain))
    }

    /// Reads the driver's index: whether there is more.
    fn look(&mut self, host: &mut Host, setup: &Setup) -> Result<bool, Fail> {
        let index = load16(host, setup.driver.wrapping_add(INDEX))?;
        let (used, from) = (self.used, if self.lied { self.avail } else { self.used });
        // What is available and not used is a queue size at most, and never less than what was seen.
        let outstanding = index.wrapping_sub(from);
        if outstanding > setup.size || outstanding < self.avail.wrapping_sub(from) {
            return Err(Misuse::IndexJump { used, index }.into());
        }
        self.seen = index;
        Ok(index != self.avail)
    }

    /// Gives buffers back: all entries, then the index.
    pub fn publish(&mut self, host: &mut Host, setup: &Setup, list: &[Used]) -> Result<(), Fail> {
        let mut ahead = 0;
        for used in list {
            let Some(report) = used.report else { continue };
            self.lied |= report.lies;
            ahead += report.ahead;
            let value = u64::from(report.id) | u64::from(report.len) << 32;
            let entry = |further: u32| {
                let slot = (u32::from(self.used) + further) % u32::from(setup.size);
                setup.device.wrapping_add(ENTRIES + u64::from(slot) * 8)
            };
            match report.how {
                Some(Spoiled::Never) => continue,
                Some(Spoiled::Late(by)) => {
                    host.write(entry(0), &value.to_le_bytes())?;
                    self.kept = self.kept.max(Some(host.now() + by));
                }
                // The index is there before its entry.
                Some(Spoiled::Torn(by)) => host.store_later(by, entry(0), value, 8),
                Some(Spoiled::Elsewhere(further)) => host.write(entry(further), &value.to_le_bytes())?,
                None | Some(Spoiled::Words { .. }) => host.write(entry(0), &value.to_le_bytes())?,
            }
            self.used = self.used.wrapping_add(used.slots);
        }
        self.show(host, setup, ahead)
    }

    /// Writes the used index, unless it is kept back.
    fn show(&mut self, host: &mut Host, setup: &Setup, ahead: u16) -> Result<(), Fail> {
        if self.kept.is_some() {
            return Ok(());
        }
        // The entries before the index; a driver that sees the index sees them.
        order::dma_wmb();
        let index = self.used.wrapping_add(ahead);
        host.write(setup.device.wrapping_add(INDEX), &index.to_le_bytes())?;
        Ok(())
    }

    /// Shows an index whose time has come; whether it did.
    pub fn settle(&mut self, host: &mut Host, setup: &Setup) -> Result<bool, Fail> {
        if self.kept.is_none_or(|until| until > host.now()) {
            return Ok(false);
        }
        self.kept = None;
        self.show(host, setup, 0).map(|()| true)
    }

    /// Whether something was used that the driver has not been told of and wants to hear (2.7.7).
    pub fn tells(&mut self, host: &mut Host, setup: &Setup, notes: &mut Vec<Misuse>) -> Result<bool, Fail> {
        if self.kept.is_some() || self.used == self.told {
            return Ok(false);
        }
        // The used index before the look at what the driver wants: it writes that and then looks at the index.
        order::dma_mb();
        let (old, new) = (std::mem::replace(&mut self.told, self.used), self.used);
        let flags = load16(host, setup.driver)?;
        if flags > NO_EVENT || (setup.event_idx && flags != 0) {
            notes.push(Misuse::EventFlags(flags));
        }
        if !setup.event_idx {
            return Ok(flags & NO_EVENT == 0);
        }
        let event = load16(
            host,
            setup.driver.wrapping_add(ENTRIES + u64::from(setup.size) * 2),
        )?;
        // The entry with that index was written just now: old <= event < new.
        Ok(event.wrapping_sub(old) < new.wrapping_sub(old))
    }

    /// Says whether the next buffer is to be notified (2.7.10).
    pub fn ask(&mut self, host: &mut Host, setup: &Setup, on: bool) -> Result<(), Fail> {
        let (at, value) = match (setup.event_idx, on) {
            (true, true) => (ENTRIES + u64::from(setup.size) * 8, self.avail),
            // An index that the driver has just passed: a whole turn away.
            (true, false) => (ENTRIES + u64::from(setup.size) * 8, self.avail.wrapping_sub(1)),
            (false, on) => (0, if on { 0 } else { NO_EVENT }),
        };
        if self.asked != Some(value) {
            host.write(setup.device.wrapping_add(at), &value.to_le_bytes())?;
            self.asked = Some(value);
        }
        // What was asked before the look at the index: the driver writes that and then looks at what was asked.
        order::dma_mb();
        Ok(())
    }
}

/// Follows a chain from its head; the last descriptor of the ring that it uses.
fn walk(
    host: &mut Host,
    setup: &Setup,
    head: u16,
    chain: &mut Chain,
    notes: &mut Vec<Misuse>,
) -> Result<u16, Fail> {
    let (mut table, mut entries, mut at, mut last) = (setup.desc, setup.size, head, head);
    let mut nested = false;
    // Descriptors looked at; a table's own descriptor is not an element.
    for _ in 0..=u32::from(setup.size) {
        if at >= entries {
            return Err(Misuse::Outside(at).into());
        }
        let desc = Desc::load(host, table, at)?;
        let (flags, next) = (desc.third, desc.fourth);
        if flags & !(flag::NEXT | flag::WRITE | flag::INDIRECT) != 0 {
            notes.push(Misuse::Flags(flags));
        }
        if !nested {
            last = at;
        }
        if flags & flag::INDIRECT != 0 {
            entries = table_of(setup, desc, flags & flag::NEXT != 0, nested)?;
            (table, at, nested) = (desc.iova, 0, true);
            continue;
        }
        if chain.elements() >= usize::from(setup.size) {
            return Err(Misuse::TooLong.into());
        }
        chain.push(desc, flags & flag::WRITE != 0)?;
        if flags & flag::NEXT == 0 {
            return Ok(last);
        }
        let must = if nested { at + 1 } else { (at + 1) % setup.size };
        if setup.in_order && next != must {
            return Err(Misuse::OutOfOrder(next, must).into());
        }
        at = next;
    }
    Err(Misuse::TooLong.into())
}

/// Entries of the table that a descriptor refers to.
fn table_of(setup: &Setup, desc: Desc, chained: bool, nested: bool) -> Result<u16, Fail> {
    let why = match () {
        () if !setup.indirect => Misuse::IndirectUnasked,
        () if nested => Misuse::IndirectNested,
        () if chained => Misuse::IndirectChained,
        () if desc.len == 0 || !desc.len.is_multiple_of(16) => Misuse::IndirectLength(desc.len),
        // It may be larger than the chain in it.
        () => return Ok((desc.len / 16).min(u32::from(u16::MAX)) as u16),
    };
    Err(why.into())
}
