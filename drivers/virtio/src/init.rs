//! Bringing the device up and down, in the order of 3.1.1 and 4.1.5.

use crate::caps::Structures;
use crate::options::Options;
use crate::regs::{Features, Status, common};
use crate::split::Areas;
use barline::mmio::{Doorbell, MmioError};
use barline::offload::Offloads;
use barline::port::{PortConfig, PortError};
use std::time::Duration;

/// A device that works is reset at once; one whose host is busy takes its time.
const RESET: Duration = Duration::from_secs(2);

/// The device status as it reads.
pub fn status(at: &Structures) -> Status {
    Status::from_bits_retain(at.common.read(common::DEVICE_STATUS))
}

fn add_status(at: &Structures, more: Status) {
    at.common.write(common::DEVICE_STATUS, (status(at) | more).bits());
}

/// Resets it and waits until that is done (4.1.4.3.2): then it touches no memory any more.
///
/// # Errors
/// It does not come out of reset, or is gone.
pub fn reset(at: &Structures) -> Result<(), MmioError> {
    let bar = at.common.bar();
    at.common.write(common::DEVICE_STATUS, 0u8);
    let end = bar.now() + RESET;
    let mut pause = Duration::from_micros(2);
    loop {
        let late = bar.now() >= end;
        let last = status(at).bits();
        if last == 0 {
            return Ok(());
        }
        let register = common::DEVICE_STATUS.name;
        if late && last == u8::MAX {
            return Err(MmioError::Gone { register });
        }
        if late {
            let (waited_us, last) = (RESET.as_micros() as u64, last.into());
            return Err(MmioError::Timeout {
                register,
                waited_us,
                last,
            });
        }
        bar.pause(pause);
        pause = (pause * 2).min(Duration::from_millis(1));
    }
}

/// Of a device without VIRTIO_F_ACCESS_PLATFORM (6.1): it may take the IOMMU's addresses for physical ones, and write to
/// whatever memory is there.
const BYPASSES: &str = "the device does not offer VIRTIO_F_ACCESS_PLATFORM and may go around the IOMMU, to any memory: add \
                        disable-legacy=on,iommu_platform=on to it in QEMU's command";

/// What the device offers.
pub fn offered(at: &Structures) -> Features {
    let half = |select: u32| {
        at.common.write(common::DEVICE_FEATURE_SELECT, select);
        u64::from(at.common.read(common::DEVICE_FEATURE))
    };
    Features::from_bits_retain(half(0) | half(1) << 32)
}

/// What an application asks for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// These offloads.
    pub offloads: Offloads,
    /// A filter of VLANs. A device that has one and was told of none receives no tagged frame.
    pub vlans: bool,
}

impl Asked {
    /// What a configuration asks for.
    pub fn by(config: &PortConfig) -> Self {
        let (offloads, vlans) = (config.offloads, config.vlans.is_some());
        Self { offloads, vlans }
    }
}

/// What of it is taken: of offloads those that are asked for, VLAN filtering if it is.
pub fn chosen(offered: Features, options: &Options, asked: Asked) -> Features {
    let mut wanted = Features::VERSION_1
        | Features::ACCESS_PLATFORM
        | Features::ORDER_PLATFORM
        | Features::MTU
        | Features::MAC
        | Features::STATUS
        | Features::SPEED_DUPLEX
        | Features::CTRL_VQ;
    wanted.set(Features::RING_PACKED, options.packed);
    let packed = offered.contains(Features::RING_PACKED) && options.packed;
    wanted.set(Features::EVENT_IDX, options.event_idx.unwrap_or(!packed));
    wanted.set(Features::MRG_RXBUF, options.merge);
    wanted.set(Features::IN_ORDER, options.in_order);
    // These need the control queue (5.1.3.1).
    let control =
        Features::CTRL_RX | Features::CTRL_MAC_ADDR | Features::MQ | Features::RSS | Features::DEVICE_STATS;
    let has_control = offered.contains(Features::CTRL_VQ);
    wanted.set(control, has_control);
    wanted.set(Features::CTRL_VLAN, asked.vlans && has_control);
    wanted |= Features::of_offloads(offered.offloads() & asked.offloads);
    offered & wanted
}

/// Agrees on features (3.1.1, steps 2 to 6).
///
/// # Errors
/// A device that is not of version 1, does not go through the IOMMU, or does not take the features.
pub fn negotiate(at: &Structures, options: &Options, asked: Asked) -> Result<Features, PortError> {
    add_status(at, Status::ACKNOWLEDGE);
    add_status(at, Status::DRIVER);
    let offered = offered(at);
    if !offered.contains(Features::VERSION_1) {
        return Err(PortError::Unsupported(
            "be driven: its device does not offer VIRTIO_F_VERSION_1",
        ));
    }
    if !offered.contains(Features::ACCESS_PLATFORM) && !options.bypass {
        return Err(PortError::Lacks(BYPASSES.to_owned()));
    }
    let features = chosen(offered, options, asked);
    for (select, half) in [
        (0u32, features.bits() as u32),
        (1, (features.bits() >> 32) as u32),
    ] {
        at.common.write(common::DRIVER_FEATURE_SELECT, select);
        at.common.write(common::DRIVER_FEATURE, half);
    }
    add_status(at, Status::FEATURES_OK);
    if !status(at).contains(Status::FEATURES_OK) {
        add_status(at, Status::FAILED);
        return Err(PortError::Unsupported(
            "be driven: its device refuses the features that it offers",
        ));
    }
    Ok(features)
}

/// The most positions that queue `index` can have; 0 where there is none.
pub fn queue_max(at: &Structures, index: u16) -> u16 {
    at.common.write(common::QUEUE_SELECT, index);
    let max = at.common.read(common::QUEUE_SIZE);
    if max == u16::MAX { 0 } else { max }
}

/// One virtqueue to be set up.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Its index.
    pub index: u16,
    /// Positions.
    pub len: u32,
    /// Where it stands.
    pub areas: Areas,
    /// Its vector, or [`common::NO_VECTOR`].
    pub vector: u16,
}

/// Tells the device of a virtqueue and switches it on (4.1.5.1.3). How it is notified, and whether it took the vector.
///
/// # Errors
/// There is no such queue, or not of that length.
pub fn enable(at: &Structures, queue: &Setup) -> Result<(Doorbell, bool), PortError> {
    let max = queue_max(at, queue.index);
    if queue.len > u32::from(max) {
        let (index, len) = (queue.index, queue.len);
        return Err(PortError::Config(format!(
            "virtqueue {index} has {max} positions at most, {len} were asked for"
        )));
    }
    let common = &at.common;
    common.write(common::QUEUE_SIZE, queue.len as u16);
    common.write64(common::QUEUE_DESC, queue.areas.desc.raw());
    common.write64(common::QUEUE_DRIVER, queue.areas.driver.raw());
    common.write64(common::QUEUE_DEVICE, queue.areas.device.raw());
    common.write(common::QUEUE_MSIX_VECTOR, queue.vector);
    let took = common.read(common::QUEUE_MSIX_VECTOR) == queue.vector;
    let doorbell = at.doorbell(common.read(common::QUEUE_NOTIFY_OFF))?;
    common.write(common::QUEUE_ENABLE, 1u16);
    Ok((doorbell, took))
}

/// Queues are on: go (3.1.1, step 8).
pub fn go(at: &Structures) {
    add_status(at, Status::DRIVER_OK);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_taken_as_far_as_they_go_together() {
        let (all, options) = (Features::all(), Options::default());
        let chosen = |offered, options| super::chosen(offered, options, Asked::default());
        let taken = chosen(all, &options);
        assert!(
            taken.contains(Features::VERSION_1 | Features::RING_PACKED | Features::IN_ORDER | Features::RSS)
        );
        assert!(!taken.intersects(Features::EVENT_IDX | Features::MRG_RXBUF | Features::INDIRECT_DESC));
        // Offloads and VLAN filtering: bits 0, 1, 7 to 14, 19, 54 to 56.
        assert_eq!(taken.bits() & (0b11 | 0xff << 7 | 1 << 19 | 0b111 << 54), 0);
        let offloads = Offloads::TX_CHECKSUM | Offloads::TX_TCP6 | Offloads::RX_CHECKSUM;
        let some = Asked {
            offloads,
            vlans: false,
        };
        let tags = Asked {
            vlans: true,
            ..Asked::default()
        };
        assert_eq!(super::chosen(all, &options, tags) - taken, Features::CTRL_VLAN);
        let deaf = all - Features::CTRL_VQ;
        assert!(!super::chosen(deaf, &options, tags).contains(Features::CTRL_VLAN));
        let more = super::chosen(all, &options, some);
        assert_eq!(
            more - taken,
            Features::CSUM | Features::HOST_TSO6 | Features::GUEST_CSUM
        );
        assert_eq!(
            super::chosen(all - Features::CSUM, &options, some) - taken,
            Features::GUEST_CSUM
        );
        assert!(chosen(all - Features::RING_PACKED, &options).contains(Features::EVENT_IDX));
        let merge = Options {
            merge: true,
            ..options
        };
        assert!(chosen(all, &merge).contains(Features::MRG_RXBUF | Features::IN_ORDER));
        let alone = chosen(all - Features::CTRL_VQ, &options);
        assert!(
            !alone.intersects(Features::MQ | Features::RSS | Features::CTRL_RX | Features::CTRL_MAC_ADDR)
                && !alone.contains(Features::DEVICE_STATS)
        );
        assert_eq!(chosen(Features::empty(), &merge), Features::empty());
    }
}
