//! The device's configuration (5.1.4), read so that all of it is of one moment.

use crate::caps::Structures;
use crate::regs::{Features, common, net};
use barline::mmio::MmioError;
use barline::port::{Link, MacAddress};

/// What the device says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceConfig {
    /// Its address, if it has one.
    pub mac: Option<MacAddress>,
    /// Pairs of queues, at least 1.
    pub pairs: u16,
    /// Its MTU, if it has one.
    pub mtu: Option<u16>,
    /// Of receive-side scaling: longest key in bytes, longest table in entries, kinds of packets.
    pub rss: (u8, u16, u32),
}

/// Times that the configuration may change while it is read.
const TRIES: u32 = 64;

/// Reads until the generation is the same before and after (2.5.1, 4.1.4.3.1).
///
/// # Errors
/// A configuration that never stands still.
pub fn consistent<T>(at: &Structures, read: impl Fn() -> T) -> Result<T, MmioError> {
    let generation = || at.common.read(common::CONFIG_GENERATION);
    let mut before = generation();
    for _ in 0..TRIES {
        let value = read();
        let after = generation();
        if after == before {
            return Ok(value);
        }
        before = after;
    }
    Err(MmioError::Timeout {
        register: common::CONFIG_GENERATION.name,
        waited_us: 0,
        last: before.into(),
    })
}

impl DeviceConfig {
    /// Reads it; a field counts only with the feature that says that it is there.
    ///
    /// # Errors
    /// As [`consistent`].
    pub fn read(at: &Structures, features: Features) -> Result<Self, MmioError> {
        consistent(at, || {
            let device = &at.device;
            let has = |feature| features.contains(feature);
            let several = features.intersects(Features::MQ | Features::RSS);
            let rss = || {
                (
                    device.read(net::RSS_MAX_KEY),
                    device.read(net::RSS_MAX_TABLE),
                    device.read(net::RSS_TYPES),
                )
            };
            Self {
                mac: has(Features::MAC)
                    .then(|| MacAddress(std::array::from_fn(|i| device.read_at(net::MAC + i)))),
                pairs: if several {
                    device.read(net::MAX_PAIRS).max(1)
                } else {
                    1
                },
                mtu: has(Features::MTU).then(|| device.read(net::MTU)),
                rss: if has(Features::RSS) { rss() } else { (0, 0, 0) },
            }
        })
    }
}

/// The link as it is now. A device that does not say is always up, at an unknown speed.
pub fn link(at: &Structures, features: Features) -> Link {
    let down = Link {
        up: false,
        speed: 0,
        full_duplex: false,
    };
    let (says, tells) = (
        features.contains(Features::STATUS),
        features.contains(Features::SPEED_DUPLEX),
    );
    // Fields that the device does not have are not read.
    let read = consistent(at, || {
        let status = says.then(|| at.device.read(net::STATUS));
        let speed = tells.then(|| (at.device.read(net::SPEED), at.device.read(net::DUPLEX)));
        (status, speed)
    });
    let Ok((status, speed)) = read else {
        return down;
    };
    if status.is_some_and(|status| status == u16::MAX || status & net::LINK_UP == 0) {
        return down;
    }
    let (speed, duplex) = speed.unwrap_or((u32::MAX, 1));
    let known = speed <= i32::MAX as u32;
    Link {
        up: true,
        speed: if known { speed } else { 0 },
        full_duplex: !known || duplex == 1,
    }
}
