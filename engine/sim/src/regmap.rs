//! Registers as a table.

use std::fmt;

/// How a register answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Reads as it is; writes have no effect.
    ReadOnly,
    /// Reads back what was written, under the mask.
    ReadWrite,
    /// Reads as zero.
    WriteOnly,
    /// Writing ones clears them.
    WriteOneClears,
    /// Reading clears (statistics).
    ReadClears,
}

/// One entry of a register table: `count` registers from `first` on, `stride` bytes apart.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    first: u32,
    count: u32,
    stride: u32,
    kind: Kind,
    mask: u32,
    reset: u32,
}

impl Rule {
    /// One register with all its bits.
    pub const fn new(kind: Kind, offset: u32) -> Self {
        assert!(offset.is_multiple_of(4));
        Self {
            first: offset,
            count: 1,
            stride: 4,
            kind,
            mask: u32::MAX,
            reset: 0,
        }
    }

    /// A read/write register.
    pub const fn rw(offset: u32) -> Self {
        Self::new(Kind::ReadWrite, offset)
    }

    /// A statistics register, cleared by reading.
    pub const fn rc(offset: u32) -> Self {
        Self::new(Kind::ReadClears, offset)
    }

    /// A read-only register.
    pub const fn ro(offset: u32) -> Self {
        Self::new(Kind::ReadOnly, offset)
    }

    /// A write-only register.
    pub const fn wo(offset: u32) -> Self {
        Self::new(Kind::WriteOnly, offset)
    }

    /// Repeats it `count` times, `stride` bytes apart.
    pub const fn times(mut self, count: u32, stride: u32) -> Self {
        assert!(stride.is_multiple_of(4) && stride > 0);
        (self.count, self.stride) = (count, stride);
        self
    }

    /// Repeats it without gaps.
    pub const fn array(self, count: u32) -> Self {
        self.times(count, 4)
    }

    /// Limits the bits that can be written.
    pub const fn mask(mut self, mask: u32) -> Self {
        self.mask = mask;
        self
    }

    /// The value after reset.
    pub const fn reset(mut self, value: u32) -> Self {
        self.reset = value;
        self
    }
}

/// An access to an offset that no rule names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Touch {
    /// Offset in the BAR.
    pub offset: u32,
    /// What was written; `None` for a read.
    pub value: Option<u32>,
}

impl fmt::Debug for Touch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            Some(value) => write!(f, "write {value:#x} to {:#x}", self.offset),
            None => write!(f, "read {:#x}", self.offset),
        }
    }
}

/// A driver that runs wild must not fill the memory.
const MOST_TOUCHES: usize = 256;

#[derive(Clone, Copy)]
struct Cell {
    value: u32,
    mask: u32,
    kind: Option<Kind>,
}

/// The registers of a BAR, made from a table of [`Rule`]s. Offsets no rule names read as zero, ignore writes and
/// are recorded.
pub struct RegFile {
    cells: Vec<Cell>,
    rules: &'static [Rule],
    unknown: Vec<Touch>,
}

impl RegFile {
    /// A BAR of `len` bytes. Rules outside it are left out.
    pub fn new(len: usize, rules: &'static [Rule]) -> Self {
        let cells = vec![
            Cell {
                value: 0,
                mask: 0,
                kind: None
            };
            len / 4
        ];
        let mut file = Self {
            cells,
            rules,
            unknown: Vec::new(),
        };
        for rule in rules {
            for offset in (0..rule.count).map(|n| rule.first + n * rule.stride) {
                if let Some(cell) = file.cells.get_mut(offset as usize / 4) {
                    *cell = Cell {
                        value: rule.reset,
                        mask: rule.mask,
                        kind: Some(rule.kind),
                    };
                }
            }
        }
        file
    }

    /// Puts every register to its reset value but those that `keep` names by offset.
    pub fn reset(&mut self, keep: impl Fn(u32) -> bool) {
        for rule in self.rules {
            for offset in (0..rule.count)
                .map(|n| rule.first + n * rule.stride)
                .filter(|at| !keep(*at))
            {
                self.set(offset, rule.reset);
            }
        }
    }

    /// A register as the device sees it, without side effects; zero outside the BAR.
    #[inline]
    pub fn get(&self, offset: u32) -> u32 {
        self.cells.get(offset as usize / 4).map_or(0, |cell| cell.value)
    }

    /// Sets a register as the device does.
    #[inline]
    pub fn set(&mut self, offset: u32, value: u32) {
        if let Some(cell) = self.cells.get_mut(offset as usize / 4) {
            cell.value = value;
        }
    }

    /// Counts up a statistics register, which sticks at all ones.
    #[inline]
    pub fn add(&mut self, offset: u32, count: u32) {
        if let Some(cell) = self.cells.get_mut(offset as usize / 4) {
            cell.value = cell.value.saturating_add(count);
        }
    }

    /// A read by the host.
    pub fn read(&mut self, offset: u32) -> u32 {
        let Some(cell) = self.cells.get_mut(offset as usize / 4) else {
            return 0;
        };
        match cell.kind {
            Some(Kind::ReadClears) => std::mem::take(&mut cell.value),
            Some(Kind::WriteOnly) => 0,
            Some(_) => cell.value,
            None => {
                self.touched(Touch { offset, value: None });
                0
            }
        }
    }

    /// A write by the host.
    pub fn write(&mut self, offset: u32, value: u32) {
        let Some(cell) = self.cells.get_mut(offset as usize / 4) else {
            return;
        };
        match cell.kind {
            Some(Kind::ReadWrite | Kind::WriteOnly) => {
                cell.value = (cell.value & !cell.mask) | (value & cell.mask);
            }
            Some(Kind::WriteOneClears) => cell.value &= !(value & cell.mask),
            Some(Kind::ReadOnly | Kind::ReadClears) => {}
            None => self.touched(Touch {
                offset,
                value: Some(value),
            }),
        }
    }

    fn touched(&mut self, touch: Touch) {
        if self.unknown.len() < MOST_TOUCHES && !self.unknown.contains(&touch) {
            self.unknown.push(touch);
        }
    }

    /// Offsets touched that no rule names, each access once.
    pub fn unknown(&self) -> &[Touch] {
        &self.unknown
    }
}

impl fmt::Debug for RegFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegFile({} bytes)", self.cells.len() * 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: [Rule; 5] = [
        Rule::rw(0).mask(0xff).reset(0x1234_0012),
        Rule::rc(4).times(2, 8),
        Rule::new(Kind::WriteOneClears, 8),
        Rule::wo(16),
        Rule::ro(20).reset(7),
    ];

    #[test]
    fn each_kind_answers_in_its_way() {
        let mut file = RegFile::new(64, &RULES);
        file.write(0, 0xabcd_efff);
        assert_eq!(file.read(0), 0x1234_00ff);
        file.add(12, 5);
        file.write(12, 99);
        assert_eq!((file.read(12), file.read(12)), (5, 0));
        file.set(8, 0xf);
        file.write(8, 3);
        assert_eq!(file.read(8), 0xc);
        file.write(16, 9);
        assert_eq!((file.read(16), file.get(16)), (0, 9));
        file.write(20, 9);
        assert_eq!(file.read(20), 7);
        file.add(4, u32::MAX);
        file.add(4, 9);
        file.reset(|at| at == 4);
        assert_eq!((file.read(0), file.read(4)), (0x1234_0012, u32::MAX));
    }

    #[test]
    fn unknown_offsets_are_recorded_once() {
        let mut file = RegFile::new(64, &RULES);
        file.write(24, 1);
        file.write(24, 1);
        assert_eq!(file.read(28), 0);
        assert_eq!(file.read(4096), 0);
        assert_eq!(format!("{:?}", file.unknown()), "[write 0x1 to 0x18, read 0x1c]");
    }
}
