//! Our virtio-user port, and DPDK's vhost.

use super::device::{Device, End};
use super::{Bench, KILLED, KILLS, Place, SHAPES};
use crate::paths::Paths;
use crate::test::Outcome;
use anyhow::{Context, Result};

/// The whole step.
pub fn run(paths: &Paths) -> Result<Outcome> {
    let bench = Bench::new(paths, "virtio-user-testpmd")?;
    let mut devices = 0;
    for (queues, most) in SHAPES {
        devices += bench.rounds(queues, most)?;
    }
    for (bits, queues) in KILLED {
        let device = Device {
            queues,
            ..Device::of(End::VirtioUser, bits)
        };
        bench.ours_is_killed(device)?;
        bench.theirs_is_killed(Device {
            we_listen: device.packed,
            ..device
        })?;
    }
    Ok(Outcome::Passed(format!(
        "{devices} devices, {} frames a queue; {KILLS} kills of either side",
        bench.frames
    )))
}

impl Bench {
    /// Frames of every length there and back, for every combination of features, one after the other at one testpmd: it takes
    /// what we choose.
    fn rounds(&self, queues: u8, most: u32) -> Result<usize> {
        let place = Place::new()?;
        let device = |bits| Device {
            queues,
            most,
            ..Device::of(End::VirtioUser, bits)
        };
        let _theirs = self.theirs(&place, device(0))?;
        for bits in 0..8 {
            let ours = self.ours(&place, device(bits), self.frames)?;
            ours.end().with_context(|| format!("{:?}", device(bits)))?;
        }
        Ok(8)
    }
}
