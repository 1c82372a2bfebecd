//! Driver for the Intel 82576 gigabit controller (physical function), with advanced descriptors.
//!
//! Data sheet: Intel 82576EB Gigabit Ethernet Controller. See the crate's README for what is supported.
#![forbid(unsafe_code)]

mod counters;
mod desc;
mod describe;
mod init;
mod irq;
mod life;
mod port;
mod regs;
mod start;

pub use desc::{Rx, Tx};
pub use start::{IgbQueues, ring_bytes};

use barline::bus::{Claimed, PciFunction};
use barline::mmio::Bar;
use barline::pool::Custody;
use barline::port::{BusEvents, MacAddress, PortCaps, PortError};
use counters::Counters;
use std::sync::{Arc, Weak};

/// Vendor and device ids of the 82576: copper, fiber, serdes, quad copper (data sheet 9.4.1; pci.ids).
pub const IDS: &[(u16, u16)] = &[
    (0x8086, 0x10c9),
    (0x8086, 0x10e6),
    (0x8086, 0x10e7),
    (0x8086, 0x10e8),
    (0x8086, 0x1518),
    (0x8086, 0x1526),
];

/// Registers take 128 KiB of BAR 0 (8.1.1).
const BAR_LEN: usize = 128 << 10;

/// A port on an 82576.
#[derive(Debug)]
pub struct Igb {
    bar: Bar,
    caps: PortCaps,
    mac: MacAddress,
    counters: Counters,
    filter: port::Filter,
    running: Option<start::Running>,
    /// Alive as long as queues of the last start are.
    last: Weak<Custody>,
    events: BusEvents,
    // Last: the device is quiet when the next driver may have it.
    function: Claimed,
}

impl Igb {
    /// Takes a function over: checks what it is, resets it and reads its address. It does no DMA yet.
    ///
    /// # Errors
    /// [`PortError::WrongDevice`], a function that another port drives, or a device that does not come out of reset.
    pub fn open(function: Arc<dyn PciFunction>) -> Result<Self, PortError> {
        let function = Claimed::take(function)?;
        let found = function.id();
        if !IDS.contains(&(found.vendor, found.device)) {
            let known = IDS
                .iter()
                .map(|(v, d)| format!("{v:04x}:{d:04x}"))
                .collect::<Vec<_>>()
                .join(", ");
            return Err(PortError::WrongDevice {
                driver: "igb",
                found,
                known,
            });
        }
        let bar = function.bar(0)?;
        if bar.len() < BAR_LEN {
            return Err(PortError::Config(format!(
                "BAR 0 has {} bytes, an 82576 has {BAR_LEN}",
                bar.len()
            )));
        }
        function.set_bus_master(false)?;
        init::reset(&bar)?;
        let mac = init::mac(&bar);
        if !mac.is_station() {
            return Err(PortError::Config(format!(
                "the EEPROM of {} holds no station address ({mac})",
                function.address()
            )));
        }
        // 7.1.1.7 RSS spreads over 16 queues; RDLEN's 20 bits of 128 bytes allow 32,768 descriptors, of which
        // 4,096 are as many as a sane pool feeds. Jumbo frames: 9.5 KB (1.4).
        let caps = PortCaps {
            rx_queues: 16,
            tx_queues: 16,
            ring: (64, 4096),
            mtu: 9500,
            speed: 1000,
            offloads: barline::offload::Offloads::empty(),
            vlans: true,
        };
        Ok(Self {
            bar,
            caps,
            mac,
            counters: Counters::default(),
            filter: port::Filter::default(),
            running: None,
            last: Weak::new(),
            events: function.events().into(),
            function,
        })
    }
}
