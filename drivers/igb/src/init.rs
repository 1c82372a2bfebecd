//! Bringing the device up and down, in the order of data sheet 4.5 (initialization) and 5.2.3 (reset).

use crate::regs::*;
use barline::mmio::{Bar, MmioError, RW, RegArray};
use barline::port::{Link, MacAddress, PortConfig, VlanFilter};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

/// Interrupts off, DMA off, reset, interrupts off again (4.5.3), and the EEPROM read.
pub fn reset(bar: &Bar) -> Result<(), MmioError> {
    silence(bar)?;
    // A board without EEPROM, and QEMU's igb, never report the end of the read: whether there is a station address
    // is checked where it is needed.
    let _ = bar.wait(EECD, 10 * MS, |v| v & EECD_AUTO_RD != 0);
    Ok(())
}

fn silence(bar: &Bar) -> Result<(), MmioError> {
    mask_interrupts(bar);
    stop_dma(bar);
    bar.modify(CTRL, |v| v | ctrl::RST);
    // 4.2.1.6: no access for a millisecond; the first read after that may still see the bit.
    bar.pause(MS);
    bar.wait(CTRL, 100 * MS, |v| v & ctrl::RST == 0)?;
    mask_interrupts(bar);
    Ok(())
}

fn mask_interrupts(bar: &Bar) {
    bar.write(IMC, u32::MAX);
    bar.write(EIMC, u32::MAX);
    bar.read(ICR);
}

/// Receiver and transmitter off, then no further requests to memory (5.2.3.3, "Bus master disable").
fn stop_dma(bar: &Bar) {
    bar.modify(RCTL, |v| v & !rctl::RXEN);
    bar.modify(TCTL, |v| v & !tctl::EN);
    bar.modify(CTRL, |v| v | ctrl::GIO_MASTER_DISABLE);
    // Requests that never complete do not keep us from the reset, which drops them.
    let _ = bar.wait(STATUS, 80 * MS, |v| v & status::GIO_MASTER_EN == 0);
}

/// Everything off, for good or until the next start.
pub fn shutdown(bar: &Bar, queues: usize) -> Result<(), MmioError> {
    for q in 0..queues {
        bar.modify(RXDCTL.at(q), |v| v & !DCTL_ENABLE);
        bar.modify(TXDCTL.at(q), |v| v & !DCTL_ENABLE);
    }
    bar.modify(CTRL_EXT, |v| v & !CTRL_EXT_DRV_LOAD);
    silence(bar)
}

/// The address that the EEPROM gave to receive address 0.
pub fn mac(bar: &Bar) -> MacAddress {
    let ([a, b, c, d], [e, f, ..]) = (
        bar.read(RAL.at(0)).to_le_bytes(),
        bar.read(RAH.at(0)).to_le_bytes(),
    );
    MacAddress([a, b, c, d, e, f])
}

/// Writes receive address 0. RAL first: the address is taken over with RAH's valid bit (8.10.17).
pub fn set_mac(bar: &Bar, mac: MacAddress) {
    let [a, b, c, d, e, f] = mac.0;
    bar.write(RAH.at(0), 0);
    bar.write(RAL.at(0), u32::from_le_bytes([a, b, c, d]));
    bar.write(RAH.at(0), u32::from_le_bytes([e, f, 0, 0]) | RAH_AV);
}

/// General configuration and filters (4.5.4, 4.5.9), with everything still off.
pub fn general(bar: &Bar, mac: MacAddress) {
    bar.modify(CTRL_EXT, |v| v | CTRL_EXT_DRV_LOAD);
    bar.modify(CTRL, |v| v & !ctrl::GIO_MASTER_DISABLE | ctrl::SLU | ctrl::FD);
    set_mac(bar, mac);
    for i in 1..RAH.len() {
        bar.write(RAH.at(i), 0);
    }
    for i in 0..MTA.len() {
        bar.write(MTA.at(i), 0);
    }
}

/// RSS over `queues` queues (7.1.1.7): the table points to them in turn.
pub fn spread(bar: &Bar, queues: u16) {
    if queues == 1 {
        bar.write(MRQC, 0);
        return;
    }
    for (i, key) in RSS_KEY.as_chunks::<4>().0.iter().enumerate() {
        bar.write(RSSRK.at(i), u32::from_le_bytes(*key));
    }
    for i in 0..RETA.len() {
        let entry = |n: usize| ((i * 4 + n) % queues as usize) as u8;
        bar.write(
            RETA.at(i),
            u32::from_le_bytes([entry(0), entry(1), entry(2), entry(3)]),
        );
    }
    bar.modify(RXCSUM, |v| v | RXCSUM_PCSD);
    bar.write(MRQC, MRQC_RSS);
}

/// The key that Microsoft publishes for verifying RSS ("Verifying the RSS hash calculation").
const RSS_KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0,
    0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42,
    0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

/// The registers of one queue that receive and transmit have in common.
pub struct QueueRegs {
    base: [RegArray<RW>; 2],
    len: RegArray<RW>,
    head: RegArray<RW>,
    tail: RegArray<RW>,
    control: RegArray<RW>,
    thresholds: u32,
}

/// Receive queues.
pub const RX: QueueRegs = QueueRegs {
    base: [RDBAL, RDBAH],
    len: RDLEN,
    head: RDH,
    tail: RDT,
    control: RXDCTL,
    thresholds: RXDCTL_THRESHOLDS,
};

/// Transmit queues.
pub const TX: QueueRegs = QueueRegs {
    base: [TDBAL, TDBAH],
    len: TDLEN,
    head: TDH,
    tail: TDT,
    control: TXDCTL,
    thresholds: TXDCTL_THRESHOLDS,
};

impl QueueRegs {
    /// Tells the device where ring `q` is, and switches it on (4.5.9.1, 4.5.10.1). The tail is the caller's.
    pub fn enable(&self, bar: &Bar, q: usize, iova: u64, bytes: usize) -> Result<(), MmioError> {
        bar.write(self.control.at(q), 0);
        bar.write(self.base[0].at(q), iova as u32);
        bar.write(self.base[1].at(q), (iova >> 32) as u32);
        bar.write(self.len.at(q), bytes as u32);
        bar.write(self.head.at(q), 0);
        bar.write(self.tail.at(q), 0);
        bar.write(self.control.at(q), self.thresholds | DCTL_ENABLE);
        bar.wait(self.control.at(q), 100 * MS, |v| v & DCTL_ENABLE != 0)?;
        Ok(())
    }
}

/// Bytes of a buffer that the device uses: BSIZEPACKET counts KiB (8.10.2).
pub fn usable(room: usize) -> usize {
    (room >> 10).min(srrctl::MOST_KIB as usize) << 10
}

/// Buffer size and descriptor type of receive queue `q`. With several queues a full one drops, so that it does not
/// block the others (7.1.4.5).
pub fn buffers(bar: &Bar, q: usize, room: usize, queues: u16) {
    let kib = (usable(room) >> 10) as u32;
    let drop = if queues > 1 { srrctl::DROP_EN } else { 0 };
    bar.write(SRRCTL.at(q), kib | srrctl::DESCTYPE_ADV_ONE | drop);
}

/// Longest frame with FCS (8.10.5).
pub fn set_max_frame(bar: &Bar, bytes: u32) {
    bar.write(RLPML, bytes + 4);
}

/// The table of VLANs that are received (8.10.19): register `id / 32`, bit `id % 32`.
pub fn set_vlans(bar: &Bar, filter: &VlanFilter) {
    for at in 0..128 {
        let passes = |bit: u16| u32::from(filter.has(at * 32 + bit)) << bit;
        let word = (0..32).map(passes).fold(0, |word, bit| word | bit);
        bar.write(VFTA.at(at.into()), word);
    }
}

/// Transmitter on, then receiver on; `filter` is what RCTL has of UPE, MPE and VFE.
pub fn enable(bar: &Bar, config: &PortConfig, filter: u32) {
    set_max_frame(bar, config.max_frame());
    bar.write(TCTL, tctl::EN | tctl::PSP | tctl::CT);
    bar.write(RCTL, rctl::RXEN | rctl::LPE | rctl::BAM | rctl::SECRC | filter);
}

/// The link as STATUS tells it (8.2.2).
pub fn link(bar: &Bar) -> Link {
    let value = bar.read(STATUS);
    let up = value != u32::MAX && value & status::LU != 0;
    let speed = [10, 100, 1000, 1000][(value >> status::SPEED_SHIFT & 3) as usize];
    Link {
        up,
        speed: if up { speed } else { 0 },
        full_duplex: up && value & status::FD != 0,
    }
}

/// Asks the PHY to negotiate, when there is no link: a MAC reset alone does not (3.5.7).
pub fn negotiate(bar: &Bar, function: u8) -> Result<(), MmioError> {
    if link(bar).up {
        return Ok(());
    }
    let held = PhyLock::take(bar, function)?;
    let old = phy(bar, mdic::OP_READ, bmcr::REG, 0)?;
    let new = old & !bmcr::POWER_DOWN | bmcr::AUTONEG | bmcr::RESTART;
    phy(bar, mdic::OP_WRITE, bmcr::REG, new)?;
    drop(held);
    Ok(())
}

/// One PHY register access (8.2.4).
fn phy(bar: &Bar, op: u32, reg: u32, value: u32) -> Result<u32, MmioError> {
    bar.write(MDIC, value & 0xffff | reg << mdic::REG_SHIFT | mdic::PHY | op);
    let done = bar.wait(MDIC, 10 * MS, |v| v & (mdic::READY | mdic::ERROR) != 0)?;
    Ok(done & 0xffff)
}

/// The PHY is shared with the management firmware (4.7.1): a bit of SW_FW_SYNC, which SWSM protects.
struct PhyLock<'a> {
    bar: &'a Bar,
    bit: u32,
}

const SWSM_SWESMBI: u32 = 1 << 1;

impl<'a> PhyLock<'a> {
    fn take(bar: &'a Bar, function: u8) -> Result<Self, MmioError> {
        // Bits 1 and 2: PHY of function 0 and 1; the firmware's twins are 16 higher.
        let bit = 2 << (function & 1);
        bar.wait(SW_FW_SYNC, 1000 * MS, |v| v & bit << 16 == 0)?;
        Self::change(bar, |v| v | bit)?;
        Ok(Self { bar, bit })
    }

    fn change(bar: &Bar, change: impl FnOnce(u32) -> u32) -> Result<(), MmioError> {
        bar.modify(SWSM, |v| v | SWSM_SWESMBI);
        bar.wait(SWSM, 100 * MS, |v| v & SWSM_SWESMBI != 0)?;
        bar.modify(SW_FW_SYNC, change);
        bar.modify(SWSM, |v| v & !SWSM_SWESMBI);
        Ok(())
    }
}

impl Drop for PhyLock<'_> {
    fn drop(&mut self) {
        let bit = self.bit;
        // If the semaphore is stuck, the firmware takes the bit back after its own time-out.
        let _ = Self::change(self.bar, |v| v & !bit);
    }
}
