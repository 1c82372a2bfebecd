//! Registers of the 82576, as far as they are used. Sections are those of the Intel 82576EB data sheet, chapter 8.

use barline::registers;

registers! {
    /// Device control (8.2.1).
    CTRL: RW = 0x0000;
    /// Device status (8.2.2).
    STATUS: RO = 0x0008;
    /// EEPROM control: auto-read done (8.4.1).
    EECD: RO = 0x0010;
    /// Extended device control (8.2.3).
    CTRL_EXT: RW = 0x0018;
    /// PHY access (8.2.4).
    MDIC: RW = 0x0020;
    /// Receive control (8.10.1).
    RCTL: RW = 0x0100;
    /// Transmit control (8.12.1).
    TCTL: RW = 0x0400;
    /// Interrupt cause, read clears (8.8.9).
    ICR: RC = 0x1500;
    /// Interrupt mask clear (8.8.12).
    IMC: WO = 0x150C;
    /// General purpose interrupt enable (8.8.13).
    GPIE: RW = 0x1514;
    /// Extended interrupt mask set (8.8.3).
    EIMS: WO = 0x1524;
    /// Extended interrupt mask clear (8.8.4).
    EIMC: WO = 0x1528;
    /// Extended causes that a message clears (8.8.5).
    EIAC: RW = 0x152C;
    /// Extended causes that a message masks (8.8.6).
    EIAM: RW = 0x1530;
    /// Extended interrupt cause: writing ones clears (8.8.1).
    EICR: WO = 0x1580;
    /// Throttle of a vector (8.8.14).
    EITR: [RW; 25] = 0x1680, 4;
    /// Vectors of the queues (8.8.15).
    IVAR: [RW; 8] = 0x1700, 4;
    /// Receive checksum control (8.10.20).
    RXCSUM: RW = 0x5000;
    /// Longest frame received when RCTL.LPE is set (8.10.5).
    RLPML: RW = 0x5004;
    /// Multicast hash table (8.10.15).
    MTA: [RW; 128] = 0x5200, 4;
    /// Receive address, low four bytes (8.10.16).
    RAL: [RW; 16] = 0x5400, 8;
    /// Receive address, high two bytes, and valid bit (8.10.17).
    RAH: [RW; 16] = 0x5404, 8;
    /// VLAN filter table: a bit for each identifier (8.10.19).
    VFTA: [RW; 128] = 0x5600, 4;
    /// Multiple receive queues (8.10.21).
    MRQC: RW = 0x5818;
    /// Software semaphore (8.20.1).
    SWSM: RW = 0x5B50;
    /// Software and firmware synchronisation (8.20.3).
    SW_FW_SYNC: RW = 0x5B5C;
    /// RSS redirection table, four entries a register (8.10.23).
    RETA: [RW; 32] = 0x5C00, 4;
    /// RSS key (8.10.22).
    RSSRK: [RW; 10] = 0x5C80, 4;

    /// Receive descriptor base, low (8.10.6).
    RDBAL: [RW; 16] = 0xC000, 0x40;
    /// Receive descriptor base, high (8.10.7).
    RDBAH: [RW; 16] = 0xC004, 0x40;
    /// Receive descriptor ring length in bytes (8.10.8).
    RDLEN: [RW; 16] = 0xC008, 0x40;
    /// Split and replication: buffer size and descriptor type (8.10.2).
    SRRCTL: [RW; 16] = 0xC00C, 0x40;
    /// Receive descriptor head (8.10.9).
    RDH: [RW; 16] = 0xC010, 0x40;
    /// Receive descriptor tail (8.10.10).
    RDT: [RW; 16] = 0xC018, 0x40;
    /// Receive descriptor control (8.10.11).
    RXDCTL: [RW; 16] = 0xC028, 0x40;
    /// Frames dropped by a queue for want of descriptors; read clears (8.10.12).
    RQDPC: [RC; 16] = 0xC030, 0x40;

    /// Transmit descriptor base, low (8.12.5).
    TDBAL: [RW; 16] = 0xE000, 0x40;
    /// Transmit descriptor base, high (8.12.6).
    TDBAH: [RW; 16] = 0xE004, 0x40;
    /// Transmit descriptor ring length in bytes (8.12.7).
    TDLEN: [RW; 16] = 0xE008, 0x40;
    /// Transmit descriptor head (8.12.8).
    TDH: [RW; 16] = 0xE010, 0x40;
    /// Transmit descriptor tail (8.12.9).
    TDT: [RW; 16] = 0xE018, 0x40;
    /// Transmit descriptor control (8.12.10).
    TXDCTL: [RW; 16] = 0xE028, 0x40;
}

/// Bits of CTRL.
pub mod ctrl {
    /// Full duplex.
    pub const FD: u32 = 1 << 0;
    /// No new requests to memory.
    pub const GIO_MASTER_DISABLE: u32 = 1 << 2;
    /// Set link up.
    pub const SLU: u32 = 1 << 6;
    /// Reset everything but the PHY; clears itself.
    pub const RST: u32 = 1 << 26;
}

/// Bits of STATUS.
pub mod status {
    /// Full duplex.
    pub const FD: u32 = 1 << 0;
    /// Link up.
    pub const LU: u32 = 1 << 1;
    /// The partner asked for a pause, and the device does not send.
    pub const TXOFF: u32 = 1 << 4;
    /// Position of the two speed bits: 10, 100, 1000, 1000 Mbit/s.
    pub const SPEED_SHIFT: u32 = 6;
    /// Requests to memory are possible.
    pub const GIO_MASTER_EN: u32 = 1 << 19;
}

/// Bits of GPIE.
pub mod gpie {
    /// Every read of ICR clears it.
    pub const NSICR: u32 = 1 << 0;
    /// Several MSI-X vectors.
    pub const MULTIPLE_MSIX: u32 = 1 << 4;
    /// A message masks what EIAM names.
    pub const EIAME: u32 = 1 << 30;
}

/// IVAR: the entry is valid.
pub const IVAR_VALID: u32 = 1 << 7;

/// EECD: the EEPROM has been read after a reset.
pub const EECD_AUTO_RD: u32 = 1 << 9;
/// CTRL_EXT: a driver is loaded (tells the management firmware).
pub const CTRL_EXT_DRV_LOAD: u32 = 1 << 28;

/// Fields of MDIC.
pub mod mdic {
    /// Position of the register number.
    pub const REG_SHIFT: u32 = 16;
    /// The internal PHY's address (1), in place.
    pub const PHY: u32 = 1 << 21;
    /// Write.
    pub const OP_WRITE: u32 = 1 << 26;
    /// Read.
    pub const OP_READ: u32 = 2 << 26;
    /// Done.
    pub const READY: u32 = 1 << 28;
    /// Failed.
    pub const ERROR: u32 = 1 << 30;
}

/// PHY control register (IEEE 802.3, 22.2.4.1) and its bits.
pub mod bmcr {
    /// Number of the register.
    pub const REG: u32 = 0;
    /// Restart auto-negotiation.
    pub const RESTART: u32 = 1 << 9;
    /// Power down.
    pub const POWER_DOWN: u32 = 1 << 11;
    /// Auto-negotiation on.
    pub const AUTONEG: u32 = 1 << 12;
}

/// Bits of RCTL.
pub mod rctl {
    /// Receiver on.
    pub const RXEN: u32 = 1 << 1;
    /// Unicast promiscuous.
    pub const UPE: u32 = 1 << 3;
    /// Multicast promiscuous.
    pub const MPE: u32 = 1 << 4;
    /// Long packets, up to RLPML.
    pub const LPE: u32 = 1 << 5;
    /// Accept broadcast.
    pub const BAM: u32 = 1 << 15;
    /// Filter tagged frames by VFTA.
    pub const VFE: u32 = 1 << 18;
    /// Strip the FCS.
    pub const SECRC: u32 = 1 << 26;
}

/// Bits of TCTL.
pub mod tctl {
    /// Transmitter on.
    pub const EN: u32 = 1 << 1;
    /// Pad short packets.
    pub const PSP: u32 = 1 << 3;
    /// Collision threshold, the data sheet's 15, in place.
    pub const CT: u32 = 0xf << 4;
}

/// Fields of SRRCTL.
pub mod srrctl {
    /// Advanced descriptors, one buffer.
    pub const DESCTYPE_ADV_ONE: u32 = 1 << 25;
    /// Drop instead of blocking the other queues when there are no descriptors.
    pub const DROP_EN: u32 = 1 << 31;
    /// Most KiB in BSIZEPACKET.
    pub const MOST_KIB: u32 = 0x7f;
}

/// RXDCTL and TXDCTL: the queue is on.
pub const DCTL_ENABLE: u32 = 1 << 25;
/// RXDCTL and TXDCTL: prefetch 8, host 8 and 1, write-back 1. 82576 specification update: a write-back threshold
/// above 1 together with MSI-X can keep the last descriptors back.
pub const RXDCTL_THRESHOLDS: u32 = 8 | 8 << 8 | 1 << 16;
/// See [`RXDCTL_THRESHOLDS`].
pub const TXDCTL_THRESHOLDS: u32 = 8 | 1 << 8 | 1 << 16;

/// RAH: the address is valid.
pub const RAH_AV: u32 = 1 << 31;
/// RXCSUM: the descriptor carries the RSS hash, not the packet checksum.
pub const RXCSUM_PCSD: u32 = 1 << 13;
/// MRQC: RSS on, over TCP and UDP on IPv4 and IPv6 and over plain addresses.
pub const MRQC_RSS: u32 = 2 | 1 << 16 | 1 << 17 | 1 << 20 | 1 << 21 | 1 << 22 | 1 << 23;
