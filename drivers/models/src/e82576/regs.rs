//! Registers of BAR 0 (data sheet 8.1.3). For the section numbers see the module's documentation.

use barline_sim::Rule;

/// Length of BAR 0 (9.4.11).
pub const BAR0_LEN: u32 = 128 << 10;
/// Length of BAR 3, the MSI-X BAR (9.4.11).
pub const BAR3_LEN: u32 = 16 << 10;
/// MSI-X vectors of the function (9.5.3; the number comes from the EEPROM).
pub const VECTORS: u16 = 10;
/// Receive and transmit queues (1.2).
pub const QUEUES: usize = 16;

/// Device control (8.2.1).
pub const CTRL: u32 = 0x0000;
/// The same register again (8.2.1).
pub const CTRL_ALIAS: u32 = 0x0004;
/// Device status (8.2.2).
pub const STATUS: u32 = 0x0008;
/// EEPROM control (8.4.1).
pub const EEC: u32 = 0x0010;
/// EEPROM read (8.4.2).
pub const EERD: u32 = 0x0014;
/// MDI control (8.2.4).
pub const MDIC: u32 = 0x0020;
/// VLAN ether type (8.2.7).
pub const VET: u32 = 0x0038;
/// Interrupt cause, and the set, mask and clear registers beside it (8.8.8 to 8.8.11), each also at 0x1500.
pub const ICR: u32 = 0x1500;
/// Interrupt cause set.
pub const ICS: u32 = 0x1504;
/// Interrupt mask set.
pub const IMS: u32 = 0x1508;
/// Interrupt mask clear.
pub const IMC: u32 = 0x150C;
/// Interrupt acknowledge auto-mask (8.8.12).
pub const IAM: u32 = 0x1510;
/// General-purpose interrupt enable (8.8.17).
pub const GPIE: u32 = 0x1514;
/// Extended causes (8.8.1 to 8.8.7).
pub const EICR: u32 = 0x1580;
/// Extended cause set.
pub const EICS: u32 = 0x1520;
/// Extended mask set.
pub const EIMS: u32 = 0x1524;
/// Extended mask clear.
pub const EIMC: u32 = 0x1528;
/// Extended auto clear.
pub const EIAC: u32 = 0x152C;
/// Extended auto mask.
pub const EIAM: u32 = 0x1530;
/// Throttles, one a vector (8.8.14).
pub const EITR: u32 = 0x1680;
/// Vector allocation of queues (8.8.15).
pub const IVAR: u32 = 0x1700;
/// Vector allocation of other causes (8.8.16).
pub const IVAR_MISC: u32 = 0x1740;
/// Receive control (8.10.1).
pub const RCTL: u32 = 0x0100;
/// Receive packet buffer in KiB (8.3.1).
pub const RXPBS: u32 = 0x2404;
/// Transmit packet buffer in KiB (8.3.2).
pub const TXPBS: u32 = 0x3404;
/// Switch packet buffer in KiB (8.3.3).
pub const SWPBS: u32 = 0x3004;
/// Transmit control (8.12.1).
pub const TCTL: u32 = 0x0400;
/// Receive checksum control (8.10.12).
pub const RXCSUM: u32 = 0x5000;
/// Longest packet with RCTL.LPE (8.10.13).
pub const RLPML: u32 = 0x5004;
/// Multicast table (8.10.15).
pub const MTA: u32 = 0x5200;
/// Receive addresses 0 to 15 (8.10.16, 8.10.17).
pub const RAL: u32 = 0x5400;
/// Receive addresses 16 to 23.
pub const RAL_HIGH: u32 = 0x54E0;
/// VLAN filter table (8.10.19).
pub const VFTA: u32 = 0x5600;
/// Multiple receive queues command (8.10.20).
pub const MRQC: u32 = 0x5818;
/// RSS redirection table (8.10.21).
pub const RETA: u32 = 0x5C00;
/// RSS key (8.10.22).
pub const RSSRK: u32 = 0x5C80;
/// Software semaphore (8.7.1).
pub const SWSM: u32 = 0x5B50;
/// Software-firmware synchronisation (8.7.3).
pub const SW_FW_SYNC: u32 = 0x5B5C;
/// Receive queue 0; the next is 0x40 on (8.10.2 to 8.10.11).
pub const RX_QUEUES: u32 = 0xC000;
/// Transmit queue 0, likewise (8.12.9 to 8.12.16).
pub const TX_QUEUES: u32 = 0xE000;
/// Bytes from queue to queue.
pub const QUEUE_STRIDE: u32 = 0x40;

/// CTRL bits (8.2.1).
pub mod ctrl {
    /// No new DMA.
    pub const GIO_MASTER_DISABLE: u32 = 1 << 2;
    /// Set link up.
    pub const SLU: u32 = 1 << 6;
    /// Software reset.
    pub const RST: u32 = 1 << 26;
    /// VLAN tags are stripped.
    pub const VME: u32 = 1 << 30;
    /// PHY reset, held as long as the bit is set.
    pub const PHY_RST: u32 = 1 << 31;
}

/// RCTL bits (8.10.1).
pub mod rctl {
    /// Receiver on.
    pub const RXEN: u32 = 1 << 1;
    /// Unicast promiscuous.
    pub const UPE: u32 = 1 << 3;
    /// Multicast promiscuous.
    pub const MPE: u32 = 1 << 4;
    /// Long packets.
    pub const LPE: u32 = 1 << 5;
    /// Multicast offset: which bits of the address are hashed.
    pub const MO_SHIFT: u32 = 12;
    /// Accept broadcast.
    pub const BAM: u32 = 1 << 15;
    /// Buffer size where SRRCTL has none.
    pub const BSIZE_SHIFT: u32 = 16;
    /// VLAN filter.
    pub const VFE: u32 = 1 << 18;
    /// Pad small packets.
    pub const PSP: u32 = 1 << 21;
    /// Strip the CRC.
    pub const SECRC: u32 = 1 << 26;
}

/// TCTL bits (8.12.1).
pub mod tctl {
    /// Transmitter on.
    pub const EN: u32 = 1 << 1;
    /// Pad short packets.
    pub const PSP: u32 = 1 << 3;
}

/// ICR bits (8.8.8).
pub mod icr {
    /// Transmit descriptor written back.
    pub const TXDW: u32 = 1 << 0;
    /// Link status change.
    pub const LSC: u32 = 1 << 2;
    /// Receiver overrun.
    pub const RXO: u32 = 1 << 6;
    /// Receive descriptor written back.
    pub const RXDW: u32 = 1 << 7;
    /// Interrupt asserted.
    pub const INTA: u32 = 1 << 31;
}

/// Statistics (8.18); 32-bit unless a register `H` follows a register `L`.
pub mod stat {
    /// Packets with a wrong FCS.
    pub const CRCERRS: u32 = 0x4000;
    /// Missed: the packet buffer was full.
    pub const MPC: u32 = 0x4010;
    /// Received packets by size, first of six: 64, to 127, to 255, to 511, to 1023, above.
    pub const PRC64: u32 = 0x405C;
    /// Good packets received.
    pub const GPRC: u32 = 0x4074;
    /// Broadcast packets received.
    pub const BPRC: u32 = 0x4078;
    /// Multicast packets received.
    pub const MPRC: u32 = 0x407C;
    /// Good packets transmitted.
    pub const GPTC: u32 = 0x4080;
    /// Good octets received.
    pub const GORC: u32 = 0x4088;
    /// Good octets transmitted.
    pub const GOTC: u32 = 0x4090;
    /// Received when there was no descriptor.
    pub const RNBC: u32 = 0x40A0;
    /// Too short.
    pub const RUC: u32 = 0x40A4;
    /// Too long.
    pub const ROC: u32 = 0x40AC;
    /// All octets received.
    pub const TOR: u32 = 0x40C0;
    /// All octets transmitted.
    pub const TOT: u32 = 0x40C8;
    /// All packets received.
    pub const TPR: u32 = 0x40D0;
    /// All packets transmitted.
    pub const TPT: u32 = 0x40D4;
    /// Transmitted packets by size, first of six.
    pub const PTC64: u32 = 0x40D8;
    /// Multicast packets transmitted.
    pub const MPTC: u32 = 0x40F0;
    /// Broadcast packets transmitted.
    pub const BPTC: u32 = 0x40F4;
    /// Packets that went to host memory.
    pub const RPTHC: u32 = 0x4104;
}

/// The registers that have no behaviour beyond storing, or that the model's code stores here. What is not in this
/// table does not exist.
pub const RULES: &[Rule] = &[
    // General (8.2). CTRL: full duplex, 1000 Mb/s, ADVD3WUC.
    Rule::rw(CTRL).reset(0x0010_0201),
    Rule::ro(STATUS),
    Rule::rw(EEC).mask(0x0000_007f).reset(0x0000_0000),
    Rule::rw(EERD),
    Rule::rw(0x0018).reset(0x0010_0000),
    Rule::rw(MDIC),
    Rule::rw(0x0024),
    // Flow control (8.2.5 and 8.5): FCAL, FCAH, FCT, FCTTV, FCRTL, FCRTH, FCRTV.
    Rule::rw(0x0028).reset(0x00C2_8001),
    Rule::rw(0x002C).reset(0x0000_0100),
    Rule::rw(0x0030).reset(0x0000_8808),
    Rule::rw(0x0034),
    Rule::rw(VET).reset(0x8100_8100),
    Rule::rw(0x0170),
    Rule::rw(0x2160),
    Rule::rw(0x2168),
    Rule::rw(0x2460),
    // LED control (8.2.9).
    Rule::rw(0x0E00).reset(0x0706_8302),
    // EEPROM auto-read bus control and management (8.4.6, 8.4.4): configuration done.
    Rule::rw(0x1010).reset(0x8004_0000),
    Rule::rw(0x1024),
    Rule::rw(0x1048),
    // Interrupts (8.8).
    Rule::ro(ICR),
    Rule::wo(ICS),
    Rule::rw(IMS),
    Rule::wo(IMC),
    Rule::rw(IAM),
    Rule::rw(GPIE).mask(0xC000_0F91),
    Rule::ro(EICR),
    Rule::wo(EICS),
    Rule::rw(EIMS),
    Rule::wo(EIMC),
    Rule::rw(EIAC).mask(0x01ff_ffff),
    Rule::rw(EIAM).mask(0xc1ff_ffff),
    Rule::rw(EITR).array(25).mask(0x7fff_fffc),
    Rule::rw(IVAR).array(8).mask(0x9f9f_9f9f),
    Rule::rw(IVAR_MISC).mask(0x0000_9f9f),
    Rule::rw(0x5B68),
    // Receive (8.10).
    Rule::rw(RCTL).mask(0x04ff_f7fe),
    Rule::rw(0x2170),
    Rule::rw(RXPBS).mask(0x7f).reset(0x40),
    Rule::rw(SWPBS).mask(0x7f).reset(0x14),
    Rule::rw(RXCSUM).mask(0x0000_3bff).reset(0x0000_0300),
    Rule::rw(RLPML).mask(0x3fff).reset(0x2600),
    Rule::rw(0x5008),
    Rule::rw(MTA).array(128),
    Rule::rw(RAL).array(32),
    Rule::rw(RAL_HIGH).array(16),
    Rule::rw(0x5480).array(8),
    Rule::rw(VFTA).array(128),
    Rule::rw(MRQC).mask(0xffff_003f),
    Rule::rw(0x581C),
    Rule::rw(RETA).array(32),
    Rule::rw(RSSRK).array(10),
    // Queue filters (8.11): SAQF, DAQF, SPQF, FTQF, IMIR, IMIREXT, IMIRVP, SYNQF, ETQF.
    Rule::rw(0x5980).array(32),
    Rule::rw(0x5A80).array(17),
    Rule::rw(0x55FC),
    Rule::rw(0x5CB0).array(8),
    // Transmit (8.12): TCTL, TCTL_EXT, TIPG, DTXCTL, DTXSWC, DTXTCPFLGL, DTXTCPFLGH, DTXMXSZRQ, TXPBS.
    Rule::rw(TCTL).reset(0xA400_00F8 | (0x40 << 12)),
    Rule::rw(0x0404).reset(0x0001_0840),
    Rule::rw(0x0410).reset(0x0060_1008),
    Rule::rw(TXPBS).mask(0x7f).reset(0x28),
    Rule::rw(0x3500),
    Rule::rw(0x3540).reset(0x10),
    Rule::rw(0x3590).reset(0x0000_0044),
    Rule::rw(0x359C).reset(0x0FFF_0FF6),
    Rule::rw(0x35A0).reset(0x0000_0F7F),
    // DCA (8.13).
    Rule::rw(0x5B70),
    Rule::rw(0x5B74),
    // PCI Express and semaphores (8.6, 8.7): GCR, FACTPS, SWSM, FWSM, SW_FW_SYNC, GIO.
    Rule::rw(0x5B00).reset(0x0040_0000),
    Rule::ro(0x5B30).reset(0x0000_0041),
    Rule::rw(SWSM).mask(0x3),
    Rule::rw(0x5B54),
    Rule::rw(SW_FW_SYNC),
    // I2C, watchdog, timers (8.2, 8.14), PCI Express tuning and counters (8.6): storage only.
    Rule::rw(0x1028),
    Rule::rw(0x102C),
    Rule::rw(0x1040).array(2),
    Rule::rw(0x104C),
    Rule::rw(0x5B08),
    Rule::rw(0x5B10).array(8),
    Rule::rw(0x5B34).array(7),
    Rule::rw(0x5B64),
    Rule::rw(0x5B6C),
    Rule::rw(0x5B78),
    // Virtualisation (8.14), storage only: mailboxes are left out. MBVFICR to VFTE, QDE, VMVIR, VMOLR, RPLOLR,
    // IOVTCL, TXSWC, VLVF, UTA.
    Rule::rw(0x0C80).array(5),
    Rule::rw(0x2408),
    Rule::rw(0x3700).array(8),
    Rule::rw(0x5ACC),
    Rule::rw(0x5AD0).array(8).reset(0x8000_2600),
    Rule::rw(0x5AF0).reset(0x8000_0000),
    Rule::rw(0x5BBC),
    Rule::rw(0x5D00).array(32),
    Rule::rw(0xA000).array(128),
    // Time sync (8.16), storage only.
    Rule::rw(0xB600).array(16),
    // PCS (8.17), storage only.
    Rule::rw(0x4200).array(12),
    // Wake up and management (8.20, 8.21): WUC, WUFC, WUS, IPAV, MANC, MANC2H.
    Rule::rw(0x5800),
    Rule::rw(0x5808),
    Rule::rw(0x5810),
    Rule::rw(0x5838),
    Rule::rw(0x5820),
    Rule::rw(0x5860),
    // Statistics (8.18) in the order of the chapter; holes in the range do not exist.
    Rule::rc(0x4000).array(9),
    Rule::rc(0x4028).array(5),
    Rule::rc(0x4040),
    Rule::rc(0x4048).array(15),
    Rule::rc(0x4088).array(4),
    Rule::rc(0x40A0).array(23),
    Rule::rc(0x4100).array(3),
    Rule::rc(0x4118).array(4),
    Rule::rc(0x4128).array(5),
    Rule::rc(0x4228),
];
