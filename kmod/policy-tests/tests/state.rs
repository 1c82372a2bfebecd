//! The state machine, whole: every state with every event, and every path through them.

use kmod_policy_tests::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const ENODEV: i32 = 19;
const EINVAL: i32 = 22;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Bound,
    Open,
    Attached,
    Master,
    SuspendedOpen,
    SuspendedAttached,
    WokenOpen,
    WokenAttached,
    Revoked,
}
use State::*;
const STATES: [State; 9] = [
    Bound,
    Open,
    Attached,
    Master,
    SuspendedOpen,
    SuspendedAttached,
    WokenOpen,
    WokenAttached,
    Revoked,
];

const OPEN: u32 = 0;
const CLOSE: u32 = 1;
const ATTACH: u32 = 2;
const DETACH: u32 = 3;
const MASTER_ON: u32 = 4;
const MASTER_OFF: u32 = 5;
const RESET: u32 = 6;
const ACCESS: u32 = 7;
const SUSPEND: u32 = 8;
const RESUME: u32 = 9;
const PM_ACK: u32 = 10;
const REVOKE: u32 = 11;
const EVENTS: std::ops::Range<u32> = 0..12;

const ZAP: u32 = 1 << 1;
const STOP_MASTER: u32 = 1 << 2;
const DRAIN: u32 = 1 << 3;
const IRQS_MASK: u32 = 1 << 4;
const IRQS_OFF: u32 = 1 << 5;
const DO_RESET: u32 = 1 << 6;
const REARM: u32 = 1 << 7;
const DO_ATTACH: u32 = 1 << 8;
const DO_DETACH: u32 = 1 << 9;
const START_MASTER: u32 = 1 << 10;

/// The hardware, as the orders of a step leave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Hardware {
    domain: bool,
    master: bool,
    /// Bus master went off, but not every transaction has ended.
    in_flight: bool,
    mapped: bool,
    irqs: bool,
}

impl Hardware {
    const CLEAN: Self = Self {
        domain: false,
        master: false,
        in_flight: false,
        mapped: false,
        irqs: false,
    };

    /// Carries one order out; the rules it may not break are the review's (R12, R20, R21).
    fn order(&mut self, bit: u32) {
        match bit {
            ZAP => self.mapped = false,
            STOP_MASTER => (self.in_flight, self.master) = (self.in_flight || self.master, false),
            DRAIN => {
                assert!(!self.master, "drained while the device may send more");
                self.in_flight = false;
            }
            IRQS_OFF => self.irqs = false,
            DO_RESET => assert!(!self.mapped, "reset under a mapping"),
            DO_ATTACH => {
                assert!(!self.domain);
                self.domain = true;
            }
            DO_DETACH => {
                assert!(
                    self.domain && !self.master && !self.in_flight,
                    "domain taken away under DMA"
                );
                assert!(!self.mapped && !self.irqs);
                self.domain = false;
            }
            START_MASTER => {
                assert!(self.domain, "DMA without a domain");
                self.master = true;
            }
            _ => {}
        }
    }
}

/// Legal events by the picture in state.h, and where they lead; errors by what is wrong.
fn expected(state: State, event: u32) -> Option<State> {
    let next = match (state, event) {
        (Revoked, _) => return None,
        (_, REVOKE) => Revoked,
        (Bound, SUSPEND | RESUME) => Bound,
        (Bound, OPEN) => Open,
        (Bound, _) => return None,
        (_, CLOSE) => Bound,
        (Open | WokenOpen | SuspendedOpen, SUSPEND) => SuspendedOpen,
        (_, SUSPEND) => SuspendedAttached,
        (SuspendedOpen, RESUME) => WokenOpen,
        (SuspendedAttached, RESUME) => WokenAttached,
        (same, RESUME) => same,
        (Open, ATTACH) => Attached,
        (Attached | Master, DETACH) => Open,
        (Attached | Master, MASTER_ON) => Master,
        (Attached | Master, MASTER_OFF | RESET) => Attached,
        (Open, RESET) => Open,
        (Attached | Master | Open, PM_ACK) => state,
        (Attached | Master, ACCESS) => state,
        (WokenOpen, PM_ACK) => Open,
        (WokenAttached, PM_ACK) => Attached,
        (WokenAttached, DETACH) => WokenOpen,
        _ => return None,
    };
    Some(next)
}

#[test]
fn every_state_with_every_event() {
    for state in STATES {
        for event in EVENTS {
            let result = state_next(state as u32, event);
            match (expected(state, event), result) {
                (Some(next), Ok(step)) => assert_eq!(step.state, next as u32, "{state:?} {event}"),
                (None, Err(code)) => assert_eq!(state == Revoked, code == ENODEV, "{state:?} {event}"),
                (want, got) => panic!("{state:?} with {event}: {want:?} wanted, {got:?} got"),
            }
        }
    }
    assert_eq!(state_next(9, 0), Err(EINVAL));
    assert_eq!(state_next(0, 12), Err(EINVAL));
    assert_eq!(state_next(u32::MAX, u32::MAX), Err(EINVAL));
}

/// Every state of module and hardware that can be reached, with the shortest way there.
fn reachable() -> BTreeMap<(State, Hardware), Vec<u32>> {
    let mut seen = BTreeMap::new();
    let mut open = VecDeque::from([(Bound, Hardware::CLEAN, Vec::new())]);
    while let Some((state, hardware, way)) = open.pop_front() {
        if seen.contains_key(&(state, hardware)) {
            continue;
        }
        seen.insert((state, hardware), way.clone());
        for event in EVENTS {
            let Ok(step) = state_next(state as u32, event) else {
                continue;
            };
            let mut after = hardware;
            for bit in (0..32).map(|bit| 1 << bit).filter(|bit| step.todo & bit != 0) {
                after.order(bit);
            }
            let next = STATES[step.state as usize];
            // A process with an address space maps registers and sets interrupts up.
            if matches!(next, Attached | Master) && event != ACCESS {
                let used = Hardware {
                    mapped: true,
                    irqs: true,
                    ..after
                };
                open.push_back((next, used, [way.as_slice(), &[event]].concat()));
            }
            open.push_back((next, after, [way.as_slice(), &[event]].concat()));
        }
    }
    seen
}

/// No path breaks the order of `Hardware::order`, and each state is what its name says.
#[test]
fn every_path_keeps_the_hardware_safe() {
    let seen = reachable();
    let states: BTreeSet<State> = seen.keys().map(|(state, _)| *state).collect();
    assert_eq!(
        states.len(),
        STATES.len(),
        "not all states can be reached: {states:?}"
    );
    for ((state, hardware), way) in &seen {
        let has_domain = matches!(state, Attached | Master | SuspendedAttached | WokenAttached);
        assert_eq!(hardware.domain, has_domain, "{state:?} after {way:?}");
        assert_eq!(state_attached(*state as u32), has_domain);
        assert!(
            !hardware.master || *state == Master,
            "{state:?} with DMA after {way:?}"
        );
        assert!(
            !hardware.in_flight,
            "{state:?} with transactions on their way after {way:?}"
        );
        if !matches!(state, Attached | Master) {
            assert!(!hardware.mapped, "{state:?} with mappings after {way:?}");
        }
        if matches!(state, Bound | Revoked) {
            assert_eq!(*hardware, Hardware::CLEAN, "{state:?} after {way:?}");
        }
    }
}

/// R24, B33: a revoked function does nothing more, and what it had was taken in order.
#[test]
fn revoked_is_the_end() {
    for event in EVENTS {
        assert_eq!(state_next(Revoked as u32, event), Err(ENODEV));
    }
    let step = state_next(Master as u32, REVOKE).expect("it cannot be refused");
    assert_eq!(
        step.todo,
        ZAP | STOP_MASTER | DRAIN | IRQS_OFF | DO_RESET | DO_DETACH
    );
}

/// R25: asleep nothing is allowed; awake the process first says that it knows.
#[test]
fn sleep_takes_access_until_it_is_acknowledged() {
    for state in [SuspendedOpen, SuspendedAttached] {
        for event in [OPEN, ATTACH, DETACH, MASTER_ON, MASTER_OFF, RESET, ACCESS, PM_ACK] {
            assert!(state_next(state as u32, event).is_err(), "{state:?} {event}");
        }
        assert!(!state_can_read_config(state as u32));
    }
    assert!(state_next(WokenAttached as u32, ACCESS).is_err());
    assert!(state_can_read_config(WokenAttached as u32));
    let slept = state_next(Master as u32, SUSPEND)
        .expect("it cannot be refused")
        .todo;
    assert_eq!(slept, ZAP | STOP_MASTER | DRAIN | IRQS_MASK);
    let woke = state_next(SuspendedAttached as u32, RESUME)
        .expect("it cannot be refused")
        .todo;
    assert_eq!(woke, DO_RESET | REARM);
}
