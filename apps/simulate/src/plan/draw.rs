//! What a seed makes of a plan: every draw, in its order.

use super::{AMPLE, End, Plan, PortPlan};
use crate::subject::{SUBJECTS, Subject};
use barline::port::{Change, MacAddress};
use barline_sim::{Fault, Impairment, Rng, Side, Spoiled};
use std::time::Duration;

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
