//! Where a queue's worker and the control thread meet.
//!
//! The control thread changes a ring (its memory, its place, whether it runs at all) in three steps: it *closes* the
//! gate, makes its change, and *opens* the gate with a new [`Setup`]. The worker looks at one number, the generation,
//! once a burst, and takes the new setup when it has changed; it never waits. Closing waits, [`LIMIT`] at most, until the worker
//! is not in a burst that began before ([`Turn`]).
//!
//! Nothing of that is needed for memory to stay mapped: a worker's ring holds what it points into, and the last holder
//! unmaps it. It is needed to keep a promise to the peer: after the answer to GET_VRING_BASE or REM_MEM_REG nobody
//! touches the ring or the region, and the index in the answer is the last one.

use crate::announce::Announcement;
use crate::fault::{Counts, Fault};
use crate::ring::{Ring, Setup};
use crate::sys::barrier;
use crate::turn::{Stuck, Turn, Worker};
use barline::wait::EventFd;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::thread::{sleep, yield_now};
use std::time::{Duration, Instant};

/// Longest wait for the end of a burst. A burst takes microseconds; a worker that has lost its core in the middle of
/// one gets it back within a scheduler's period.
const LIMIT: Duration = Duration::from_secs(1);

/// Between one queue's worker and the control thread.
#[derive(Debug)]
pub(crate) struct Gate {
    turn: Turn<Setup>,
    /// The worker has found the ring to be malformed.
    faulty: AtomicBool,
    /// The port was stopped.
    ended: AtomicBool,
    /// What the worker is to receive besides.
    pub announcement: Announcement,
    /// What a sleeping worker waits for: the peer's kicks, whoever the peer is, and the gate's own.
    wake: Epoll,
    nudge: EventFd,
    counts: Arc<Counts>,
}

impl Gate {
    /// A closed one.
    ///
    /// # Errors
    /// Out of file descriptors: two are needed.
    pub fn new(counts: &Arc<Counts>) -> io::Result<Arc<Self>> {
        let wake = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let nudge = EventFd::new()?;
        // Nothing is read: each raise wakes who watches `wake`, edge-triggered.
        wake.add(&nudge, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        Ok(Arc::new(Self {
            turn: Turn::new(barrier::everywhere()),
            faulty: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            announcement: Announcement::default(),
            wake,
            nudge,
            counts: counts.clone(),
        }))
    }

    /// Takes the ring from the worker and waits until it is out of it; where the ring goes on, if the worker has used it.
    ///
    /// # Errors
    /// The worker did not come out of a burst: the ring must not be opened again.
    pub fn close(&self) -> Result<Option<u16>, Stuck> {
        let end = Instant::now() + LIMIT;
        self.turn.close(|tries| {
            match tries {
                0..64 => yield_now(),
                _ => sleep(Duration::from_micros(20)),
            }
            tries < 64 || Instant::now() < end
        })
    }

    /// Gives the worker a ring. The gate is closed.
    pub fn open(&self, setup: Arc<Setup>) {
        self.turn.open(setup);
        self.wake();
    }

    /// Whether a ring is in use.
    pub fn is_open(&self) -> bool {
        self.turn.is_open() && !self.is_faulty()
    }

    pub fn is_faulty(&self) -> bool {
        self.faulty.load(Acquire)
    }

    /// The peer has set the ring up anew.
    pub fn forgive(&self) {
        self.faulty.store(false, Release);
    }

    /// The port was stopped: for good.
    pub fn end(&self) {
        self.ended.store(true, Release);
        self.wake();
    }

    /// Wakes the worker, if it sleeps.
    pub fn wake(&self) {
        // It fails for a descriptor that is none, which this one is not.
        let _ = self.nudge.raise();
    }

    /// Kicks through this eventfd wake the worker from now on.
    pub fn heed(&self, kick: BorrowedFd<'_>) -> io::Result<()> {
        Ok(self.wake.add(
            kick,
            EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 1),
        )?)
    }

    /// And no more: the peer has it too, so that closing it does not suffice.
    pub fn ignore(&self, kick: BorrowedFd<'_>) {
        let _ = self.wake.delete(kick);
    }
}

/// The worker's side of a gate.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Arc<Gate>,
    worker: Worker,
    ring: Option<Ring>,
    /// Kept for as long as queues of a start are there.
    _life: Arc<()>,
}

impl Pass {
    /// The gate's one worker.
    pub fn new(gate: &Arc<Gate>, life: &Arc<()>) -> Self {
        Self {
            gate: gate.clone(),
            worker: Worker::new(&gate.turn),
            ring: None,
            _life: life.clone(),
        }
    }

    /// Begins a burst; the ring, if there is one to use. [`Pass::leave`] ends it in any case.
    #[inline(always)]
    pub fn enter(&mut self) -> Option<&mut Ring> {
        if self.worker.enter(&self.gate.turn) {
            self.renew();
        }
        self.ring.as_mut()
    }

    /// Ends a burst.
    #[inline(always)]
    pub fn leave(&mut self) {
        self.worker.leave(&self.gate.turn);
    }

    /// Ends a burst that moved something.
    #[inline(always)]
    pub fn leave_at(&mut self) {
        if let Some(ring) = &self.ring {
            self.worker.note(&self.gate.turn, ring.next());
        }
        self.leave();
    }

    /// Takes the setup that is there now.
    #[cold]
    #[inline(never)]
    fn renew(&mut self) {
        self.ring = None;
        let Some(setup) = self.worker.renew(&self.gate.turn) else {
            return;
        };
        match Ring::new(&setup) {
            Some(ring) => {
                ring.disarm();
                self.worker.note(&self.gate.turn, ring.next());
                // What the peer was not told while the ring was away.
                if let Some(call) = &setup.call {
                    let _ = call.raise();
                }
                self.ring = Some(ring);
            }
            // The control thread has tried it out, so it is there; if not, the ring is as malformed as any.
            None => self.halt(&setup, Fault::Address),
        }
    }

    /// Uses the ring no more, until the peer sets it up anew.
    #[cold]
    #[inline(never)]
    pub fn fail(&mut self, fault: Fault) {
        if let Some(ring) = self.ring.take() {
            self.worker.note(&self.gate.turn, ring.next());
            self.halt(&ring.setup, fault);
        }
    }

    fn halt(&self, setup: &Setup, fault: Fault) {
        self.gate.counts.fault(fault);
        self.gate.faulty.store(true, Release);
        if let Some(error) = &setup.error {
            let _ = error.raise();
        }
        tracing::warn!(%fault, "a queue is stopped until its peer sets it up anew");
    }

    pub fn has_ended(&self) -> bool {
        self.gate.ended.load(Acquire)
    }

    /// Whether the control thread has news.
    pub fn has_news(&self) -> bool {
        self.worker.has_news(&self.gate.turn) || self.announcement().is_there()
    }

    /// What is to be received besides.
    #[inline(always)]
    pub fn announcement(&self) -> &Announcement {
        &self.gate.announcement
    }

    /// The ring, between bursts: to look, not to touch.
    pub fn ring(&self) -> Option<&Ring> {
        self.ring.as_ref()
    }

    pub fn wake_fd(&self) -> BorrowedFd<'_> {
        self.gate.wake.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Rules;
    use crate::split::Places;
    use crate::sys::{GuestMemory, Region};
    use barline::offload::Offloads;
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use std::fs::File;
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::SeqCst;

    fn setup(memory: &Arc<GuestMemory>, base: u16) -> Arc<Setup> {
        Arc::new(Setup {
            memory: memory.clone(),
            places: Places {
                descriptors: 0,
                driver: 0x1000,
                device: 0x2000,
            },
            size: 16,
            base,
            fresh: false,
            packed: false,
            event_idx: false,
            mergeable: false,
            offloads: Offloads::empty(),
            rules: Rules {
                write: false,
                least: 12,
                indirect: false,
                most: 16,
            },
            call: None,
            error: None,
            kicks: true,
            log: None,
            log_ring: false,
        })
    }

    fn memory() -> Arc<GuestMemory> {
        let file = File::from(memfd_create(c"gate", MFdFlags::MFD_CLOEXEC).unwrap());
        file.set_len(0x3000).unwrap();
        let region = Region::new(&file, 0, 0x3000, 0, 0).unwrap();
        Arc::new(GuestMemory::default().with(region).unwrap())
    }

    #[test]
    fn a_worker_that_does_not_run_holds_up_nothing() {
        let gate = Gate::new(&Arc::default()).unwrap();
        let mut pass = Pass::new(&gate, &Arc::default());
        assert!(pass.enter().is_none());
        pass.leave();
        let memory = memory();
        gate.open(setup(&memory, 7));
        assert_eq!(gate.close(), Ok(None), "nobody took it");
        gate.open(setup(&memory, 7));
        assert_eq!(pass.enter().map(|ring| ring.next()), Some(7));
        pass.leave_at();
        assert_eq!(gate.close(), Ok(Some(7)));
        assert!(pass.enter().is_none());
        pass.leave();
        assert_eq!(gate.close(), Ok(None), "it is closed");
    }

    #[test]
    fn a_worker_in_the_middle_of_a_burst_is_waited_for() {
        let gate = Gate::new(&Arc::default()).unwrap();
        let mut pass = Pass::new(&gate, &Arc::default());
        gate.open(setup(&memory(), 0));
        assert!(pass.enter().is_some());
        assert_eq!(gate.close(), Err(Stuck), "it does not come out");
        pass.leave();
    }

    #[test]
    fn no_burst_runs_behind_a_closed_gate() {
        let gate = Gate::new(&Arc::default()).unwrap();
        let (memory, inside) = (memory(), Arc::new(AtomicU64::new(0)));
        let mut pass = Pass::new(&gate, &Arc::default());
        let bursts = Arc::new(AtomicU64::new(0));
        let (seen, counted) = (inside.clone(), bursts.clone());
        let worker = std::thread::spawn(move || {
            while !pass.has_ended() {
                if pass.enter().is_some() {
                    seen.store(1, SeqCst);
                    counted.fetch_add(1, SeqCst);
                    seen.store(0, SeqCst);
                }
                pass.leave();
            }
        });
        // On a busy machine the worker may come late.
        gate.open(setup(&memory, 0));
        while bursts.load(SeqCst) == 0 {
            yield_now();
        }
        gate.close().unwrap();
        for _ in 0..2000 {
            gate.open(setup(&memory, 0));
            yield_now();
            gate.close().unwrap();
            for _ in 0..50 {
                assert_eq!(inside.load(SeqCst), 0, "a burst runs behind the closed gate");
            }
        }
        gate.end();
        worker.join().unwrap();
    }
}
