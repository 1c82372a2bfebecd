//! The Intel 82576, physical function 0, without virtualisation.
//!
//! Section numbers are those of the Intel 82576EB data sheet, given from memory: the text was not at hand when this
//! was written. Offsets and reset values were compared with public register lists of the family, the rules for tails,
//! EICR, RNBC, MPC and frame lengths with the manuals of the 82575EB, 82598EB and I210. Check before relying on a number.
//!
//! Done: reset, EEPROM and PHY, filters, 16 queues each way with advanced descriptors, RSS, MSI-X, statistics. Not
//! done: legacy and header-split descriptors, segmentation, VMDq and SR-IOV, flow director and other queue filters,
//! flow control, receive checksums, wake-up, time stamps, interrupt moderation, INTx and MSI.

mod access;
mod crc;
mod filter;
mod headers;
mod irq;
mod nvm;
mod offload;
mod pci;
mod queue;
mod regs;
mod rss;
mod rx;
mod stats;
mod tx;

pub use queue::Misuse;

use access::{canonical, is_queue};
use barline::mem::LocalDomain;
use barline_sim::{Clock, ConfigSpace, Effect, Fault, Host, Mode, Model, Peer, RegFile, SimDevice, Touch};
use queue::Ring;
use regs::{CTRL, EEC, QUEUES, STATUS, SWSM, ctrl, icr};
use std::sync::Arc;

/// What an 82576 is built with.
#[derive(Debug)]
pub struct Options {
    /// MAC address in its EEPROM.
    pub mac: [u8; 6],
    /// The other end of its cable.
    pub peer: Box<dyn Peer>,
    /// The address space its DMA lands in.
    pub domain: Arc<LocalDomain>,
    /// Whose time it runs on.
    pub mode: Mode,
}

/// A ring in host memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingPlace {
    /// Address of descriptor 0.
    pub base: u64,
    /// Descriptors.
    pub size: u32,
    /// The first descriptor that is not the device's.
    pub tail: u32,
}

/// STATUS bits (8.2.2): full duplex, link up, 1000 Mb/s (twice), PHY reset seen, bus mastering possible.
mod status {
    pub const FD: u32 = 1 << 0;
    pub const LU: u32 = 1 << 1;
    pub const SPEED_1000: u32 = 2 << 6 | 2 << 8;
    pub const PHYRA: u32 = 1 << 10;
    pub const GIO_MASTER: u32 = 1 << 19;
}

/// A driver that runs wild must not fill the memory.
const MOST_MISUSES: usize = 256;

/// The model's state; [`E82576::new`] puts it behind the bus.
#[derive(Debug)]
pub struct E82576 {
    config: ConfigSpace,
    regs: RegFile,
    msix: Vec<u32>,
    nvm: nvm::Nvm,
    rx_rings: Vec<Ring>,
    tx_rings: Vec<Ring>,
    rx: rx::Receiver,
    gather: Vec<tx::Gather>,
    /// Transmit queues with descriptors that were not looked at yet.
    tx_posted: u32,
    rss: rss::Rss,
    irq: irq::Irq,
    link_was_up: bool,
    malformed: u64,
    misuses: Vec<(usize, Misuse)>,
}

impl E82576 {
    /// An 82576, powered up, with its cable plugged in.
    pub fn new(options: Options) -> Arc<SimDevice<Self>> {
        Self::faulty(options, Clock::real(), Vec::new())
    }

    /// Likewise, by `clock` and with planned faults.
    pub fn faulty(options: Options, clock: Arc<Clock>, faults: Vec<Fault>) -> Arc<SimDevice<Self>> {
        let Options {
            mac,
            peer,
            domain,
            mode,
        } = options;
        let mut model = Self {
            config: pci::config_space(mac),
            regs: RegFile::new(regs::BAR0_LEN as usize, regs::RULES),
            msix: vec![0; regs::BAR3_LEN as usize / 4],
            nvm: nvm::Nvm::new(mac),
            rx_rings: Vec::new(),
            tx_rings: Vec::new(),
            rx: rx::Receiver::default(),
            gather: Vec::new(),
            tx_posted: 0,
            rss: rss::Rss::new(),
            irq: irq::Irq::default(),
            link_was_up: false,
            malformed: 0,
            misuses: Vec::new(),
        };
        model.restart();
        SimDevice::faulty(model, domain, peer, mode, clock, faults)
    }

    /// What the driver did that the data sheet forbids, with the queue it did it to.
    pub fn misuses(&self) -> &[(usize, Misuse)] {
        &self.misuses
    }

    /// Accesses to offsets where the 82576 (as far as it is modelled) has no register.
    pub fn unknown_registers(&self) -> &[Touch] {
        self.regs.unknown()
    }

    /// Transmit descriptors that stopped their queue.
    pub fn malformed_descriptors(&self) -> u64 {
        self.malformed
    }

    /// Where a receive queue's ring is and how far it is filled, as the device sees it.
    pub fn receive_ring(&self, queue: usize) -> Option<RingPlace> {
        let ring = self.rx_rings.get(queue).filter(|ring| ring.size() > 0)?;
        Some(RingPlace {
            base: ring.base,
            size: ring.size(),
            tail: ring.tail,
        })
    }

    /// A register's value without the side effects of reading it.
    pub fn peek(&self, offset: u32) -> u32 {
        match offset {
            STATUS => self.status(),
            _ => self.regs.get(canonical(offset)),
        }
    }

    fn misuse(&mut self, queue: usize, what: Misuse) {
        if self.misuses.len() < MOST_MISUSES {
            self.misuses.push((queue, what));
        }
    }

    /// Software reset (4.2.1.6): everything but the packet buffer split, the throttles and the filter tables, which
    /// software has to write itself (8.10.15).
    fn restart(&mut self) {
        self.regs.reset(|at| {
            matches!(at, regs::RXPBS | regs::TXPBS | regs::SWPBS | regs::SW_FW_SYNC)
                || (regs::EITR..regs::EITR + 100).contains(&at)
                || (regs::MTA..regs::MTA + 512).contains(&at)
                || (regs::VFTA..regs::VFTA + 512).contains(&at)
        });
        let (low, high) = self.nvm.receive_address();
        self.regs.set(regs::RAL, low);
        self.regs.set(regs::RAL + 4, high | 1 << 31);
        self.rx_rings = (0..QUEUES).map(|queue| Ring::new(queue, true)).collect();
        self.tx_rings = (0..QUEUES).map(|queue| Ring::new(queue, false)).collect();
        self.gather = (0..QUEUES).map(|_| tx::Gather::default()).collect();
        self.rx.clear();
        self.rss.forget();
        self.nvm.reset_phy();
        (self.tx_posted, self.irq, self.link_was_up) = (0, irq::Irq::default(), false);
        self.regs.set(STATUS, status::PHYRA);
    }

    /// STATUS.LU: the PHY has link, CTRL.SLU lets the MAC see it, and the PHY is not held in reset.
    fn link_up(&self) -> bool {
        let control = self.regs.get(CTRL);
        self.nvm.link() && control & (ctrl::SLU | ctrl::PHY_RST) == ctrl::SLU
    }

    fn status(&self) -> u32 {
        let link = if self.link_up() {
            status::LU | status::SPEED_1000
        } else {
            0
        };
        let master = if self.regs.get(CTRL) & ctrl::GIO_MASTER_DISABLE == 0 {
            status::GIO_MASTER
        } else {
            0
        };
        status::FD | link | master | self.regs.get(STATUS)
    }

    /// Reports a change of the link.
    fn watch_link(&mut self, host: &mut Host) {
        let up = self.link_up();
        if up != self.link_was_up {
            self.link_was_up = up;
            self.irq.other(&mut self.regs, host, icr::LSC);
        }
    }
}

impl Model for E82576 {
    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn bar_len(&self, index: u8) -> usize {
        match index {
            0 => regs::BAR0_LEN as usize,
            3 => regs::BAR3_LEN as usize,
            _ => 0,
        }
    }

    fn msix_vectors(&self) -> u16 {
        regs::VECTORS
    }

    fn read(&mut self, _host: &mut Host, bar: u8, offset: usize) -> u32 {
        if bar != 0 {
            return self.msix.get(offset / 4).copied().unwrap_or(0);
        }
        let offset = canonical(offset as u32);
        if is_queue(offset) {
            return self.read_queue(offset);
        }
        let regs = &mut self.regs;
        if let Some(value) = self.irq.read(regs, offset).or_else(|| stats::read(regs, offset)) {
            return value;
        }
        match offset {
            STATUS => self.status(),
            EEC => nvm::Nvm::eec(regs),
            SWSM => nvm::read_swsm(regs),
            _ => regs.read(offset),
        }
    }

    fn write(&mut self, host: &mut Host, bar: u8, offset: usize, value: u32) -> Effect {
        if bar != 0 {
            if let Some(word) = self.msix.get_mut(offset / 4) {
                *word = value;
            }
            return Effect::None;
        }
        let offset = canonical(offset as u32);
        if is_queue(offset) {
            return self.write_queue(offset, value);
        }
        self.write_register(host, offset, value)
    }

    fn run(&mut self, host: &mut Host, budget: u32) -> u32 {
        if self.regs.get(CTRL) & ctrl::GIO_MASTER_DISABLE != 0 {
            return 0;
        }
        let moved = self.transmit(host, budget).max(self.receive(host, budget));
        self.irq.report(&mut self.regs, host);
        moved
    }

    fn reset(&mut self) {
        self.restart();
    }

    fn set_link(&mut self, host: &mut Host, up: bool) {
        self.nvm.set_link(up);
        self.watch_link(host);
    }
}
