//! Planned faults of a device: what goes wrong, and when.

use std::collections::VecDeque;
use std::time::Duration;

/// Which descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Receive.
    Rx,
    /// Transmit.
    Tx,
}

/// How a descriptor is written back wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoiled {
    /// So much later, while the device goes on.
    Late(Duration),
    /// The lower half of the second word, with the status, comes first, and the whole so much later.
    Torn(Duration),
    /// Not at all.
    Never,
    /// To another descriptor, so many further on in memory.
    Elsewhere(u32),
    /// With these bits of the two words cleared, then those inverted: wrong length, status, error, index.
    Words {
        /// Bits to clear.
        clear: [u64; 2],
        /// Bits to invert after that.
        flip: [u64; 2],
    },
}

/// One thing that goes wrong. Events are counted from 0; times are since the first frame arrived at the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The device is gone from this register access on: reads are all ones, writes are lost, no DMA.
    Removed {
        /// Which access.
        access: u64,
    },
    /// A register reads wrongly: a reset that does not end, a bit that does not come.
    Stuck {
        /// Region of the register.
        bar: u8,
        /// Its offset in bytes.
        offset: u32,
        /// Bits that read as 1.
        set: u32,
        /// Bits that read as 0.
        clear: u32,
        /// How many of its reads are right before.
        after: u32,
        /// How many are wrong then.
        reads: u32,
    },
    /// A descriptor is written back wrongly.
    WriteBack {
        /// Of which side.
        side: Side,
        /// Which write-back of that side.
        nth: u64,
        /// How.
        how: Spoiled,
    },
    /// The IOMMU refuses an access.
    Dma {
        /// Which access.
        nth: u64,
    },
    /// An interrupt does not come.
    LostInterrupt {
        /// Which one.
        nth: u64,
    },
    /// An interrupt comes that nothing caused.
    SpuriousInterrupt {
        /// When.
        at: Duration,
        /// Its vector.
        vector: u16,
    },
    /// The cable is pulled or plugged in.
    Link {
        /// When.
        at: Duration,
        /// Whether it is in.
        up: bool,
    },
}

impl Fault {
    /// When it happens by itself, for one that waits for a time.
    fn due(&self) -> Option<Duration> {
        match self {
            Self::SpuriousInterrupt { at, .. } | Self::Link { at, .. } => Some(*at),
            _ => None,
        }
    }
}

/// A store: where, what, and how many of its bytes (the lower ones).
pub(crate) type Store = (u64, u64, usize);

/// The faults of one device, and how far they have come.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    plan: Vec<Fault>,
    /// Those that wait for a time, earliest first.
    timed: VecDeque<Fault>,
    accesses: u64,
    dmas: u64,
    write_backs: [u64; 2],
    interrupts: u64,
    /// Reads so far of each register that is to be stuck, by position in the plan.
    reads: Vec<u32>,
    /// Stores that are still to come: when, where, what, and how many of its bytes.
    late: Vec<(Duration, Store)>,
    /// What is to go wrong with the next write-backs of each side, before what is planned.
    asked: [VecDeque<Spoiled>; 2],
}

impl Faults {
    pub fn new(plan: Vec<Fault>) -> Self {
        let mut timed: Vec<Fault> = plan
            .iter()
            .filter(|fault| fault.due().is_some())
            .copied()
            .collect();
        timed.sort_by_key(Fault::due);
        Self {
            reads: vec![0; plan.len()],
            timed: timed.into(),
            plan,
            ..Self::default()
        }
    }

    /// Spoils the next write-back of a side; calls queue up.
    pub fn ask(&mut self, of: Side, how: Spoiled) {
        self.asked[of as usize].push_back(how);
    }

    /// One more fault.
    pub fn add(&mut self, fault: Fault) {
        self.plan.push(fault);
        self.reads.push(0);
    }

    /// Registers read rightly from now on.
    pub fn unstick(&mut self) {
        self.plan.retain(|fault| !matches!(fault, Fault::Stuck { .. }));
        self.reads = vec![0; self.plan.len()];
    }

    /// Whether the device goes with this register access.
    pub fn access_removes(&mut self) -> bool {
        let nth = self.accesses;
        self.accesses += 1;
        self.plan.contains(&Fault::Removed { access: nth })
    }

    /// What a register reads as.
    pub fn read(&mut self, at_bar: u8, at: usize, value: u32) -> u32 {
        let mut value = value;
        for (fault, seen) in self.plan.iter().zip(&mut self.reads) {
            if let Fault::Stuck {
                bar,
                offset,
                set,
                clear,
                after,
                reads,
            } = *fault
                && (bar, offset as usize) == (at_bar, at)
            {
                let wrong = (after..after.saturating_add(reads)).contains(seen);
                *seen = seen.saturating_add(1);
                value = if wrong { value & !clear | set } else { value };
            }
        }
        value
    }

    /// Whether this access to memory is refused.
    pub fn dma_refused(&mut self) -> bool {
        let nth = self.dmas;
        self.dmas += 1;
        self.plan.contains(&Fault::Dma { nth })
    }

    /// What is wrong with this write-back.
    pub fn write_back(&mut self, of: Side) -> Option<Spoiled> {
        let count = &mut self.write_backs[of as usize];
        let now = *count;
        *count += 1;
        if let Some(how) = self.asked[of as usize].pop_front() {
            return Some(how);
        }
        self.plan.iter().find_map(|fault| match *fault {
            Fault::WriteBack { side, nth, how } if (side, nth) == (of, now) => Some(how),
            _ => None,
        })
    }

    /// Whether this interrupt is lost.
    pub fn interrupt_lost(&mut self) -> bool {
        let nth = self.interrupts;
        self.interrupts += 1;
        self.plan.contains(&Fault::LostInterrupt { nth })
    }

    /// Puts a store off.
    pub fn put_off(&mut self, until: Duration, store: Store) {
        self.late.push((until, store));
    }

    /// The stores whose time has come, in the order in which they come.
    pub fn late(&mut self, now: Duration) -> Vec<Store> {
        if self.late.is_empty() {
            return Vec::new();
        }
        let (mut due, late): (Vec<_>, Vec<_>) = self.late.drain(..).partition(|(at, ..)| *at <= now);
        self.late = late;
        due.sort_by_key(|(at, ..)| *at);
        due.into_iter().map(|(_, store)| store).collect()
    }

    /// The next event whose time has come.
    pub fn timed(&mut self, now: Duration) -> Option<Fault> {
        let due = self.timed.front()?.due()?;
        if due <= now { self.timed.pop_front() } else { None }
    }

    /// Whether time brings nothing: the usual case, which is to cost nothing.
    pub fn are_timeless(&self) -> bool {
        self.late.is_empty() && self.timed.is_empty()
    }

    /// Forgets what is under way: the device was reset or cut off from memory.
    pub fn forget(&mut self) {
        self.late.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    #[test]
    fn each_event_has_its_own_count() {
        let spoiled = |side, nth| Fault::WriteBack {
            side,
            nth,
            how: Spoiled::Never,
        };
        let mut faults = Faults::new(vec![
            Fault::Removed { access: 2 },
            Fault::Dma { nth: 1 },
            spoiled(Side::Rx, 0),
            spoiled(Side::Tx, 1),
            Fault::LostInterrupt { nth: 1 },
        ]);
        assert_eq!(
            [0; 4].map(|_| faults.access_removes()),
            [false, false, true, false]
        );
        assert_eq!([0; 3].map(|_| faults.dma_refused()), [false, true, false]);
        let never = Some(Spoiled::Never);
        assert_eq!(
            [Side::Rx, Side::Tx, Side::Tx, Side::Rx].map(|side| faults.write_back(side)),
            [never, None, never, None]
        );
        assert_eq!([0; 3].map(|_| faults.interrupt_lost()), [false, true, false]);
    }

    #[test]
    fn a_stuck_register_reads_wrongly_for_a_while() {
        let mut faults = Faults::new(vec![Fault::Stuck {
            bar: 0,
            offset: 8,
            set: 4,
            clear: 1,
            after: 1,
            reads: 2,
        }]);
        assert_eq!((faults.read(0, 4, 3), faults.read(1, 8, 3)), (3, 3));
        assert_eq!([0; 4].map(|_| faults.read(0, 8, 3)), [3, 6, 6, 3]);
    }

    #[test]
    fn what_was_put_off_comes_in_time_and_not_after_a_reset() {
        let link = |at, up| Fault::Link { at: us(at), up };
        let mut faults = Faults::new(vec![link(9, true), link(5, false)]);
        faults.put_off(us(8), (2, 20, 8));
        faults.put_off(us(3), (1, 10, 8));
        assert_eq!((faults.late(us(2)), faults.timed(us(4))), (vec![], None));
        assert_eq!(
            (faults.late(us(8)), faults.late(us(8))),
            (vec![(1, 10, 8), (2, 20, 8)], vec![])
        );
        assert_eq!(faults.timed(us(9)), Some(link(5, false)));
        assert_eq!(
            (faults.timed(us(9)), faults.timed(us(9))),
            (Some(link(9, true)), None)
        );
        faults.put_off(us(9), (1, 1, 8));
        faults.forget();
        assert_eq!(faults.late(us(99)), []);
    }
}
