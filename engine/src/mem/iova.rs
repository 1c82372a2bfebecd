use std::fmt;

/// An address in bytes as the device sees it: an I/O virtual address.
///
/// There is no conversion from a pointer: only a [`super::Mapping`] can tell which IOVA its memory has.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Iova(u64);

impl Iova {
    /// An IOVA from its number, as a domain or a device model has it.
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The number to write into a descriptor or a base-address register.
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// The IOVA `bytes` further on; `None` past the end of the address space.
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(raw) => Some(Self(raw)),
            None => None,
        }
    }

    /// The IOVA `bytes` further on, wrapping; for offsets that are already known to lie inside one mapping.
    #[inline]
    pub const fn offset(self, bytes: u64) -> Self {
        Self(self.0.wrapping_add(bytes))
    }
}

impl fmt::Debug for Iova {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "iova:{:#x}", self.0)
    }
}

impl fmt::Display for Iova {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
