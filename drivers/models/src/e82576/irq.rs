//! Interrupts (7.3, 8.8).

use super::regs::{
    EIAC, EIAM, EICR, EICS, EIMC, EIMS, GPIE, IAM, ICR, ICS, IMC, IMS, IVAR, IVAR_MISC, VECTORS, icr,
};
use barline_sim::{Host, RegFile};

/// GPIE: every ICR read clears it.
const NSICR: u32 = 1 << 0;
/// GPIE: causes map to MSI-X vectors, one EICR bit each.
const MULTIPLE_MSIX: u32 = 1 << 4;
/// GPIE: EIAM applies when a message is sent.
const EIAME: u32 = 1 << 30;
/// EICR bits in MSI-X mode, and otherwise: 16 queue bits, timer, other.
const MSIX_CAUSES: u32 = 0x01ff_ffff;
const LEGACY_CAUSES: u32 = 0xc000_ffff;
const OTHER: u32 = 1 << 31;
/// An IVAR entry: vector in bits 4:0, valid in bit 7.
const VALID: u32 = 1 << 7;
const VECTOR: u32 = 0x1f;

/// What the device remembers of interrupts beside its registers.
#[derive(Debug, Default)]
pub struct Irq {
    /// EICR bits whose message was sent and that are still set and enabled.
    signalled: u32,
    /// Queues with a receive or transmit write-back that was not reported yet.
    rx: u32,
    tx: u32,
}

impl Irq {
    /// A receive descriptor of this queue was written back.
    #[inline]
    pub fn received(&mut self, queue: usize) {
        self.rx |= 1 << queue;
    }

    /// A transmit descriptor of this queue was written back.
    #[inline]
    pub fn sent(&mut self, queue: usize) {
        self.tx |= 1 << queue;
    }

    /// Reports what the queues did.
    pub fn report(&mut self, regs: &mut RegFile, host: &mut Host) {
        let (rx, tx) = (std::mem::take(&mut self.rx), std::mem::take(&mut self.tx));
        if rx | tx == 0 {
            return;
        }
        let mut causes = 0;
        for queue in 0..16 {
            if rx >> queue & 1 != 0 {
                causes |= allocated(regs, queue, 0);
            }
            if tx >> queue & 1 != 0 {
                causes |= allocated(regs, queue, 8);
            }
        }
        regs.set(EICR, regs.get(EICR) | causes);
        let bits = if rx != 0 { icr::RXDW } else { 0 } | if tx != 0 { icr::TXDW } else { 0 };
        self.other(regs, host, bits);
    }

    /// Causes of ICR: link, overrun and the like.
    pub fn other(&mut self, regs: &mut RegFile, host: &mut Host, bits: u32) {
        let causes = regs.get(ICR) | bits;
        let asserted = causes & regs.get(IMS) & !icr::INTA != 0;
        regs.set(ICR, causes | if asserted { icr::INTA } else { 0 });
        if asserted && bits & regs.get(IMS) != 0 {
            let entry = regs.get(IVAR_MISC) >> 8;
            let cause = match regs.get(GPIE) & MULTIPLE_MSIX {
                0 => OTHER,
                _ if entry & VALID != 0 => 1 << (entry & VECTOR),
                _ => 0,
            };
            regs.set(EICR, regs.get(EICR) | cause);
        }
        self.fire(regs, host);
    }

    /// Sends messages for causes that are set, enabled and not sent yet.
    fn fire(&mut self, regs: &mut RegFile, host: &mut Host) {
        let gpie = regs.get(GPIE);
        let active = regs.get(EICR) & regs.get(EIMS);
        self.signalled &= active;
        let fresh = active & !self.signalled;
        if fresh == 0 {
            return;
        }
        if gpie & MULTIPLE_MSIX == 0 {
            host.interrupt(0);
        } else {
            (0..VECTORS)
                .filter(|vector| fresh >> vector & 1 != 0)
                .for_each(|vector| host.interrupt(vector));
            regs.set(EICR, regs.get(EICR) & !(fresh & regs.get(EIAC)));
        }
        if gpie & EIAME != 0 {
            regs.set(EIMS, regs.get(EIMS) & !(fresh & regs.get(EIAM)));
        }
        self.signalled = (self.signalled | fresh) & regs.get(EICR) & regs.get(EIMS);
    }

    /// A read of one of the interrupt registers; `None` for those that only store.
    pub fn read(&mut self, regs: &mut RegFile, offset: u32) -> Option<u32> {
        match offset {
            ICR => {
                let value = regs.get(ICR);
                let clears = regs.get(GPIE) & NSICR != 0 || regs.get(IMS) == 0 || value & icr::INTA != 0;
                if clears {
                    regs.set(ICR, 0);
                    regs.set(IMS, regs.get(IMS) & !regs.get(IAM));
                }
                Some(value)
            }
            EICR => {
                let value = regs.get(EICR);
                if regs.get(GPIE) & MULTIPLE_MSIX == 0 {
                    regs.set(EICR, 0);
                    regs.set(EIMS, regs.get(EIMS) & !regs.get(EIAM));
                    self.signalled = 0;
                }
                Some(value)
            }
            IMC => Some(regs.get(IMS)),
            EIMC => Some(regs.get(EIMS)),
            _ => None,
        }
    }

    /// A write to one of the interrupt registers; false for those that only store.
    pub fn write(&mut self, regs: &mut RegFile, host: &mut Host, offset: u32, value: u32) -> bool {
        let causes = match regs.get(GPIE) & MULTIPLE_MSIX {
            0 => LEGACY_CAUSES,
            _ => MSIX_CAUSES,
        };
        match offset {
            ICR => regs.set(ICR, regs.get(ICR) & !value),
            ICS => self.other(regs, host, value & !icr::INTA),
            IMS => {
                regs.set(IMS, regs.get(IMS) | value);
                let pending = regs.get(ICR) & value;
                self.other(regs, host, pending & !icr::INTA);
            }
            IMC => regs.set(IMS, regs.get(IMS) & !value),
            EICR => {
                regs.set(EICR, regs.get(EICR) & !value);
                self.signalled &= !value;
            }
            EICS => {
                // Software cannot set "other" here (8.8.4).
                regs.set(EICR, regs.get(EICR) | (value & causes & !OTHER));
                self.fire(regs, host);
            }
            EIMS => {
                regs.set(EIMS, regs.get(EIMS) | (value & causes));
                self.fire(regs, host);
            }
            EIMC => {
                regs.set(EIMS, regs.get(EIMS) & !value);
                self.signalled &= !value;
            }
            _ => return false,
        }
        true
    }
}

/// The EICR bit that IVAR gives a queue: entries for receive at bit 0 (queues 0 to 7) and 16 (8 to 15), for transmit
/// 8 further on (8.8.15).
fn allocated(regs: &RegFile, queue: u32, direction: u32) -> u32 {
    let entry = regs.get(IVAR + (queue % 8) * 4) >> (queue / 8 * 16 + direction);
    let valid = if entry & VALID != 0 {
        1 << (entry & VECTOR)
    } else {
        0
    };
    valid
        & if regs.get(GPIE) & MULTIPLE_MSIX == 0 {
            LEGACY_CAUSES
        } else {
            MSIX_CAUSES
        }
}
