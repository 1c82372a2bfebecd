//! EEPROM (chapter 6, 8.4), PHY (8.2.4, 8.24) and the semaphores (8.7).

use super::regs::{EEC, EERD, MDIC, SW_FW_SYNC, SWSM};
use barline_sim::RegFile;

/// EEC: an EEPROM is there, its content was read, size field 4 (2 KiB), nobody else uses it.
const EEC_FIXED: u32 = 1 << 8 | 1 << 9 | 4 << 11;
const EEC_REQUEST: u32 = 1 << 6;
const EEC_GRANT: u32 = 1 << 7;

const EERD_START: u32 = 1 << 0;
const EERD_DONE: u32 = 1 << 1;

/// What the words 0 to 0x3f add up to (6.2.23).
const CHECKSUM: u16 = 0xBABA;

/// MDIC fields (8.2.4).
const MDIC_OP_WRITE: u32 = 1;
const MDIC_OP_READ: u32 = 2;
const MDIC_READY: u32 = 1 << 28;
const MDIC_ERROR: u32 = 1 << 30;
/// The internal PHY's address.
const PHY: u32 = 1;

/// PHY registers that answer with something else than what was written.
const PHY_STATUS: usize = 1;
const PHY_LINK: u16 = 1 << 2;
const PHY_NEGOTIATED: u16 = 1 << 5;
/// Read only: status, both identifiers, partner's abilities, 1000BASE-T status, extended status, port status.
const PHY_READ_ONLY: [usize; 7] = [1, 2, 3, 5, 10, 15, 17];

/// EEPROM and PHY.
#[derive(Debug)]
pub struct Nvm {
    words: [u16; 64],
    phy: [u16; 32],
    link: bool,
}

impl Nvm {
    /// An image with this MAC address and a valid checksum.
    pub fn new(mac: [u8; 6]) -> Self {
        let mut words = [0xffff; 64];
        for (word, pair) in words.iter_mut().zip(mac.chunks_exact(2)) {
            *word = u16::from_le_bytes([pair[0], pair[1]]);
        }
        // Compatibility, initialisation control 1 and 2, subsystem, device and vendor ids, LED, PBA number.
        for (at, word) in [
            (3, 0x0400),
            (8, 0x1234),
            (9, 0x5678),
            (0xa, 0x46ab),
            (0xb, 0xa03c),
            (0xc, 0x8086),
            (0xd, 0x10c9),
            (0xf, 0x0400),
        ] {
            words[at] = word;
        }
        let sum = words[..63].iter().fold(0u16, |sum, word| sum.wrapping_add(*word));
        words[63] = CHECKSUM.wrapping_sub(sum);
        Self {
            words,
            phy: phy_after_reset(),
            link: true,
        }
    }

    /// RAL and RAH of the address in words 0 to 2, as the EEPROM load fills them in.
    pub fn receive_address(&self) -> (u32, u32) {
        let low = u32::from(self.words[0]) | u32::from(self.words[1]) << 16;
        (low, u32::from(self.words[2]))
    }

    /// Whether the PHY sees a partner.
    pub fn set_link(&mut self, up: bool) {
        self.link = up;
    }

    /// Whether the PHY sees a partner.
    pub fn link(&self) -> bool {
        self.link
    }

    /// The PHY's registers as after its reset.
    pub fn reset_phy(&mut self) {
        self.phy = phy_after_reset();
    }

    /// EEC as it reads.
    pub fn eec(regs: &RegFile) -> u32 {
        let stored = regs.get(EEC);
        let grant = if stored & EEC_REQUEST != 0 { EEC_GRANT } else { 0 };
        stored | grant | EEC_FIXED
    }

    /// A write to EERD: the word is there at once.
    pub fn read_word(&self, regs: &mut RegFile, value: u32) {
        let address = (value >> 2) & 0x3fff;
        let word = self.words.get(address as usize).copied().unwrap_or(0xffff);
        let done = if value & EERD_START != 0 {
            EERD_DONE | u32::from(word) << 16
        } else {
            0
        };
        regs.set(EERD, address << 2 | done);
    }

    /// A write to MDIC: done at once; an unknown PHY address or operation is an error.
    pub fn mdic(&mut self, regs: &mut RegFile, value: u32) {
        let (register, phy, op) = ((value >> 16 & 0x1f) as usize, value >> 21 & 0x1f, value >> 26 & 3);
        let command = value & 0x0fff_ffff & !0xffff;
        let answer = match op {
            _ if phy != PHY => value & 0xffff | MDIC_ERROR,
            MDIC_OP_READ => u32::from(self.phy_read(register)),
            MDIC_OP_WRITE => {
                self.phy_write(register, value as u16);
                value & 0xffff
            }
            _ => MDIC_ERROR,
        };
        regs.set(MDIC, command | answer | MDIC_READY);
    }

    fn phy_read(&self, register: usize) -> u16 {
        let value = self.phy[register];
        match register {
            PHY_STATUS if self.link => value | PHY_LINK | PHY_NEGOTIATED,
            _ => value,
        }
    }

    fn phy_write(&mut self, register: usize, value: u16) {
        if PHY_READ_ONLY.contains(&register) {
            return;
        }
        // Control: reset and restart of the negotiation clear themselves.
        let clears = if register == 0 { 0x8200 } else { 0 };
        self.phy[register] = value & !clears;
    }
}

fn phy_after_reset() -> [u16; 32] {
    let mut phy = [0; 32];
    // Control: negotiation on, full duplex, 1000 Mb/s. Status: every speed, extended registers.
    (phy[0], phy[1]) = (0x1140, 0x7949);
    (phy[2], phy[3]) = (0x02a8, 0x0391);
    // Abilities of both sides, expansion, 1000BASE-T control and status, extended status, port status: 1000 full.
    (phy[4], phy[5], phy[6], phy[9], phy[10], phy[15], phy[17]) =
        (0x0de1, 0xcde1, 0x000f, 0x0300, 0x7c00, 0x3000, 0xc000);
    phy
}

/// A read of SWSM (8.7.1): whoever reads SMBI as 0 has the semaphore, for the read sets it.
pub fn read_swsm(regs: &mut RegFile) -> u32 {
    let value = regs.get(SWSM);
    regs.set(SWSM, value | 1);
    value
}

/// Software's half of SW_FW_SYNC is granted as written; firmware holds nothing.
pub fn write_sw_fw_sync(regs: &mut RegFile, value: u32) {
    regs.set(SW_FW_SYNC, value & 0xffff);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::e82576::regs::{BAR0_LEN, RULES};

    #[test]
    fn the_image_sums_up_and_starts_with_the_address() {
        let nvm = Nvm::new([2, 0x11, 0x22, 0x33, 0x44, 0x55]);
        assert_eq!(
            nvm.words.iter().fold(0u16, |sum, word| sum.wrapping_add(*word)),
            0xBABA
        );
        assert_eq!(nvm.receive_address(), (0x3322_1102, 0x5544));
        let mut regs = RegFile::new(BAR0_LEN as usize, RULES);
        nvm.read_word(&mut regs, 1 << 2 | 1);
        assert_eq!(regs.get(EERD), 0x3322 << 16 | 1 << 2 | 2);
        nvm.read_word(&mut regs, 0x3000 << 2 | 1);
        assert_eq!(regs.get(EERD) >> 16, 0xffff);
    }

    #[test]
    fn the_phy_answers_at_its_address_only() {
        let mut nvm = Nvm::new([0; 6]);
        let mut regs = RegFile::new(BAR0_LEN as usize, RULES);
        let mut read = |nvm: &mut Nvm, phy: u32, register: u32| {
            nvm.mdic(&mut regs, 2 << 26 | phy << 21 | register << 16);
            regs.get(MDIC)
        };
        assert_eq!(read(&mut nvm, 1, 2) & 0xd000_ffff, MDIC_READY | 0x02a8);
        assert_eq!(read(&mut nvm, 1, 1) & 0xffff, 0x796d);
        nvm.set_link(false);
        assert_eq!(read(&mut nvm, 1, 1) & 0x24, 0);
        assert_ne!(read(&mut nvm, 0, 2) & MDIC_ERROR, 0);
    }
}
