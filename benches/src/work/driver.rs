//! The 82576 driver on each core, with rings of its own; the device is played, and its time not counted.

use super::{Setup, Shape, Work};
use crate::device::Rig;
use crate::tsc::now;
use anyhow::Result;

#[derive(Debug)]
#[repr(align(128))]
struct Driver {
    rig: Rig,
    burst: u32,
    foreign: u64,
}

impl Work for Driver {
    fn rounds(&mut self, n: u32) -> u64 {
        let mut packets = 0;
        for _ in 0..n {
            let start = now();
            self.rig.device(self.burst);
            self.foreign += now().wrapping_sub(start);
            packets += self.rig.forward() as u64;
        }
        packets
    }

    fn foreign(&mut self) -> u64 {
        std::mem::take(&mut self.foreign)
    }
}

/// Receive and transmit; the rings have `shape.ring` descriptors and bursts `shape.burst` packets.
pub fn driver(cores: usize, shape: Shape) -> Result<Setup> {
    let work = |_| {
        let work = Driver {
            rig: Rig::new(shape)?.boxed(),
            burst: shape.burst as u32,
            foreign: 0,
        };
        Ok(Box::new(work) as Box<dyn Work>)
    };
    Ok(Setup {
        works: (0..cores).map(work).collect::<Result<_>>()?,
        ports: Vec::new(),
        pool: None,
    })
}
