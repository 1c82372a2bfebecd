//! The machine as a device model sees it.

use crate::counts::Counts;
use crate::peer::Peer;
use barline::mem::{DmaFault, Iova, LocalDomain};
use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::sync::Arc;

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

/// All that a model sees of the machine around it: memory through the IOMMU, interrupt vectors, the wire.
#[derive(Debug)]
pub struct Host {
    domain: Arc<LocalDomain>,
    peer: Box<dyn Peer>,
    pub(crate) master: bool,
    pub(crate) counts: Counts,
    pub(crate) vectors: Vec<Option<File>>,
    pub(crate) corrupt: VecDeque<Corrupt>,
}

impl Host {
    pub(crate) fn new(domain: Arc<LocalDomain>, peer: Box<dyn Peer>, vectors: u16) -> Self {
        Self {
            domain,
            peer,
            master: false,
            counts: Counts::default(),
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

    fn check(&mut self, iova: u64, len: usize, write: bool) -> Result<(), DmaFault> {
        if write {
            self.counts.dma_writes += 1;
        } else {
            self.counts.dma_reads += 1;
        }
        if self.master {
            return Ok(());
        }
        self.counts.dma_faults += 1;
        self.counts.dma_without_master += 1;
        Err(DmaFault {
            iova: Iova::new(iova),
            len,
            write,
        })
    }

    fn counted<T>(&mut self, result: Result<T, DmaFault>) -> Result<T, DmaFault> {
        self.counts.dma_faults += u64::from(result.is_err());
        result
    }

    /// Sends an MSI-X message: signals the vector's eventfd, where there is one.
    pub fn interrupt(&mut self, vector: u16) {
        if let Some(Some(fd)) = self.vectors.get_mut(usize::from(vector)) {
            // An eventfd refuses only when its count is at its end: then it is signalled already.
            let sent = fd.write_all(&1u64.to_ne_bytes()).is_ok();
            self.counts.interrupts += u64::from(sent);
        }
    }

    /// Sends a frame (without FCS) out of the port.
    pub fn transmit(&mut self, frame: &[u8]) {
        self.peer.transmit(frame);
    }

    /// The next frame that arrives at the port.
    pub fn receive(&mut self, frame: &mut Vec<u8>) -> bool {
        self.peer.receive(frame)
    }

    /// Whether frames may be left waiting at the other end: see [`Peer::patient`].
    pub fn patient(&self) -> bool {
        self.peer.patient()
    }

    /// Spoils a receive descriptor that is about to be written back, where a test asked for it.
    pub fn spoil(&mut self, words: &mut [u64; 2]) {
        if let Some(corrupt) = self.corrupt.pop_front() {
            corrupt.apply(words);
        }
    }

    pub(crate) fn peer(&mut self) -> &mut dyn Peer {
        &mut *self.peer
    }
}
