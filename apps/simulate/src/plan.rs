//! Plans: what is built, what goes through it, and what goes wrong. A seed names one.

mod draw;

use crate::subject::{SUBJECTS, Subject};
use barline::port::Change;
use barline_sim::{Fault, Impairment, Side, Spoiled};
use std::time::Duration;

/// Packets of a pool that no plan empties: all rings full, a full cache, a burst.
pub const AMPLE: usize = (128 + 128) * 4 * 3 + 512 + 64;

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed it was drawn from.
    pub seed: u64,
    /// Queues a port.
    pub queues: u16,
    /// Descriptors of a receive and of a transmit ring.
    pub rings: (u32, u32),
    /// Packets a burst.
    pub burst: usize,
    /// Packets in the pool.
    pub packets: usize,
    /// Starts and stops of all ports.
    pub lives: u32,
    /// Rounds of a life after which it is stopped, whatever is under way.
    pub rounds: u32,
    /// Frames that a device moves between two rounds; `None`: all it can at each doorbell.
    pub step: Option<u32>,
    /// Whether a core without work sleeps until an interrupt.
    pub sleeps: bool,
    /// Virtual time of a round.
    pub round: Duration,
    /// The order in which things go at the end.
    pub end: End,
    /// The ports, in pairs; a last odd one sends back.
    pub ports: Vec<PortPlan>,
}

/// The order in which things go at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Queues to their port's stop, then the ports.
    Stop,
    /// The ports, with queues still out.
    PortsFirst,
    /// The queues, without a stop.
    QueuesFirst,
}

/// One port's part.
#[derive(Clone, Debug)]
pub struct PortPlan {
    /// Driver and device: index in [`SUBJECTS`].
    pub subject: usize,
    /// Frames that come in.
    pub frames: u64,
    /// Their lengths without FCS.
    pub sizes: Vec<usize>,
    /// How many come in a round.
    pub rate: u64,
    /// Whether they wait for descriptors.
    pub patient: bool,
    /// Frames cut short, in a thousand.
    pub runts: u32,
    /// Frames for somebody else, in a thousand.
    pub strangers: u32,
    /// MTU.
    pub mtu: u32,
    /// Promiscuous at the start.
    pub promiscuous: bool,
    /// Whether the cable is in at the start.
    pub link: bool,
    /// The cable.
    pub impairment: Impairment,
    /// The device.
    pub faults: Vec<Fault>,
    /// Settings that change, and before which round.
    pub changes: Vec<(u32, Change)>,
}

impl PortPlan {
    /// What is plugged in.
    pub fn subject(&self) -> &'static Subject {
        &SUBJECTS[self.subject]
    }

    /// Whether a wrong write-back may have given a buffer back that the device still writes to or reads: nobody knows then what
    /// is in it.
    pub fn mixes(&self) -> bool {
        self.subject().names_buffers && self.has(|fault| matches!(fault, Fault::WriteBack { .. }))
    }

    /// Whether a fault of this kind is planned.
    pub fn has(&self, kind: impl Fn(&Fault) -> bool) -> bool {
        self.faults.iter().any(kind)
    }

    /// Whether the device writes receive descriptors back wrongly.
    pub fn lies(&self) -> bool {
        self.has(|fault| matches!(fault, Fault::WriteBack { side: Side::Rx, .. }))
    }

    /// How many reports of sent frames are wrong.
    pub fn wrong_reports(&self) -> u64 {
        let wrong = |fault: &&Fault| matches!(fault, Fault::WriteBack { side: Side::Tx, .. });
        self.faults.iter().filter(wrong).count() as u64
    }

    /// Whether a write-back goes where the driver did not yet expect one.
    pub fn strays(&self) -> bool {
        self.has(|fault| match fault {
            Fault::WriteBack { how, .. } => matches!(how, Spoiled::Elsewhere(_) | Spoiled::Torn(_)),
            _ => false,
        })
    }

    /// Whether a frame may come without an interrupt.
    pub fn may_not_wake(&self) -> bool {
        self.lies() || self.may_fail() || self.has(|fault| matches!(fault, Fault::LostInterrupt { .. }))
    }

    /// Whether the device may fail to come up.
    pub fn may_fail(&self) -> bool {
        let commands = self.subject().has_commands;
        self.has(|fault| match fault {
            Fault::Removed { .. } | Fault::Stuck { .. } => true,
            Fault::Dma { .. } => commands,
            _ => false,
        })
    }

    /// Whether what is handed to the device may stay there.
    pub fn may_keep(&self) -> bool {
        let kept = |fault: &Fault| {
            matches!(
                fault,
                Fault::Removed { .. } | Fault::Dma { .. } | Fault::WriteBack { side: Side::Tx, .. }
            )
        };
        !self.link || self.has(kept) || self.has(|fault| matches!(fault, Fault::Link { .. }))
    }
}

impl Plan {
    /// The port that sends what port `index` receives.
    pub fn partner(&self, index: usize) -> usize {
        if index ^ 1 < self.ports.len() {
            index ^ 1
        } else {
            index
        }
    }

    /// The same plan with one thing fewer to go wrong, in every way that there is.
    pub fn simpler(&self) -> Vec<Self> {
        let mut plans = Vec::new();
        for at in 0..self.ports.len() {
            let mut without = |change: &dyn Fn(&mut PortPlan)| {
                let mut plan = self.clone();
                change(&mut plan.ports[at]);
                plans.push(plan);
            };
            let port = &self.ports[at];
            (0..port.faults.len()).for_each(|n| without(&|port| _ = port.faults.remove(n)));
            (0..port.changes.len()).for_each(|n| without(&|port| _ = port.changes.remove(n)));
            if port.impairment != Impairment::default() {
                without(&|port| port.impairment = Impairment::default());
            }
            if port.frames > 0 {
                without(&|port| port.frames /= 2);
            }
        }
        plans
    }
}
