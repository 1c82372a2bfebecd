use crate::{Failure, Huge};
use barline::mem::Plan;
use barline::pool::PoolBuilder;
use barline::port::{PortConfig, Queues};
use barline_drivers::Opened;

/// Packets that a worker's cache can hold.
pub const CACHE: usize = 512;
/// Bytes that a driver needs for a descriptor at most, and what belongs to it.
const DESCRIPTOR: usize = 32;

/// What sizes a pool, as the command line names it.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// `--queues`: receive and transmit queues each.
    pub queues: u16,
    /// `--rx-ring`: descriptors.
    pub rx_ring: u32,
    /// `--tx-ring`: descriptors.
    pub tx_ring: u32,
}

impl Sizes {
    /// Compares them with what a port has, before memory is taken for them: a thousand queues would be gigabytes of packets. The
    /// port itself checks the rest.
    ///
    /// # Errors
    /// Usage, with the range that is possible.
    pub fn fit(&self, opened: &Opened) -> Result<(), Failure> {
        let caps = opened.port.caps();
        let queues = u32::from(caps.rx_queues.min(caps.tx_queues));
        let (least, most) = caps.ring;
        range(opened, "queues", self.queues.into(), (1, queues))?;
        range(opened, "rx-ring", self.rx_ring, (least, most))?;
        range(opened, "tx-ring", self.tx_ring, (least, most))
    }

    /// Descriptors of all rings of so many ports.
    pub fn descriptors(&self, ports: usize) -> usize {
        (self.rx_ring as usize + self.tx_ring as usize) * usize::from(self.queues) * ports
    }

    /// The memory of a pool, and of the rings of so many ports.
    pub fn plan(&self, pool: &PoolBuilder, huge: Huge, ports: usize) -> Plan {
        let bytes = self.descriptors(1) * DESCRIPTOR;
        let plan = Plan::new().with(pool.bytes(), huge.pool);
        (0..ports).fold(plan, |plan, _| plan.with(bytes, huge.rings))
    }
}

/// Starts a port.
///
/// # Errors
/// The port's, with its name.
pub fn start(opened: &mut Opened, config: &PortConfig) -> Result<Queues, Failure> {
    opened.port.start(config).map_err(|error| {
        let failure = Failure::from(error);
        Failure::new(failure.fault(), format!("{}: {failure}", opened.spec))
    })
}

/// Compares one value with what a port takes.
///
/// # Errors
/// Usage, with the range that is possible.
pub fn range(opened: &Opened, name: &str, value: u32, (least, most): (u32, u32)) -> Result<(), Failure> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    let port = &opened.spec;
    Err(Failure::usage(match least == most {
        true => format!("--{name} {value}: {port} takes {most} and no other"),
        false => format!("--{name} {value}: {port} takes {least} to {most}"),
    }))
}
