//! Random plans of faults over every driver that has a model, with l2fwd's work on top.
//!
//! A [`Plan`] is drawn from a seed: ports, queues, rings, a pool, traffic, bad cables, lying and dying devices. It is run
//! on one thread and in virtual time, so a seed means the same run every time. What must hold, whatever goes wrong:
//!
//! * no panic, and no call that takes longer than ten virtual seconds;
//! * each receive call finds exactly what the device left in memory, as a second reading of it says;
//! * a burst reads no register and rings each doorbell once at most;
//! * every frame is in one counter: the application's, the queues', the device's as its driver shows them, and what the
//!   device itself knows agree;
//! * a stopped device reaches no memory; every packet comes home; nothing stays mapped.
#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]

mod books;
mod feed;
mod lane;
mod life;
mod oracle;
mod plan;
mod subject;
mod world;

pub use plan::{End, Plan, PortPlan};
pub use subject::{SUBJECTS, Subject};

use anyhow::Result;
use barline_sim::{Fate, Ledger};
use life::Life;
use std::fmt;
use std::ops::AddAssign;
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::World;

/// What plans brought about: a simulation in which nothing happens proves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Plans.
    pub plans: u64,
    /// Of these, plans whose ports all started.
    pub started: u64,
    /// Devices removed.
    pub removed: u64,
    /// Frames that arrived at devices.
    pub arrived: u64,
    /// Of these, frames in host memory.
    pub delivered: u64,
    /// Of these, frames that devices dropped.
    pub dropped: u64,
    /// Frames that left devices.
    pub sent: u64,
    /// DMA accesses refused.
    pub refused: u64,
}

impl AddAssign for Outcome {
    fn add_assign(&mut self, other: Self) {
        self.plans += other.plans;
        self.started += other.started;
        self.removed += other.removed;
        self.arrived += other.arrived;
        self.delivered += other.delivered;
        self.dropped += other.dropped;
        self.sent += other.sent;
        self.refused += other.refused;
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} plans ({} started, {} devices removed, {} DMA refused): {} frames arrived, {} delivered, {} dropped by \
             devices, {} sent",
            self.plans,
            self.started,
            self.removed,
            self.refused,
            self.arrived,
            self.delivered,
            self.dropped,
            self.sent
        )
    }
}

/// Runs a plan. A panic is an error too; its message goes to the panic hook as well.
///
/// # Errors
/// What did not hold.
pub fn run(plan: &Plan) -> Result<Outcome, String> {
    match catch_unwind(AssertUnwindSafe(|| inside(plan))) {
        Ok(result) => result.map_err(|error| format!("{error:#}")),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(format!("panic: {}", text.unwrap_or("without a message")))
        }
    }
}

fn inside(plan: &Plan) -> Result<Outcome> {
    let (world, opened) = World::new(plan)?;
    let mut started = 0;
    if let Some(mut ports) = opened {
        for _ in 0..plan.lives {
            if ports.is_empty() {
                break; // their end came before that of their queues
            }
            let life = Life::new(plan, &world);
            let Some(queues) = life.start(&mut ports)? else {
                break;
            };
            started = 1;
            life.run(&mut ports, queues)?;
        }
    }
    let outcome = outcome(&world, started);
    world.close()?;
    Ok(outcome)
}

fn outcome(world: &World, started: u64) -> Outcome {
    let mut outcome = Outcome {
        plans: 1,
        started,
        ..Outcome::default()
    };
    for station in &world.stations {
        let ledger: Ledger = station.device.ledger();
        outcome.removed += u64::from(station.device.is_gone());
        outcome.arrived += ledger.arrived;
        outcome.delivered += ledger.count(Fate::Delivered);
        outcome.dropped += ledger.arrived - ledger.inside() - ledger.count(Fate::Delivered);
        outcome.sent += ledger.sent;
        outcome.refused += station.device.counts().dma_refused;
    }
    outcome
}

/// The simplest plan that fails still, and how: one thing after the other is left out as long as that is so.
pub fn simplest(plan: &Plan, error: String) -> (Plan, String) {
    let (mut plan, mut error) = (plan.clone(), error);
    loop {
        let simpler = plan.simpler().into_iter();
        let mut failing = simpler.filter_map(|plan| run(&plan).err().map(|error| (plan, error)));
        match failing.next() {
            Some(next) => (plan, error) = next,
            None => return (plan, error),
        }
    }
}
