//! Our vhost-user port, and DPDK's virtio-user.

use super::device::{Device, End};
use super::{Bench, KILLS};
use crate::paths::Paths;
use crate::test::Outcome;
use anyhow::Result;

/// The whole step.
pub fn run(paths: &Paths) -> Result<Outcome> {
    let bench = Bench::new(paths, "vhost-testpmd")?;
    let device = |bits| Device::of(End::Vhost, bits);
    let mut devices = 0;
    for queues in [1, 2] {
        for bits in 0..8 {
            bench.round(Device {
                queues,
                ..device(bits)
            })?;
            devices += 1;
        }
    }
    for bits in 0..4 {
        bench.round(Device {
            most: 9014,
            ..device(bits)
        })?;
        devices += 1;
    }
    for packed in [false, true] {
        let device = Device {
            packed,
            ..device(0b010)
        };
        bench.theirs_is_killed(device)?;
        bench.ours_is_killed(Device {
            we_listen: false,
            ..device
        })?;
    }
    Ok(Outcome::Passed(format!(
        "{devices} devices, {} frames a queue; {KILLS} kills of either side",
        bench.frames
    )))
}
