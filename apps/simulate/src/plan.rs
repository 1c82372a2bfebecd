//! Plans: what is built, what goes through it, and what goes wrong. A seed names one.

use crate::subject::{SUBJECTS, Subject};
use barline::port::{Change, MacAddress};
use barline_sim::{Fault, Impairment, Rng, Side, Spoiled};
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
    /// The plan of a seed.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x5ea_0000);
        // The first draws of neighbouring seeds are alike.
        for _ in 0..4 {
            rng.draw();
        }
        let ports = [1, 2, 2, 2, 3][rng.below(5) as usize];
        let subjects = subjects(&mut rng, ports);
        let most = subjects.iter().map(|subject| SUBJECTS[*subject].queues).min();
        let queues = [1, 1, 1, 2, most.unwrap_or(1)][rng.below(5) as usize];
        let rings = (
            [64, 64, 128][rng.below(3) as usize],
            [64, 64, 128][rng.below(3) as usize],
        );
        let wanted = (rings.0 + rings.1) * ports as u32 * u32::from(queues);
        let packets = match rng.below(6) {
            0 => 8 + rng.below(wanted.min(500)) as usize,
            _ => AMPLE,
        };
        Self {
            seed,
            queues,
            rings,
            packets,
            burst: [1, 4, 32, 32, 64][rng.below(5) as usize],
            lives: [1, 1, 1, 2][rng.below(4) as usize],
            rounds: if rng.below(4) == 0 { rng.below(40) } else { 3000 },
            step: (rng.below(3) > 0).then(|| 1 + rng.below(40)),
            sleeps: rng.below(2) == 0,
            round: Duration::from_micros(1 + u64::from(rng.below(5))),
            end: [End::Stop, End::Stop, End::PortsFirst, End::QueuesFirst][rng.below(4) as usize],
            ports: subjects
                .into_iter()
                .map(|subject| port(&mut rng, subject))
                .collect(),
        }
    }

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

/// What is plugged in: the same everywhere, or one of each kind that comes.
fn subjects(rng: &mut Rng, ports: usize) -> Vec<usize> {
    let mut draw = || rng.below(SUBJECTS.len() as u32) as usize;
    let (first, mixed) = (draw(), draw() == 0);
    (0..ports).map(|_| if mixed { draw() } else { first }).collect()
}

fn port(rng: &mut Rng, subject: usize) -> PortPlan {
    let kind = &SUBJECTS[subject];
    let count = [0, 1, 1, 2, 4][rng.below(5) as usize];
    let changes = if rng.below(4) == 0 { 1 + rng.below(3) } else { 0 };
    let seed = u64::from(rng.draw());
    let bad = rng.below(3) == 0;
    let mut rate = |most: u32| if bad { rng.below(most) } else { 0 };
    let impairment = Impairment {
        loss: rate(60),
        duplication: rate(60),
        reorder: rate(60),
        corruption: rate(60),
        seed,
    };
    PortPlan {
        subject,
        frames: u64::from([rng.below(4), rng.below(60), rng.below(400)][rng.below(3) as usize]),
        sizes: vec![
            60,
            60 + rng.below(1455) as usize,
            [64, 1514, 1600][rng.below(3) as usize],
        ],
        rate: [1 + early(rng, 4), 1 + early(rng, 7), 400][rng.below(3) as usize],
        patient: rng.below(2) == 0,
        runts: if rng.below(4) == 0 { 50 } else { 0 },
        strangers: if rng.below(4) == 0 { 200 } else { 0 },
        mtu: [1500, 1500, 1500, 1000, 576][rng.below(5) as usize],
        promiscuous: rng.below(3) > 0,
        link: rng.below(16) > 0,
        impairment,
        faults: (0..count).flat_map(|_| fault(rng, kind)).collect(),
        changes: (0..changes).map(|_| (rng.below(60), change(rng))).collect(),
    }
}

fn change(rng: &mut Rng) -> Change {
    match rng.below(4) {
        0 => Change::Promiscuous(rng.below(2) == 0),
        1 => Change::AllMulticast(rng.below(2) == 0),
        2 => Change::Mac(MacAddress([2, 0, 0, 0, 9, rng.draw() as u8])),
        _ => Change::Mtu([68, 576, 1000, 1500][rng.below(4) as usize]),
    }
}

/// A number below a power of two below 2^`bits`: small ones are as likely as large ones.
fn early(rng: &mut Rng, bits: u32) -> u64 {
    let most = 1 << rng.below(bits);
    u64::from(rng.below(most))
}

fn micros(rng: &mut Rng, bits: u32) -> Duration {
    Duration::from_micros(1 + early(rng, bits))
}

fn fault(rng: &mut Rng, subject: &Subject) -> Vec<Fault> {
    match rng.below(12) {
        0 => vec![Fault::Removed {
            access: early(rng, 13),
        }],
        // In traffic: then each doorbell is one.
        1 => vec![Fault::Removed {
            access: subject.accesses + early(rng, 9),
        }],
        2 => vec![stuck(rng, subject)],
        3 => vec![Fault::Dma { nth: early(rng, 11) }],
        4 => vec![Fault::LostInterrupt { nth: early(rng, 4) }],
        5 => vec![Fault::SpuriousInterrupt {
            at: micros(rng, 8),
            vector: rng.below(4) as u16,
        }],
        6 => {
            let at = micros(rng, 8);
            let up = at + micros(rng, 8);
            vec![Fault::Link { at, up: false }, Fault::Link { at: up, up: true }]
        }
        _ => vec![Fault::WriteBack {
            side: [Side::Rx, Side::Rx, Side::Tx][rng.below(3) as usize],
            nth: early(rng, 9),
            how: spoiled(rng, subject),
        }],
    }
}

fn stuck(rng: &mut Rng, subject: &Subject) -> Fault {
    let register = subject.stuck[rng.below(subject.stuck.len() as u32) as usize];
    Fault::Stuck {
        bar: register.bar,
        offset: register.offset,
        set: register.set,
        clear: register.clear,
        after: rng.below(6),
        reads: [1, 20, u32::MAX][rng.below(3) as usize],
    }
}

fn spoiled(rng: &mut Rng, subject: &Subject) -> Spoiled {
    match rng.below(7) {
        0 | 1 => Spoiled::Late(micros(rng, 10)),
        2 => Spoiled::Torn(micros(rng, 10)),
        3 => Spoiled::Never,
        4 => Spoiled::Elsewhere(1 + rng.below(70)),
        _ => {
            let bits = subject.lies[rng.below(subject.lies.len() as u32) as usize];
            let any = u64::from(rng.draw()) << 32 | u64::from(rng.draw());
            let some = |bits: u64, any: u64| if bits.is_power_of_two() { bits } else { bits & any };
            Spoiled::Words {
                clear: [0; 2],
                flip: [some(bits[0], any), some(bits[1], any.rotate_left(7))],
            }
        }
    }
}
