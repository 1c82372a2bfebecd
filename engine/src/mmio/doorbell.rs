use super::bar::{Bar, Inner};
use crate::mem::order;
use std::fmt;
use std::ptr::NonNull;

/// A tail register, checked when made; ringing it contains the write barrier.
pub struct Doorbell {
    kind: Kind,
    // Keeps the mapping alive.
    bar: Bar,
    offset: usize,
}

enum Kind {
    Cell(NonNull<u32>),
    Half(NonNull<u16>),
    Trap,
    HalfTrap,
}

// SAFETY: the cell is device memory that `bar` keeps mapped; ringing is one volatile store.
unsafe impl Send for Doorbell {}

impl Doorbell {
    pub(super) fn new(bar: Bar, offset: usize) -> Self {
        let kind = match &bar.inner {
            Inner::Mapped(mapped) => Kind::Cell(mapped.cell(offset)),
            Inner::Trapped(_) => Kind::Trap,
        };
        Self { kind, bar, offset }
    }

    pub(super) fn half(bar: Bar, offset: usize) -> Self {
        let kind = match &bar.inner {
            Inner::Mapped(mapped) => Kind::Half(mapped.at(offset)),
            Inner::Trapped(_) => Kind::HalfTrap,
        };
        Self { kind, bar, offset }
    }

    /// Tells the device that descriptors up to `value` are ready.
    ///
    /// Orders the caller's stores to descriptors before the store to the register.
    #[inline]
    pub fn ring(&mut self, value: u32) {
        order::dma_wmb();
        match self.kind {
            // SAFETY: checked by `Bar::doorbell`, kept mapped by `self.bar`.
            Kind::Cell(cell) => unsafe { cell.write_volatile(value.to_le()) },
            // SAFETY: as above, by `Bar::doorbell16`.
            Kind::Half(cell) => unsafe { cell.write_volatile((value as u16).to_le()) },
            Kind::Trap => self.trap(value, 4),
            Kind::HalfTrap => self.trap(value & 0xffff, 2),
        }
    }

    fn trap(&self, value: u32, bytes: usize) {
        if let Inner::Trapped(trap) = &self.bar.inner {
            trap.write_part(self.offset, bytes, value);
        }
    }
}

impl fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Doorbell(+{:#x} of {:?})", self.offset, self.bar)
    }
}
