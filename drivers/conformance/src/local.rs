//! The far end of a port whose device is a model in this process.

use crate::{Costs, FarEnd, Mappings, Mishap, Spoil};
use barline::mem::{DmaFault, LocalDomain};
use barline_sim::{Corrupt, Kick, Model, Side, SimDevice, Spoiled, WireEnd, WireWatch};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What a model says of its driver's mistakes.
pub type Misuses<M> = fn(&M) -> Vec<String>;

/// Bits of a register that are stuck: its BAR and offset, bits that read as 1, bits that read as 0.
pub type Stuck = (u8, u32, u32, u32);

/// What a model needs to know of its device to misbehave.
#[derive(Clone, Copy, Debug)]
pub struct Vices {
    /// The end-of-frame bit of a receive completion, as [`Spoiled::Words`] clears it; none where there is no such bit.
    pub end: Option<[u64; 2]>,
    /// Changes the number of buffers that a receive completion tells; none where it tells none.
    pub parts: Option<fn(&mut [u64; 2], u16)>,
    /// The first receive queue's interrupt.
    pub vector: u16,
    /// Registers by which a reset or a stop never ends.
    pub wedged: &'static [Stuck],
    /// Registers that tell of places in rings; none where there are none.
    pub pointers: &'static [Stuck],
    /// Whether a complaint is the device's own doing, once it has written to the wrong descriptor.
    pub own: fn(&str) -> bool,
}

/// The far end of a port on a model: the other end of its wire, and the model's counts and knobs.
pub struct LocalFar<M: Model> {
    device: Arc<SimDevice<M>>,
    domain: Arc<LocalDomain>,
    wire: WireEnd,
    sent: WireWatch,
    misuses: Misuses<M>,
    damage: fn() -> Corrupt,
    faults: Mutex<Vec<DmaFault>>,
    vices: Option<Vices>,
    strayed: AtomicBool,
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
            vices: None,
            strayed: AtomicBool::new(false),
        }
    }

    /// The same, of a device that can misbehave.
    pub fn with_vices(mut self, vices: Vices) -> Self {
        self.vices = Some(vices);
        self
    }

    /// The next write-back of a side goes to another place.
    fn misplace(&self, side: Side, further: u32) {
        self.strayed.store(true, Ordering::Relaxed);
        self.device.spoil_next(side, Spoiled::Elsewhere(further));
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
        let strayed = self.strayed.load(Ordering::Relaxed);
        if let Some(vices) = self.vices.filter(|_| strayed) {
            complaints.retain(|complaint| !(vices.own)(complaint));
        }
        let counts = self.device.counts();
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.extend(self.domain.take_faults());
        // A device that wrote over an address follows what it wrote, and is refused.
        let outside = !strayed && (counts.dma_faults > 0 || !faults.is_empty());
        if outside || counts.dma_without_master > 0 {
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

    fn mishap(&self, mishap: Mishap) -> bool {
        let Some(vices) = self.vices else {
            return false;
        };
        let device = &self.device;
        let stick = |registers: &[Stuck]| {
            for (bar, offset, set, clear) in registers {
                device.stick(*bar, *offset, *set, *clear);
            }
        };
        match mishap {
            Mishap::LoseReceive => device.spoil_next(Side::Rx, Spoiled::Never),
            Mishap::MisplaceReceive(further) => self.misplace(Side::Rx, further),
            Mishap::LoseReport => device.spoil_next(Side::Tx, Spoiled::Never),
            Mishap::MisplaceReport(further) => self.misplace(Side::Tx, further),
            Mishap::Unended => {
                let Some(clear) = vices.end else { return false };
                device.spoil_next(Side::Rx, Spoiled::Words { clear, flip: [0; 2] });
            }
            Mishap::Parts(count) => {
                let Some(change) = vices.parts else { return false };
                let change = move |words: &mut [u64; 2]| change(words, count);
                device.corrupt_next_receive(Corrupt::Words(Box::new(change)));
            }
            Mishap::Interrupt => device.interrupt(vices.vector),
            Mishap::Wedge => stick(vices.wedged),
            Mishap::Lose if vices.pointers.is_empty() => return false,
            Mishap::Lose => stick(vices.pointers),
            Mishap::Mend => device.unstick(),
        }
        true
    }
}

impl<M: Model> fmt::Debug for LocalFar<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalFar({:?})", self.device)
    }
}
