//! Driver for virtio network devices of version 1.x on PCI, with split and packed rings.
//!
//! Specification: Virtual I/O Device (VIRTIO) Version 1.2, OASIS. See the crate's README for what is supported.
//! [`Split`] and [`Packed`] know nothing of PCI: a vhost-user front end uses the same.
#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]

mod caps;
mod config;
mod control;
mod describe;
mod init;
mod irq;
mod life;
mod offload;
mod options;
mod packed;
mod port;
#[cfg(test)]
mod reads;
mod regs;
mod rings;
mod shared;
mod split;
mod start;
mod statistics;

pub use options::Options;
pub use packed::Packed;
pub use regs::Features;
pub use rings::{Kick, Shape};
pub use split::{Areas, Split, Traits};
pub use start::ring_bytes;

// The device's side, which tests have in common, names this crate.
#[cfg(test)]
extern crate self as barline_virtio;

use barline::bus::{Claimed, PciFunction};
use barline::pool::Custody;
use barline::port::{BusEvents, MacAddress, PortCaps, PortError};
use caps::Structures;
use config::DeviceConfig;
use regs::common;
use std::sync::{Arc, Weak};

/// Vendor and device ids: network device of version 1.x, and transitional (4.1.2).
pub const IDS: &[(u16, u16)] = &[(0x1af4, 0x1041), (0x1af4, 0x1000)];

/// Longest MTU where the device has none of its own: what a packet's length can say, less headers.
const MOST_MTU: u32 = 65_000;

/// A port on a virtio network device.
#[derive(Debug)]
pub struct Virtio {
    at: Structures,
    options: Options,
    features: Features,
    device: DeviceConfig,
    caps: PortCaps,
    mac: MacAddress,
    running: Option<start::Running>,
    statistics: statistics::Statistics,
    /// Alive as long as queues of the last start are.
    last: Weak<Custody>,
    events: BusEvents,
    // Last: the device is quiet when the next driver may have it.
    function: Claimed,
}

impl Virtio {
    /// Takes a function over: finds its structures, resets it, reads what it offers and resets it again. It does no DMA
    /// yet.
    ///
    /// # Errors
    /// [`PortError::WrongDevice`], a function that another port drives, one without the interface of version 1.x, or
    /// one that does not come out of reset.
    pub fn open(function: Arc<dyn PciFunction>, options: Options) -> Result<Self, PortError> {
        let function = Claimed::take(function)?;
        let found = function.id();
        if !IDS.contains(&(found.vendor, found.device)) {
            let known: Vec<String> = IDS.iter().map(|(v, d)| format!("{v:04x}:{d:04x}")).collect();
            let (driver, known) = ("virtio", known.join(", "));
            return Err(PortError::WrongDevice { driver, found, known });
        }
        let at = Structures::find(&**function)?;
        function.set_bus_master(false)?;
        init::reset(&at)?;
        let features = init::negotiate(&at, &options, init::Asked::default())?;
        let device = DeviceConfig::read(&at, features)?;
        let caps = caps_of(&at, &device, features);
        init::reset(&at)?;
        Ok(Self {
            mac: device
                .mac
                .unwrap_or_else(|| own_mac(function.address().to_string().as_bytes())),
            at,
            options,
            features,
            device,
            caps: caps?,
            running: None,
            statistics: statistics::Statistics::default(),
            last: Weak::new(),
            events: function.events().into(),
            function,
        })
    }

    /// The features that the device and the driver agreed upon.
    pub fn features(&self) -> Features {
        self.features
    }
}

/// What the device can do, from what it says of its queues.
fn caps_of(at: &Structures, device: &DeviceConfig, features: Features) -> Result<PortCaps, PortError> {
    let shortest = (0..2).map(|queue| init::queue_max(at, queue)).min().unwrap_or(0);
    if shortest < 8 {
        return Err(PortError::Config(format!(
            "its virtqueues have {shortest} positions, fewer than 8"
        )));
    }
    let (link, offered) = (config::link(at, features), init::offered(at));
    let pairs = device.pairs.min(at.common.read(common::NUM_QUEUES) / 2).max(1);
    Ok(PortCaps {
        rx_queues: pairs,
        tx_queues: pairs,
        // A ring is a power of two long; the device's own limit need not be one with packed rings.
        ring: (8, (1 << shortest.ilog2()).min(1 << 15)),
        mtu: device.mtu.map_or(MOST_MTU, u32::from).min(MOST_MTU),
        speed: link.speed,
        offloads: offered.offloads(),
        vlans: offered.contains(Features::CTRL_VQ | Features::CTRL_VLAN),
    })
}

/// An address for a device without one: locally administered, the same for the same place.
fn own_mac(place: &[u8]) -> MacAddress {
    let hash = place.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let [a, b, c, d, e, ..] = hash.to_le_bytes();
    MacAddress([2, a, b, c, d, e])
}
