//! The machine as a device model sees it.

use crate::clock::Clock;
use crate::counts::Counts;
use crate::fault::{Fault, Faults, Side, Spoiled};
use crate::ledger::{Fate, Ledger};
use crate::peer::Peer;
use barline::mem::{DmaFault, Iova, LocalDomain};
use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

/// Changes the two words of a descriptor.
pub type Spoil = Box<dyn FnOnce(&mut [u64; 2]) + Send>;

/// How to spoil a receive descriptor on its way back to the host. The words are those of the model's write-back
/// format; for Intel's advanced format the second holds status (31:0, errors from bit 20 on), length (47:32) and
/// VLAN tag (63:48).
pub enum Corrupt {
    /// Another length.
    Length(u16),
    /// These bits of the second word are inverted: status and errors.
    Flip(u64),
    /// Anything.
    Words(Spoil),
}

impl Corrupt {
    fn apply(self, words: &mut [u64; 2]) {
        match self {
            Self::Length(len) => words[1] = (words[1] & !(0xffff << 32)) | (u64::from(len) << 32),
            Self::Flip(bits) => words[1] ^= bits,
            Self::Words(act) => act(words),
        }
    }
}

impl fmt::Debug for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(len) => write!(f, "Length({len})"),
            Self::Flip(bits) => write!(f, "Flip({bits:#x})"),
            Self::Words(_) => f.write_str("Words"),
        }
    }
}

/// A descriptor's place: which one of a ring.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The ring's address.
    pub base: u64,
    /// Descriptors in the ring.
    pub size: u32,
    /// The descriptor.
    pub index: u32,
}

impl Place {
    /// The address of the descriptor `further` places on, which has 16 bytes.
    fn iova(self, further: u32) -> u64 {
        let index = (u64::from(self.index) + u64::from(further)) % u64::from(self.size.max(1));
        self.base.wrapping_add(index * 16)
    }
}

/// The upper half of a word, which a torn write leaves as it was.
const UPPER: u64 = !0xffff_ffff;

/// All that a model sees of the machine around it: memory through the IOMMU, interrupt vectors, the wire.
#[derive(Debug)]
pub struct Host {
    domain: Arc<LocalDomain>,
    peer: Box<dyn Peer>,
    pub(crate) master: bool,
    pub(crate) counts: Counts,
    pub(crate) vectors: Vec<Option<File>>,
    pub(crate) corrupt: VecDeque<Corrupt>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) faults: Faults,
    pub(crate) ledger: Ledger,
    /// When the first frame arrived.
    began: Option<Duration>,
}

impl Host {
    pub(crate) fn new(domain: Arc<LocalDomain>, peer: Box<dyn Peer>, vectors: u16) -> Self {
        Self {
            domain,
            peer,
            master: false,
            counts: Counts::default(),
            clock: Clock::real(),
            faults: Faults::default(),
            ledger: Ledger::default(),
            began: None,
            vectors: (0..vectors).map(|_| None).collect(),
            corrupt: VecDeque::new(),
        }
    }

    /// DMA read of bytes.
    ///
    /// # Errors
    /// The fault: outside a mapping, or the device is no bus master. It is counted.
    pub fn read(&mut self, iova: u64, to: &mut [u8]) -> Result<(), DmaFault> {
        self.check(iova, to.len(), false)?;
        let result = self.domain.read(Iova::new(iova), to);
        self.counted(result)
    }

    /// DMA write of bytes.
    ///
    /// # Errors
    /// As [`Host::read`].
    pub fn write(&mut self, iova: u64, from: &[u8]) -> Result<(), DmaFault> {
        self.check(iova, from.len(), true)?;
        let result = self.domain.write(Iova::new(iova), from);
        self.counted(result)
    }

    /// DMA read of an aligned 64-bit word, with acquire ordering.
    ///
    /// # Errors
    /// As [`Host::read`].
    pub fn load(&mut self, iova: u64) -> Result<u64, DmaFault> {
        self.check(iova, 8, false)?;
        let result = self.domain.load(Iova::new(iova));
        self.counted(result)
    }

    /// DMA write of an aligned 64-bit word, with release ordering.
    ///
    /// # Errors
    /// As [`Host::read`].
    pub fn store(&mut self, iova: u64, value: u64) -> Result<(), DmaFault> {
        self.check(iova, 8, true)?;
        let result = self.domain.store(Iova::new(iova), value);
        self.counted(result)
    }

    /// The next planned event whose time has come.
    pub(crate) fn next_event(&mut self, now: Duration) -> Option<Fault> {
        self.faults.timed(now.checked_sub(self.began?)?)
    }

    fn check(&mut self, iova: u64, len: usize, write: bool) -> Result<(), DmaFault> {
        if write {
            self.counts.dma_writes += 1;
        } else {
            self.counts.dma_reads += 1;
        }
        if self.master && !self.faults.dma_refused() {
            return Ok(());
        }
        if self.master {
            self.counts.dma_refused += 1;
        } else {
            self.counts.dma_faults += 1;
            self.counts.dma_without_master += 1;
        }
        Err(DmaFault {
            iova: Iova::new(iova),
            len,
            write,
        })
    }

    /// Writes a descriptor back, its second word last: as it is, or as badly as planned.
    ///
    /// # Errors
    /// As [`Host::read`].
    pub fn write_back(&mut self, side: Side, place: Place, mut words: [u64; 2]) -> Result<(), DmaFault> {
        if side == Side::Rx {
            self.spoil(&mut words);
        }
        let at = place.iova(0);
        match self.faults.write_back(side) {
            None => self.put(at, words),
            Some(Spoiled::Never) => Ok(()),
            Some(Spoiled::Late(by)) => {
                self.put_off(by, at, words);
                Ok(())
            }
            Some(Spoiled::Torn(by)) => {
                let old = self.load(at + 8)?;
                self.put_off(by, at, words);
                self.store(at + 8, old & UPPER | words[1] & !UPPER)
            }
            Some(Spoiled::Elsewhere(further)) => self.put(place.iova(further), words),
            Some(Spoiled::Words { clear, flip }) => {
                let wrong = [0, 1].map(|at| words[at] & !clear[at] ^ flip[at]);
                self.put(at, wrong)
            }
        }
    }

    fn put(&mut self, at: u64, words: [u64; 2]) -> Result<(), DmaFault> {
        self.store(at, words[0])?;
        self.store(at + 8, words[1])
    }

    fn put_off(&mut self, by: Duration, at: u64, words: [u64; 2]) {
        self.store_later(by, at, words[0], 8);
        self.store_later(by, at + 8, words[1], 8);
    }

    /// Puts a store of the lower `bytes` (8 at most) of `value` off for so long; a reset forgets it.
    pub fn store_later(&mut self, by: Duration, at: u64, value: u64, bytes: usize) {
        let until = self.clock.elapsed() + by;
        self.faults.put_off(until, (at, value, bytes.min(8)));
    }

    /// For models whose write-back is no pair of words in a ring: counts one, lets tests change `words` (whose
    /// meaning the model documents), and says what else is to go wrong with it. [`Spoiled::Words`] is applied here.
    pub fn spoiled(&mut self, side: Side, words: &mut [u64; 2]) -> Option<Spoiled> {
        if side == Side::Rx {
            self.spoil(words);
        }
        match self.faults.write_back(side) {
            Some(Spoiled::Words { clear, flip }) => {
                *words = [0, 1].map(|at| words[at] & !clear[at] ^ flip[at]);
                None
            }
            other => other,
        }
    }

    /// Time since the device's clock was made.
    pub fn now(&self) -> Duration {
        self.clock.elapsed()
    }

    /// Whether any vector leads somewhere: what VFIO's user does instead of writing the MSI-X enable bit.
    pub fn has_vectors(&self) -> bool {
        self.vectors.iter().any(Option::is_some)
    }

    /// Does what was put off until now.
    pub(crate) fn catch_up(&mut self, now: Duration) {
        for (iova, value, bytes) in self.faults.late(now) {
            // A fault is counted where it happens.
            let _ = match bytes {
                8 if iova.is_multiple_of(8) => self.store(iova, value),
                _ => self.write(iova, &value.to_le_bytes()[..bytes]),
            };
        }
    }

    fn counted<T>(&mut self, result: Result<T, DmaFault>) -> Result<T, DmaFault> {
        self.counts.dma_faults += u64::from(result.is_err());
        result
    }

    /// Sends an MSI-X message: signals the vector's eventfd, where there is one.
    pub fn interrupt(&mut self, vector: u16) {
        if !self.faults.interrupt_lost() {
            self.raise(vector);
        }
    }

    pub(crate) fn raise(&mut self, vector: u16) {
        if let Some(Some(fd)) = self.vectors.get_mut(usize::from(vector)) {
            // An eventfd refuses only when its count is at its end: then it is signalled already.
            let sent = fd.write_all(&1u64.to_ne_bytes()).is_ok();
            self.counts.interrupts += u64::from(sent);
        }
    }

    /// Sends a frame (without FCS) out of the port.
    pub fn transmit(&mut self, frame: &[u8]) {
        self.ledger.sent += 1;
        self.peer.transmit(frame);
    }

    /// The next frame that arrives at the port.
    pub fn receive(&mut self, frame: &mut Vec<u8>) -> bool {
        let some = self.peer.receive(frame);
        if some && self.began.is_none() {
            self.began = Some(self.clock.elapsed());
        }
        self.ledger.arrived += u64::from(some);
        some
    }

    /// Whether the frame that arrived last has a wrong FCS: see [`Peer::damaged`].
    pub fn damaged(&self) -> bool {
        self.peer.damaged()
    }

    /// What became of frames that arrived: a model says it once for each.
    pub fn ended(&mut self, fate: Fate, frames: u64) {
        self.ledger.add(fate, frames);
    }

    /// Whether frames may be left waiting at the other end: see [`Peer::patient`].
    pub fn patient(&self) -> bool {
        self.peer.patient()
    }

    /// Frames that arrive while nobody listens are not seen: takes up to `budget` of them and says how many; a patient end
    /// keeps them.
    pub fn lose(&mut self, frame: &mut Vec<u8>, budget: u32) -> u32 {
        if self.patient() {
            return 0;
        }
        let lost = (0..budget).take_while(|_| self.receive(frame)).count() as u32;
        self.ended(Fate::Off, lost.into());
        lost
    }

    /// Spoils a receive descriptor that is about to be written back, where a test asked for it.
    fn spoil(&mut self, words: &mut [u64; 2]) {
        if let Some(corrupt) = self.corrupt.pop_front() {
            corrupt.apply(words);
        }
    }

    pub(crate) fn peer(&mut self) -> &mut dyn Peer {
        &mut *self.peer
    }
}
