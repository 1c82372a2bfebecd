//! The gate with a worker that makes no barrier (`src/turn.rs`), in every order of its steps on a processor that keeps stores back: a
//! thread's stores reach the others in their order, but any time after its later loads (x86's). The control thread's barrier in all
//! threads makes the worker's stores reach them at that moment (membarrier(2)).
//!
//! The steps are those of `turn.rs`, said once more: `gate_loom.rs` runs the code itself, but leaves out orders (a store is reordered with
//! the last access before it alone) in which a worker that looks too early, or a control thread that does, is found.

use std::collections::{HashSet, VecDeque};

/// What a worker does, over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// The epoch becomes odd.
    Enter,
    /// Looks at the generation, and takes the setup if it is another.
    Look,
    /// Uses the ring, if it has one.
    Use,
    /// The epoch becomes even.
    Leave,
}

/// What the control thread does, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Control {
    /// Takes the setup away; the next generation.
    Publish,
    /// The barrier in all threads.
    Barrier,
    /// Looks at the epoch.
    See,
    /// Waits while it is odd and the same; then the ring is the control thread's.
    Await,
}

const WORKER: [Work; 4] = [Work::Enter, Work::Look, Work::Use, Work::Leave];
const CONTROL: [Control; 4] = [Control::Publish, Control::Barrier, Control::See, Control::Await];
/// Bursts of the worker: before, across and after.
const BURSTS: usize = 3;

/// Everything, between two steps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct State {
    generation: u32,
    /// As others see it, and the worker's stores that they do not see yet.
    epoch: u32,
    kept: VecDeque<u32>,
    /// Steps done.
    worker: usize,
    control: usize,
    /// The worker's own: its epoch, the generation that it knows, and whether it has the ring.
    own: u32,
    known: u32,
    ring: bool,
    seen: u32,
    taken: bool,
}

impl State {
    /// The worker's next step; false where it uses a ring that was taken from it.
    fn work(&mut self, step: Work) -> bool {
        match step {
            Work::Enter => self.kept.push_back(self.own | 1),
            Work::Look if self.generation != self.known => {
                // Under the lock, which is a barrier.
                self.reach();
                (self.known, self.ring) = (self.generation, self.generation == 0);
            }
            Work::Look => {}
            Work::Use => return !(self.ring && self.taken),
            Work::Leave => {
                self.own += 2;
                self.kept.push_back(self.own);
            }
        }
        true
    }

    /// The control thread's next step; false where it has to wait.
    fn rule(&mut self, step: Control) -> bool {
        match step {
            Control::Publish => self.generation += 1,
            Control::Barrier => self.reach(),
            Control::See => self.seen = self.epoch,
            Control::Await if self.seen % 2 == 1 && self.seen == self.epoch => return false,
            Control::Await => self.taken = true,
        }
        true
    }

    /// All of the worker's stores reach the others.
    fn reach(&mut self) {
        self.epoch = self.kept.drain(..).next_back().unwrap_or(self.epoch);
    }
}

/// Tries every order; whether the ring was ever in two hands, and how many states there were.
fn explore(worker: &[Work], control: &[Control]) -> (bool, usize) {
    let start = State {
        ring: true,
        ..State::default()
    };
    let (mut known, mut open) = (HashSet::from([start.clone()]), vec![start]);
    let mut trespassed = false;
    while let Some(state) = open.pop() {
        let mut next = Vec::new();
        if state.worker < BURSTS * worker.len() {
            let mut after = state.clone();
            after.worker += 1;
            trespassed |= !after.work(worker[state.worker % worker.len()]);
            next.push(after);
        }
        if let Some(step) = control.get(state.control) {
            let mut after = state.clone();
            after.control += 1;
            if after.rule(*step) {
                next.push(after);
            }
        }
        let mut after = state;
        if let Some(epoch) = after.kept.pop_front() {
            after.epoch = epoch;
            next.push(after);
        }
        open.extend(next.into_iter().filter(|state| known.insert(state.clone())));
    }
    (trespassed, known.len())
}

#[test]
fn the_barrier_in_all_threads_keeps_the_worker_out() {
    let (trespassed, states) = explore(&WORKER, &CONTROL);
    assert!(!trespassed);
    assert!(states > 400, "{states}");
}

/// Each part of it is needed: where one is missing or comes too early, the ring is in two hands in some order.
#[test]
fn no_step_may_be_left_out_or_come_earlier() {
    use Control::{Await, Barrier, Publish, See};
    use Work::{Enter, Leave, Look, Use};
    for control in [
        &[Publish, See, Await][..],
        &[Publish, See, Barrier, Await],
        &[Barrier, Publish, See, Await],
        &[Publish, Barrier, Await],
    ] {
        assert!(explore(&WORKER, control).0, "{control:?}");
    }
    for worker in [
        &[Look, Enter, Use, Leave][..],
        &[Enter, Use, Look, Leave],
        &[Enter, Look, Leave, Use],
        &[Look, Use],
    ] {
        assert!(explore(worker, &CONTROL).0, "{worker:?}");
    }
}
