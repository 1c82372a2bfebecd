use super::config::{ConfigImage, Status};

/// Capability ids (`PCI_CAP_ID_*` in linux/pci_regs.h).
pub(super) mod id {
    pub const PM: u8 = 0x01;
    pub const VNDR: u8 = 0x09;
    pub const EXP: u8 = 0x10;
    pub const MSIX: u8 = 0x11;
}

// linux/pci_regs.h, without the `PCI_`.
const CAPABILITY_LIST: usize = 0x34;
/// Standard capabilities lie behind the header and inside the first 256 bytes (`PCI_CFG_SPACE_SIZE`).
const FIRST_CAP: usize = 0x40;
const CFG_SPACE_SIZE: usize = 0x100;

const MSIX_FLAGS: usize = 2;
const MSIX_FLAGS_QSIZE: u16 = 0x07ff;
const MSIX_FLAGS_MASKALL: u16 = 0x4000;
const MSIX_FLAGS_ENABLE: u16 = 0x8000;
const MSIX_TABLE: usize = 4;
const MSIX_PBA: usize = 8;
/// `PCI_MSIX_TABLE_BIR` and `PCI_MSIX_PBA_BIR`.
const MSIX_BIR: u32 = 0x7;

const EXP_FLAGS: usize = 2;
const EXP_FLAGS_VERS: u16 = 0x000f;
const EXP_FLAGS_TYPE: u16 = 0x00f0;
const EXP_DEVCAP: usize = 4;
const EXP_DEVCAP_PAYLOAD: u32 = 0x7;
const EXP_DEVCAP_FLR: u32 = 0x1000_0000;

const PM_PMC: usize = 2;
const PM_CAP_VER_MASK: u16 = 0x7;
const PM_CTRL: usize = 4;
const PM_CTRL_STATE_MASK: u16 = 0x3;
const PM_CTRL_NO_SOFT_RESET: u16 = 0x8;

/// A capability list that cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CapError {
    /// A pointer leads back.
    #[error("the capability list loops at {at:#x}: the device is broken or was removed while it was read")]
    Loop {
        /// Offset in bytes.
        at: u16,
    },
    /// A pointer or a structure leads outside.
    #[error("the capability at {at:#x} lies outside configuration space: the device is broken")]
    OutOfRange {
        /// Offset in bytes.
        at: u16,
    },
    /// The list reads as all ones.
    #[error("the capability at {at:#x} reads as all ones: the device was removed or is in reset")]
    Gone {
        /// Offset in bytes.
        at: u16,
    },
}

/// One entry of a capability list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// `PCI_CAP_ID_*` or `PCI_EXT_CAP_ID_*`.
    pub id: u16,
    /// Where it starts, in bytes.
    pub offset: u16,
    /// Version; 0 for a standard capability.
    pub version: u8,
}

/// A walk along a capability list. Each dword is looked at once at most, so it ends whatever the image says; an
/// error is the last item.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    image: ConfigImage<'a>,
    extended: bool,
    next: Option<usize>,
    seen: [u64; 16], // one bit a dword of 4,096 bytes
}

impl<'a> Walk<'a> {
    pub(super) fn standard(image: ConfigImage<'a>) -> Self {
        let has_list = image.status().contains(Status::CAP_LIST);
        let first = image.u8(CAPABILITY_LIST).map(|at| usize::from(at & !3));
        Self {
            image,
            extended: false,
            next: first.filter(|at| has_list && *at != 0),
            seen: [0; 16],
        }
    }

    pub(super) fn extended(image: ConfigImage<'a>) -> Self {
        // No extended space, or an empty one: all zeros, or all ones where the bridge cannot reach it.
        let some = image
            .u32(CFG_SPACE_SIZE)
            .is_some_and(|dword| dword != 0 && dword != u32::MAX);
        Self {
            image,
            extended: true,
            next: some.then_some(CFG_SPACE_SIZE),
            seen: [0; 16],
        }
    }

    fn step(&mut self, at: usize) -> Result<Capability, CapError> {
        let offset = at as u16; // both lists' pointers have 12 bits at most
        let (first, end) = if self.extended {
            (CFG_SPACE_SIZE, self.image.len())
        } else {
            (FIRST_CAP, self.image.len().min(CFG_SPACE_SIZE))
        };
        if at < first || at + 4 > end {
            return Err(CapError::OutOfRange { at: offset });
        }
        self.mark(at)?;
        let dword = self.image.u32(at).ok_or(CapError::OutOfRange { at: offset })?;
        if dword == u32::MAX || (!self.extended && dword & 0xff == 0xff) {
            return Err(CapError::Gone { at: offset });
        }
        if self.extended {
            self.next = Some((dword >> 20) as usize & !3).filter(|next| *next != 0);
            let version = (dword >> 16 & 0xf) as u8;
            return Ok(Capability {
                id: dword as u16,
                offset,
                version,
            });
        }
        self.next = Some((dword >> 8 & 0xfc) as usize).filter(|next| *next != 0);
        Ok(Capability {
            id: (dword & 0xff) as u16,
            offset,
            version: 0,
        })
    }

    fn mark(&mut self, at: usize) -> Result<(), CapError> {
        let (word, bit) = (at / 4 / 64 % 16, 1u64 << (at / 4 % 64));
        if self.seen[word] & bit != 0 {
            return Err(CapError::Loop { at: at as u16 });
        }
        self.seen[word] |= bit;
        Ok(())
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Capability, CapError>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.next.take()?; // stays `None` after an error
        Some(self.step(at))
    }
}

/// The MSI-X capability (PCI 3.0, 6.8.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Msix {
    /// Number of vectors, 1 to 2,048.
    pub vectors: u16,
    /// Interrupts go out as MSI-X.
    pub enabled: bool,
    /// All vectors are masked.
    pub masked: bool,
    /// BAR of the vector table.
    pub table_bar: u8,
    /// Offset of the table in it, in bytes.
    pub table_offset: u32,
    /// BAR of the pending bits.
    pub pending_bar: u8,
    /// Offset of the pending bits in it, in bytes.
    pub pending_offset: u32,
}

impl Msix {
    pub(super) fn parse(image: &ConfigImage<'_>, offset: u16) -> Result<Self, CapError> {
        let (flags, table) = (
            word(image, offset, MSIX_FLAGS)?,
            dword(image, offset, MSIX_TABLE)?,
        );
        let pending = dword(image, offset, MSIX_PBA)?;
        Ok(Self {
            vectors: (flags & MSIX_FLAGS_QSIZE) + 1,
            enabled: flags & MSIX_FLAGS_ENABLE != 0,
            masked: flags & MSIX_FLAGS_MASKALL != 0,
            table_bar: (table & MSIX_BIR) as u8,
            table_offset: table & !MSIX_BIR,
            pending_bar: (pending & MSIX_BIR) as u8,
            pending_offset: pending & !MSIX_BIR,
        })
    }
}

/// The PCI Express capability (PCIe 5.0, 7.5.3), as far as the engine needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciExpress {
    /// Version of the capability.
    pub version: u8,
    /// `PCI_EXP_TYPE_*`: 0 endpoint, 1 legacy endpoint, 4 root port.
    pub port_type: u8,
    /// Largest payload the function can send, in bytes.
    pub max_payload: u16,
    /// The function can be reset alone.
    pub function_reset: bool,
}

impl PciExpress {
    pub(super) fn parse(image: &ConfigImage<'_>, offset: u16) -> Result<Self, CapError> {
        let (flags, caps) = (word(image, offset, EXP_FLAGS)?, dword(image, offset, EXP_DEVCAP)?);
        Ok(Self {
            version: (flags & EXP_FLAGS_VERS) as u8,
            port_type: ((flags & EXP_FLAGS_TYPE) >> 4) as u8,
            max_payload: 128 << (caps & EXP_DEVCAP_PAYLOAD),
            function_reset: caps & EXP_DEVCAP_FLR != 0,
        })
    }
}

/// The power-management capability (PCI PM 1.2, 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerManagement {
    /// Version of the capability.
    pub version: u8,
    /// D-state: 0 is on, 3 is D3hot, where BARs do not answer.
    pub state: u8,
    /// Going from D3hot to D0 keeps the registers.
    pub no_soft_reset: bool,
}

impl PowerManagement {
    pub(super) fn parse(image: &ConfigImage<'_>, offset: u16) -> Result<Self, CapError> {
        let (caps, control) = (word(image, offset, PM_PMC)?, word(image, offset, PM_CTRL)?);
        Ok(Self {
            version: (caps & PM_CAP_VER_MASK) as u8,
            state: (control & PM_CTRL_STATE_MASK) as u8,
            no_soft_reset: control & PM_CTRL_NO_SOFT_RESET != 0,
        })
    }
}

fn word(image: &ConfigImage<'_>, cap: u16, at: usize) -> Result<u16, CapError> {
    image
        .u16(usize::from(cap) + at)
        .ok_or(CapError::OutOfRange { at: cap })
}

fn dword(image: &ConfigImage<'_>, cap: u16, at: usize) -> Result<u32, CapError> {
    image
        .u32(usize::from(cap) + at)
        .ok_or(CapError::OutOfRange { at: cap })
}

#[cfg(test)]
mod tests;
