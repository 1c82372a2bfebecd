//! Our virtio-user port, and DPDK's vhost.

use super::device::{Device, End};
use super::{Bench, KILLED, Place, SHAPES};
use crate::paths::Paths;
use crate::test::Outcome;
use anyhow::Result;

/// The whole step.
pub fn run(paths: &Paths) -> Result<Outcome> {
    let bench = Bench::new(paths, "virtio-user-testpmd")?;
    for (queues, most) in SHAPES {
        bench.rounds(queues, most)?;
    }
    for (bits, queues) in KILLED {
        let device = Device {
            queues,
            ..Device::of(End::VirtioUser, bits)
        };
        bench.kill_ours(device)?;
        bench.kill_theirs(Device {
            we_listen: device.packed,
            ..device
        })?;
    }
    bench.outcome()
}

impl Bench {
    /// Frames of every length there and back, for every combination of features, one after the other at one testpmd: it takes
    /// what we choose.
    fn rounds(&self, queues: u8, most: u32) -> Result<()> {
        let devices = (0..8).map(|bits| Device {
            queues,
            most,
            ..Device::of(End::VirtioUser, bits)
        });
        let devices: Vec<Device> = devices.filter(|device| self.wants(&device.name())).collect();
        let Some(first) = devices.first() else {
            return Ok(());
        };
        let place = Place::new()?;
        let _theirs = self.theirs(&place, *first)?;
        for device in devices {
            self.part(&device.name(), || self.ours(&place, device, self.frames)?.end())?;
        }
        Ok(())
    }
}
