//! Our vhost-user port, and DPDK's virtio-user.

use super::device::{Device, End};
use super::{Bench, KILLED, SHAPES};
use crate::paths::Paths;
use crate::test::Outcome;
use anyhow::Result;

/// The whole step.
pub fn run(paths: &Paths) -> Result<Outcome> {
    let bench = Bench::new(paths, "vhost-testpmd")?;
    for (queues, most) in SHAPES {
        for bits in 0..8 {
            let device = Device {
                queues,
                most,
                ..Device::of(End::Vhost, bits)
            };
            bench.part(&device.name(), || bench.round(device))?;
        }
    }
    for (bits, queues) in KILLED {
        let device = Device {
            queues,
            ..Device::of(End::Vhost, bits)
        };
        bench.kill_theirs(device)?;
        // testpmd listens then.
        bench.kill_ours(Device {
            we_listen: false,
            ..device
        })?;
    }
    bench.outcome()
}
