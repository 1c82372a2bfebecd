//! The lock around a model, and who runs it.

use crate::counts::MAX_QUEUES;
use crate::device::{Effect, Mode, Model};
use crate::fault::Fault;
use crate::host::Host;
use crate::peer::Kick;
use barline::mem::order;
use std::fmt::{self, Debug};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::thread::Thread;
use std::time::Duration;

/// Frames a run moves before it lets others at the lock.
const SYNC_BUDGET: u32 = 4096;
const THREAD_BUDGET: u32 = 256;
/// Runs in a row on a caller's stack, so that a source without end cannot keep it.
const MOST_RUNS: u32 = 16;
/// An idle thread first yields, then sleeps, longer each time: a source without a kick is only seen by looking.
const YIELDS: u32 = 64;
const NAP: Duration = Duration::from_micros(100);
const DOUBLINGS: u32 = 6;

pub(crate) struct Core<M> {
    state: Mutex<State<M>>,
    /// There may be work that no run has seen yet.
    pending: AtomicBool,
    pub(crate) stop: AtomicBool,
    /// Callers that want the lock: the thread lets them in.
    waiting: AtomicUsize,
    thread: OnceLock<Thread>,
    asleep: AtomicBool,
    mode: Mode,
}

pub(crate) struct State<M> {
    pub(crate) model: M,
    pub(crate) host: Host,
    pub(crate) held: bool,
    pub(crate) gone: bool,
}

impl<M: Model> Debug for Core<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimDevice({:?})", self.mode)
    }
}

pub(crate) fn fire(owed: Option<Arc<dyn Kick>>) {
    if let Some(device) = owed {
        device.kick();
    }
}

impl<M: Model> State<M> {
    pub(crate) fn run(&mut self, budget: u32) -> u32 {
        if self.gone {
            return 0;
        }
        self.catch_up();
        self.model.run(&mut self.host, budget)
    }

    /// One access to a register or to configuration space: whether the device is gone, perhaps just now.
    pub(crate) fn access(&mut self) -> bool {
        self.gone |= self.host.faults.access_removes();
        self.host.clock.access();
        if !self.gone {
            self.catch_up();
        }
        self.gone
    }

    /// What was planned for a time that has come.
    fn catch_up(&mut self) {
        if self.host.faults.are_timeless() {
            return;
        }
        let now = self.host.clock.elapsed();
        self.host.catch_up(now);
        while let Some(fault) = self.host.next_event(now) {
            match fault {
                Fault::Link { up, .. } => self.model.set_link(&mut self.host, up),
                Fault::SpuriousInterrupt { vector, .. } => self.host.raise(vector),
                _ => {}
            }
        }
    }
}

impl<M: Model> Core<M> {
    pub(crate) fn new(model: M, host: Host, mode: Mode) -> Self {
        Self {
            state: Mutex::new(State {
                model,
                host,
                held: false,
                gone: false,
            }),
            pending: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            thread: OnceLock::new(),
            asleep: AtomicBool::new(false),
            mode,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State<M>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Acts under the lock, then looks whether a kick came meanwhile.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut State<M>) -> R) -> R {
        if self.mode == Mode::Thread {
            self.waiting.fetch_add(1, Ordering::SeqCst);
        }
        let mut state = self.lock();
        if self.mode == Mode::Thread {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
        let result = act(&mut state);
        drop(state);
        self.look_again();
        result
    }

    /// After an unlock: a kick that failed to get the lock left its note before it tried.
    fn look_again(&self) {
        // The unlock before the load here; the note before the attempt to lock in `kick`.
        order::dma_mb();
        if self.mode == Mode::Sync && self.pending.load(Ordering::Relaxed) {
            self.kick();
        }
    }

    /// Runs while there is work and nobody else does.
    fn combine(&self) {
        while self.pending.load(Ordering::Relaxed) {
            let mut state = match self.state.try_lock() {
                Ok(state) => state,
                Err(TryLockError::Poisoned(state)) => state.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            self.pending.store(false, Ordering::SeqCst);
            if !state.held {
                self.run_here(&mut state);
            }
            let owed = state.host.peer().owed_kick();
            drop(state);
            fire(owed);
            order::dma_mb();
        }
    }

    fn run_here(&self, state: &mut State<M>) {
        for _ in 0..MOST_RUNS {
            if state.run(SYNC_BUDGET) < SYNC_BUDGET {
                return;
            }
        }
    }

    /// The thread of [`Mode::Thread`].
    pub(crate) fn work(&self) {
        let _ = self.thread.set(std::thread::current());
        let mut idle = 0u32;
        while !self.stop.load(Ordering::Relaxed) {
            while self.waiting.load(Ordering::SeqCst) > 0 && !self.stop.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
            self.pending.store(false, Ordering::SeqCst);
            let (moved, owed) = {
                let mut state = self.lock();
                let moved = if state.held { 0 } else { state.run(THREAD_BUDGET) };
                (moved, state.host.peer().owed_kick())
            };
            fire(owed);
            idle = if moved > 0 { 0 } else { idle.saturating_add(1) };
            if idle > YIELDS {
                self.nap(idle - YIELDS - 1);
            } else if idle > 0 {
                std::thread::yield_now();
            }
        }
    }

    fn nap(&self, naps: u32) {
        self.asleep.store(true, Ordering::SeqCst);
        if !self.pending.load(Ordering::SeqCst) {
            std::thread::park_timeout(NAP * (1 << naps.min(DOUBLINGS)));
        }
        self.asleep.store(false, Ordering::SeqCst);
    }

    fn wake(&self) {
        self.pending.store(true, Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    pub(crate) fn bar_read(
        &self,
        bar: u8,
        offset: usize,
        read: impl FnOnce(&mut M, &mut Host) -> u32,
    ) -> u32 {
        self.with(|state| {
            let gone = state.access();
            let State { model, host, .. } = state;
            host.counts.reads += 1;
            if gone {
                return u32::MAX;
            }
            let value = read(model, host);
            host.faults.read(bar, offset, value)
        })
    }

    pub(crate) fn bar_write(&self, write: impl FnOnce(&mut M, &mut Host) -> Effect) {
        let (effect, owed) = self.with(|state| {
            if state.access() {
                return (Effect::None, None);
            }
            let State {
                model, host, held, ..
            } = state;
            host.counts.writes += 1;
            let effect = write(model, host);
            match effect {
                Effect::RxDoorbell(queue) => host.counts.rx_doorbells[usize::from(queue) % MAX_QUEUES] += 1,
                Effect::TxDoorbell(queue) => host.counts.tx_doorbells[usize::from(queue) % MAX_QUEUES] += 1,
                Effect::None | Effect::Run | Effect::Command => {}
            }
            match (effect, *held) {
                (Effect::Command, true) => _ = state.run(0),
                (Effect::None, _) | (_, true) => return (effect, None),
                _ if self.mode == Mode::Thread => return (effect, None),
                _ => self.run_here(state),
            }
            (effect, state.host.peer().owed_kick())
        });
        fire(owed);
        if effect != Effect::None && self.mode == Mode::Thread {
            self.wake();
        }
    }
}

impl<M: Model> Kick for Core<M> {
    fn kick(&self) {
        if self.mode == Mode::Thread {
            self.wake();
            return;
        }
        self.pending.store(true, Ordering::SeqCst);
        // The note before the attempt to lock; the unlock before the look at the note in `look_again`.
        order::dma_mb();
        self.combine();
    }
}
