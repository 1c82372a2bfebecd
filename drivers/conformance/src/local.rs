//! The far end of a port whose device is a model in this process.

use crate::{Costs, FarEnd, Mappings, Spoil};
use barline::mem::{DmaFault, LocalDomain};
use barline_sim::{Corrupt, Kick, Model, SimDevice, WireEnd, WireWatch};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// What a model says of its driver's mistakes.
pub type Misuses<M> = fn(&M) -> Vec<String>;

/// The far end of a port on a model: the other end of its wire, and the model's counts and knobs.
pub struct LocalFar<M: Model> {
    device: Arc<SimDevice<M>>,
    domain: Arc<LocalDomain>,
    wire: WireEnd,
    sent: WireWatch,
    misuses: Misuses<M>,
    damage: fn() -> Corrupt,
    faults: Mutex<Vec<DmaFault>>,
}

impl<M: Model> LocalFar<M> {
    /// `wire` is the end that the device does not hold; `damage` makes the device's write-back report a damaged
    /// frame.
    pub fn new(
        device: &Arc<SimDevice<M>>,
        domain: &Arc<LocalDomain>,
        wire: WireEnd,
        misuses: Misuses<M>,
        damage: fn() -> Corrupt,
    ) -> Self {
        Self {
            device: device.clone(),
            domain: domain.clone(),
            sent: wire.watch(),
            wire,
            misuses,
            damage,
            faults: Mutex::default(),
        }
    }
}

impl<M: Model> FarEnd for LocalFar<M> {
    fn inject(&self, frame: &[u8]) -> bool {
        self.wire.send(frame)
    }

    fn take(&self) -> Option<Vec<u8>> {
        self.wire.next_frame()
    }

    fn pending(&self) -> usize {
        self.sent.queued()
    }

    fn complaints(&self) -> Vec<String> {
        let mut complaints = self.device.model(self.misuses);
        let counts = self.device.counts();
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.extend(self.domain.take_faults());
        if counts.dma_faults > 0 || !faults.is_empty() {
            complaints.push(format!(
                "{} DMA faults, {} of them for want of bus mastering; outside mappings: {faults:?}",
                counts.dma_faults, counts.dma_without_master
            ));
        }
        complaints
    }

    fn costs(&self) -> Option<Costs> {
        let counts = self.device.counts();
        Some(Costs {
            reads: counts.reads,
            writes: counts.writes,
            doorbells: counts.doorbells(),
        })
    }

    fn mappings(&self) -> Option<Mappings> {
        Some(Mappings {
            standing: self.domain.mapped(),
            calls: self.domain.map_calls(),
        })
    }

    fn hold(&self, on: bool) -> bool {
        if on {
            self.device.hold();
        } else {
            self.device.release();
        }
        true
    }

    fn set_link(&self, up: bool) -> bool {
        self.device.set_link(up);
        self.device.kick();
        true
    }

    fn remove(&self) -> bool {
        self.device.surprise_remove();
        true
    }

    fn spoil(&self, spoil: Spoil) -> bool {
        self.device.corrupt_next_receive(match spoil {
            Spoil::Damaged => (self.damage)(),
            Spoil::Length(len) => Corrupt::Length(len),
            Spoil::Words(change) => Corrupt::Words(change),
        });
        true
    }
}

impl<M: Model> fmt::Debug for LocalFar<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalFar({:?})", self.device)
    }
}
