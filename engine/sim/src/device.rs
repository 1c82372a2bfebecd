//! A model behind the engine's in-process bus.

use crate::clock::Clock;
use crate::combine::{Core, State, fire};
use crate::config::ConfigSpace;
use crate::counts::Counts;
use crate::fault::{Fault, Faults, Side, Spoiled};
use crate::host::{Corrupt, Host};
use crate::ledger::Ledger;
use crate::peer::{Kick, Peer};
use barline::bus::local::LocalDevice;
use barline::mem::{DmaFault, LocalDomain};
use std::fmt::{self, Debug};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a register write asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing beyond the register.
    None,
    /// The device may have something to do now.
    Run,
    /// There is a command to obey: a device that is held does that too.
    Command,
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
    /// A register read of 1 or 2 bytes, naturally aligned: the bytes of its word, unless the device knows better.
    fn read_narrow(&mut self, host: &mut Host, bar: u8, offset: usize, bytes: u8) -> u32 {
        let word = self.read(host, bar, offset & !3);
        word >> (offset % 4 * 8) & narrow_mask(bytes)
    }
    /// A register write of 1 or 2 bytes. Registers of most devices are words: a narrower write is lost.
    fn write_narrow(&mut self, host: &mut Host, bar: u8, offset: usize, bytes: u8, value: u32) -> Effect {
        let _ = (host, bar, offset, bytes, value);
        Effect::None
    }
    /// A read of configuration space: for devices where it does more than read.
    fn config_read(&mut self, host: &mut Host, offset: u16, buf: &mut [u8]) {
        let _ = host;
        self.config().read(offset, buf);
    }
    /// A write to configuration space. True where it asks for a function-level reset.
    fn config_write(&mut self, host: &mut Host, offset: u16, buf: &[u8]) -> bool {
        let _ = host;
        self.config_mut().write(offset, buf);
        false
    }
    /// Obeys commands and moves up to `budget` frames each way; how many it moved (the budget: there may be more).
    fn run(&mut self, host: &mut Host, budget: u32) -> u32;
    /// Function-level reset of everything but configuration space.
    fn reset(&mut self);
    /// The cable is plugged in or pulled.
    fn set_link(&mut self, host: &mut Host, up: bool);
}

/// The bits of an access of 1, 2 or 4 bytes.
fn narrow_mask(bytes: u8) -> u32 {
    u32::MAX >> (32 - 8 * u32::from(bytes.clamp(1, 4)))
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

/// A [`Model`] behind the engine's in-process bus, with the counts and knobs that tests need.
///
/// One lock, held while the model acts and never while another device is told of frames: a device that is kicked
/// while somebody holds its lock only notes it, and the holder looks again after it let go ("combining").
pub struct SimDevice<M: Model> {
    core: Arc<Core<M>>,
    worker: Option<JoinHandle<()>>,
    clock: Arc<Clock>,
}

impl<M: Model> SimDevice<M> {
    /// Plugs `model` into the machine (`domain`) and its port into `peer`.
    pub fn new(model: M, domain: Arc<LocalDomain>, peer: Box<dyn Peer>, mode: Mode) -> Arc<Self> {
        Self::faulty(model, domain, peer, mode, Clock::real(), Vec::new())
    }

    /// Likewise, by `clock` and with planned faults.
    pub fn faulty(
        model: M,
        domain: Arc<LocalDomain>,
        peer: Box<dyn Peer>,
        mode: Mode,
        clock: Arc<Clock>,
        faults: Vec<Fault>,
    ) -> Arc<Self> {
        let mut host = Host::new(domain, peer, model.msix_vectors());
        (host.clock, host.faults) = (clock.clone(), Faults::new(faults));
        let core = Arc::new(Core::new(model, host, mode));
        let as_kick: Arc<dyn Kick> = core.clone();
        core.lock().host.peer().attach(Arc::downgrade(&as_kick));
        let worker = (mode == Mode::Thread).then(|| {
            let core = core.clone();
            std::thread::spawn(move || core.work())
        });
        Arc::new(Self { core, worker, clock })
    }

    /// What became of the frames so far.
    pub fn ledger(&self) -> Ledger {
        self.core.with(|state| state.host.ledger)
    }

    /// Whether it may reach memory: it is there, and a bus master.
    pub fn is_master(&self) -> bool {
        self.core.with(|state| state.host.master && !state.gone)
    }

    /// Whether it was taken out of the machine.
    pub fn is_gone(&self) -> bool {
        self.core.with(|state| state.gone)
    }

    /// What crossed between device and host so far.
    pub fn counts(&self) -> Counts {
        self.core.with(|state| state.host.counts)
    }

    /// Looks at the model (its misuse list, its registers) without side effects.
    pub fn model<R>(&self, look: impl FnOnce(&M) -> R) -> R {
        self.core.with(|state| look(&state.model))
    }

    /// The device moves no frames until [`SimDevice::release`]; registers still answer, and commands are obeyed.
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

    /// Spoils the next descriptor of a side that is written back; calls queue up, and come before what is planned.
    pub fn spoil_next(&self, side: Side, how: Spoiled) {
        self.core.with(|state| state.host.faults.ask(side, how));
    }

    /// From now on bits of a 32-bit register read as 1 (`set`) or 0 (`clear`), until [`SimDevice::unstick`].
    pub fn stick(&self, bar: u8, offset: u32, set: u32, clear: u32) {
        self.core.with(|state| {
            state.host.faults.add(Fault::Stuck {
                bar,
                offset,
                set,
                clear,
                after: 0,
                reads: u32::MAX,
            });
        });
    }

    /// All registers read as they are, those too that were planned to be stuck.
    pub fn unstick(&self) {
        self.core.with(|state| state.host.faults.unstick());
    }

    /// Sends an interrupt message that nothing caused.
    pub fn interrupt(&self, vector: u16) {
        self.core.with(|state| state.host.raise(vector));
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

impl<M: Model> LocalDevice for SimDevice<M> {
    fn config_read(&self, offset: u16, buf: &mut [u8]) {
        self.core.with(|state| match state.access() {
            true => buf.fill(0xff),
            false => {
                let State { model, host, .. } = state;
                model.config_read(host, offset, buf);
            }
        });
    }

    fn config_write(&self, offset: u16, buf: &[u8]) {
        self.core.with(|state| {
            if state.access() {
                return;
            }
            let State { model, host, .. } = state;
            if model.config_write(host, offset, buf) {
                model.config_mut().reset();
                model.reset();
            }
            host.master = model.config().bus_master();
            if !host.master {
                host.faults.forget();
            }
        });
        self.core.kick();
    }

    fn bar_len(&self, index: u8) -> usize {
        self.core.with(|state| state.model.bar_len(index))
    }

    fn bar_read(&self, index: u8, offset: usize) -> u32 {
        self.core
            .bar_read(index, offset, |model, host| model.read(host, index, offset))
    }

    fn bar_write(&self, index: u8, offset: usize, value: u32) {
        self.core
            .bar_write(|model, host| model.write(host, index, offset, value));
    }

    fn bar_read_part(&self, index: u8, offset: usize, bytes: usize) -> u32 {
        let narrow = match bytes {
            1 | 2 => bytes as u8,
            _ => return self.bar_read(index, offset),
        };
        let value = self.core.bar_read(index, offset, |model, host| {
            model.read_narrow(host, index, offset, narrow)
        });
        value & narrow_mask(narrow)
    }

    fn bar_write_part(&self, index: u8, offset: usize, bytes: usize, value: u32) {
        let narrow = match bytes {
            1 | 2 => bytes as u8,
            _ => return self.bar_write(index, offset, value),
        };
        let value = value & narrow_mask(narrow);
        self.core
            .bar_write(|model, host| model.write_narrow(host, index, offset, narrow, value));
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
            host.faults.forget();
            host.master = false;
        });
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn pause(&self, time: Duration) {
        self.clock.pass(time);
        // What the device puts off for a time of its own making happens while its driver waits.
        self.core.kick();
    }
}
