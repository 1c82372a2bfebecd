//! Our vhost-user port, and DPDK's virtio-user.

use super::device::{Device, End};
use super::{Bench, KILLED, KILLS, SHAPES};
use crate::paths::Paths;
use crate::test::Outcome;
use anyhow::Result;

/// The whole step.
pub fn run(paths: &Paths) -> Result<Outcome> {
    let bench = Bench::new(paths, "vhost-testpmd")?;
    let mut devices = 0;
    for (queues, most) in SHAPES {
        for bits in 0..8 {
            let device = Device::of(End::Vhost, bits);
            bench.round(Device {
                queues,
                most,
                ..device
            })?;
            devices += 1;
        }
    }
    for (bits, queues) in KILLED {
        let device = Device {
            queues,
            ..Device::of(End::Vhost, bits)
        };
        bench.theirs_is_killed(device)?;
        // testpmd listens then; with two pairs of queues it hangs up on who connects (22.11; why, nobody has found out).
        if queues == 1 {
            bench.ours_is_killed(Device {
                we_listen: false,
                ..device
            })?;
        }
    }
    Ok(Outcome::Passed(format!(
        "{devices} devices, {} frames a queue; {KILLS} kills of either side",
        bench.frames
    )))
}
