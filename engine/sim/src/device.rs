//! A model behind the engine's in-process bus.

use crate::config::ConfigSpace;
use crate::counts::{Counts, MAX_QUEUES};
use crate::host::{Corrupt, Host};
use crate::peer::{Kick, Peer};
use barline::bus::local::LocalDevice;
use barline::mem::{DmaFault, LocalDomain, order};
use std::fmt::{self, Debug};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

/// What a register write asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing beyond the register.
    None,
    /// The device may have something to do now.
    Run,
    /// New receive descriptors of this queue.
    RxDoorbell(u8),
    /// New transmit descriptors of this queue.
    TxDoorbell(u8),
}

/// A device written from its data sheet. Every method is called with the device's lock held.
pub trait Model: Debug + Send + 'static {
    /// Configuration space.
    fn config(&self) -> &ConfigSpace;
    /// Configuration space, to write.
    fn config_mut(&mut self) -> &mut ConfigSpace;
    /// Length of a BAR in bytes, 0 where there is none.
    fn bar_len(&self, index: u8) -> usize;
    /// Number of MSI-X vectors.
    fn msix_vectors(&self) -> u16;
    /// A register read by the host.
    fn read(&mut self, host: &mut Host, bar: u8, offset: usize) -> u32;
    /// A register write by the host.
    fn write(&mut self, host: &mut Host, bar: u8, offset: usize, value: u32) -> Effect;
    /// Moves up to `budget` frames each way; how many it moved (the budget: there may be more).
    fn run(&mut self, host: &mut Host, budget: u32) -> u32;
    /// Function-level reset of everything but configuration space.
    fn reset(&mut self);
    /// The cable is plugged in or pulled.
    fn set_link(&mut self, host: &mut Host, up: bool);
}

/// Whose time the device runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// The caller's: a doorbell write runs the device before it returns. Deterministic.
    #[default]
    Sync,
    /// A thread of its own: register writes only store.
    Thread,
}

/// Frames a run moves before it lets others at the lock.
const SYNC_BUDGET: u32 = 4096;
const THREAD_BUDGET: u32 = 256;
/// Runs in a row on a caller's stack, so that a source without end cannot keep it.
const MOST_RUNS: u32 = 16;
/// An idle thread first yields, then sleeps.
const YIELDS: u32 = 64;
const NAP: Duration = Duration::from_micros(100);

/// A [`Model`] behind the engine's in-process bus, with the counts and knobs that tests need.
///
/// One lock, held while the model acts and never while another device is told of frames: a device that is kicked
/// while somebody holds its lock only notes it, and the holder looks again after it let go ("combining").
pub struct SimDevice<M: Model> {
    core: Arc<Core<M>>,
    worker: Option<JoinHandle<()>>,
}

struct Core<M> {
    state: Mutex<State<M>>,
    /// There may be work that no run has seen yet.
    pending: AtomicBool,
    stop: AtomicBool,
    /// Callers that want the lock: the thread lets them in.
    waiting: AtomicUsize,
    thread: OnceLock<Thread>,
    asleep: AtomicBool,
    mode: Mode,
}

struct State<M> {
    model: M,
    host: Host,
    held: bool,
    gone: bool,
}

impl<M: Model> SimDevice<M> {
    /// Plugs `model` into the machine (`domain`) and its port into `peer`.
    pub fn new(model: M, domain: Arc<LocalDomain>, peer: Box<dyn Peer>, mode: Mode) -> Arc<Self> {
        let host = Host::new(domain, peer, model.msix_vectors());
        let core = Arc::new(Core {
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
        });
        let as_kick: Arc<dyn Kick> = core.clone();
        core.lock().host.peer().attach(Arc::downgrade(&as_kick));
        let worker = (mode == Mode::Thread).then(|| {
            let core = core.clone();
            std::thread::spawn(move || core.work())
        });
        Arc::new(Self { core, worker })
    }

    /// What crossed between device and host so far.
    pub fn counts(&self) -> Counts {
        self.core.with(|state| state.host.counts)
    }

    /// Looks at the model (its misuse list, its registers) without side effects.
    pub fn model<R>(&self, look: impl FnOnce(&M) -> R) -> R {
        self.core.with(|state| look(&state.model))
    }

    /// The device processes nothing until [`SimDevice::release`]; registers still answer.
    pub fn hold(&self) {
        self.core.with(|state| state.held = true);
    }

    /// Ends [`SimDevice::hold`] and catches up.
    pub fn release(&self) {
        self.core.with(|state| state.held = false);
        self.core.kick();
    }

    /// Moves up to `frames` frames each way now, held or not; how many it moved.
    pub fn step(&self, frames: u32) -> u32 {
        let (moved, owed) = self.core.with(|state| {
            let moved = state.run(frames);
            (moved, state.host.peer().owed_kick())
        });
        fire(owed);
        moved
    }

    /// Plugs the cable in or pulls it.
    pub fn set_link(&self, up: bool) {
        self.core.with(|state| {
            let State { model, host, .. } = state;
            model.set_link(host, up);
        });
        self.core.kick();
    }

    /// Takes the device out of the machine: reads are all ones, writes are lost, nothing moves any more.
    pub fn surprise_remove(&self) {
        self.core.with(|state| state.gone = true);
    }

    /// Spoils the next receive descriptor that is written back; calls queue up, one a descriptor.
    pub fn corrupt_next_receive(&self, corrupt: Corrupt) {
        self.core.with(|state| state.host.corrupt.push_back(corrupt));
    }

    /// Makes the device write where it has no business to, so that a test sees the fault caught.
    ///
    /// # Errors
    /// The fault. `Ok` means that the write went through: the IOMMU would not have caught it.
    pub fn stray_write(&self, iova: u64, bytes: &[u8]) -> Result<(), DmaFault> {
        self.core.with(|state| state.host.write(iova, bytes))
    }
}

impl<M: Model> Kick for SimDevice<M> {
    fn kick(&self) {
        self.core.kick();
    }
}

impl<M: Model> Drop for SimDevice<M> {
    fn drop(&mut self) {
        self.core.stop.store(true, Ordering::SeqCst);
        if let Some(worker) = self.worker.take() {
            worker.thread().unpark();
            // It cannot be this thread: the worker never owns the device. A panic in it was reported already.
            let _ = worker.join();
        }
    }
}

impl<M: Model> Debug for SimDevice<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.fmt(f)
    }
}

impl<M: Model> Debug for Core<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimDevice({:?})", self.mode)
    }
}

fn fire(owed: Option<Arc<dyn Kick>>) {
    if let Some(device) = owed {
        device.kick();
    }
}

impl<M: Model> State<M> {
    fn run(&mut self, budget: u32) -> u32 {
        if self.gone {
            return 0;
        }
        self.model.run(&mut self.host, budget)
    }
}

impl<M: Model> Core<M> {
    fn lock(&self) -> MutexGuard<'_, State<M>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Acts under the lock, then looks whether a kick came meanwhile.
    fn with<R>(&self, act: impl FnOnce(&mut State<M>) -> R) -> R {
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
    fn work(&self) {
        let _ = self.thread.set(std::thread::current());
        let mut idle = 0;
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
            idle = if moved > 0 { 0 } else { idle + 1 };
            if idle > YIELDS {
                self.nap();
            } else if idle > 0 {
                std::thread::yield_now();
            }
        }
    }

    fn nap(&self) {
        self.asleep.store(true, Ordering::SeqCst);
        if !self.pending.load(Ordering::SeqCst) {
            std::thread::park_timeout(NAP);
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

    fn bar_write(&self, bar: u8, offset: usize, value: u32) {
        let (effect, owed) = self.with(|state| {
            let State {
                model,
                host,
                held,
                gone,
            } = state;
            if *gone {
                return (Effect::None, None);
            }
            host.counts.writes += 1;
            let effect = model.write(host, bar, offset, value);
            match effect {
                Effect::RxDoorbell(queue) => host.counts.rx_doorbells[usize::from(queue) % MAX_QUEUES] += 1,
                Effect::TxDoorbell(queue) => host.counts.tx_doorbells[usize::from(queue) % MAX_QUEUES] += 1,
                Effect::None | Effect::Run => {}
            }
            if effect == Effect::None || *held || self.mode == Mode::Thread {
                return (effect, None);
            }
            self.run_here(state);
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

impl<M: Model> LocalDevice for SimDevice<M> {
    fn config_read(&self, offset: u16, buf: &mut [u8]) {
        self.core.with(|state| match state.gone {
            true => buf.fill(0xff),
            false => state.model.config().read(offset, buf),
        });
    }

    fn config_write(&self, offset: u16, buf: &[u8]) {
        self.core.with(|state| {
            let State {
                model,
                host,
                gone: false,
                ..
            } = state
            else {
                return;
            };
            model.config_mut().write(offset, buf);
            host.master = model.config().bus_master();
        });
        self.core.kick();
    }

    fn bar_len(&self, index: u8) -> usize {
        self.core.with(|state| state.model.bar_len(index))
    }

    fn bar_read(&self, index: u8, offset: usize) -> u32 {
        self.core.with(|state| {
            let State {
                model, host, gone, ..
            } = state;
            host.counts.reads += 1;
            if *gone {
                u32::MAX
            } else {
                model.read(host, index, offset)
            }
        })
    }

    fn bar_write(&self, index: u8, offset: usize, value: u32) {
        self.core.bar_write(index, offset, value);
    }

    fn msix_vectors(&self) -> u16 {
        self.core.with(|state| state.model.msix_vectors())
    }

    fn set_msix(&self, vector: u16, fd: Option<OwnedFd>) {
        self.core.with(|state| {
            if let Some(slot) = state.host.vectors.get_mut(usize::from(vector)) {
                *slot = fd.map(File::from);
            }
        });
    }

    fn reset(&self) {
        self.core.with(|state| {
            let State { model, host, .. } = state;
            model.config_mut().reset();
            model.reset();
            host.master = false;
        });
    }
}
