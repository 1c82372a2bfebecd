//! The devices of the test bed, and as much of a driver for each as the tests take.
//!
//! edu: QEMU's docs/specs/edu.rst. 82576: data sheet revision 2.61, section 8.8 (interrupts); QEMU's igb.

use crate::abi::*;
use crate::host;
use crate::sys::{Dev, Event, Ioas, Mapping, Sys};
use anyhow::{Context, Result, ensure};
use std::thread::sleep;
use std::time::Duration;

/// 82576: resets by itself, MSI-X, power states.
pub const IGB: (u16, u16) = (0x8086, 0x10c9);
/// 82574: I/O ports, a ROM, INTx, MSI and MSI-X.
pub const E1000E: (u16, u16) = (0x8086, 0x10d3);
/// QEMU's teaching device: DMA when told to, INTx and MSI.
pub const EDU: (u16, u16) = (0x1234, 0x11e8);
/// A device with one large BAR.
pub const IVSHMEM: (u16, u16) = (0x1af4, 0x1110);

/// Address of the n-th function with an id.
pub fn nth(id: (u16, u16), index: usize) -> Result<String> {
    let found = host::functions(id.0, id.1);
    found
        .get(index)
        .cloned()
        .with_context(|| format!("no function {index} of {:04x}:{:04x}", id.0, id.1))
}

/// An edu on the root bus, which cannot be reset, and one behind a port, which can.
pub fn edu(resettable: bool) -> Result<String> {
    let mut found = host::functions(EDU.0, EDU.1).into_iter();
    found
        .find(|bdf| bdf.starts_with("0000:00:") != resettable)
        .context("no such edu")
}

/// The edu in a hot-plug slot, which cannot be reset but with its slot.
pub fn edu_in_a_slot() -> Result<String> {
    let found = host::functions(EDU.0, EDU.1);
    let last = found.last().filter(|_| found.len() > 2);
    last.cloned().context("no edu in a slot")
}

/// An open function in an address space.
pub struct Attached {
    /// The function. It comes first: fields are dropped in order.
    pub dev: Dev,
    /// Its address space.
    pub ioas: Ioas,
}

impl Attached {
    /// Binds, opens and attaches.
    pub fn new(bdf: &str) -> Result<Self> {
        host::bind(bdf)?;
        let ioas = Ioas::new()?;
        let dev = Dev::open(bdf).with_context(|| format!("cannot open {bdf}"))?;
        dev.attach(&ioas)
            .with_context(|| format!("cannot attach {bdf}"))?;
        Ok(Self { dev, ioas })
    }

    /// The first 82576.
    pub fn igb() -> Result<Self> {
        Self::new(&nth(IGB, 0)?)
    }

    /// The edu that can be reset.
    pub fn edu() -> Result<Self> {
        Self::new(&edu(true)?)
    }

    /// Its first registers.
    pub fn bar0(&self) -> Result<Mapping> {
        self.dev.mmap(0, 0, 0x2_0000, true).context("cannot map BAR 0")
    }
}

/// Registers of edu.
pub mod edu_reg {
    /// Reads as 0x010000ed.
    pub const ID: u64 = 0x00;
    /// Gives back the complement.
    pub const LIVENESS: u64 = 0x04;
    /// Raises an interrupt.
    pub const RAISE: u64 = 0x60;
    /// Lowers it.
    pub const ACKNOWLEDGE: u64 = 0x64;
    /// Source, destination, bytes, command of a transfer.
    pub const DMA: [u64; 4] = [0x80, 0x88, 0x90, 0x98];
    /// The device's own buffer, as an address of its side.
    pub const BUFFER: u64 = 0x40000;
}

/// What edu says it is.
pub const EDU_ID: u32 = 0x0100_00ed;

/// Starts a transfer of a page from the device's buffer to memory; it takes 100 ms of the guest's time.
pub fn edu_to_memory(registers: &Mapping, iova: u64) {
    let words = [edu_reg::BUFFER, iova, 4096, 1 | 2];
    for (register, word) in edu_reg::DMA.into_iter().zip(words) {
        registers.write(register, word);
    }
}

/// Whether the transfer is under way.
pub fn edu_is_busy(registers: &Mapping) -> bool {
    registers.read::<u64>(edu_reg::DMA[3]) & 1 != 0
}

/// Registers of the 82576's interrupts.
mod igb_reg {
    pub const GPIE: u64 = 0x1514;
    pub const EICS: u64 = 0x1520;
    pub const EIMS: u64 = 0x1524;
    pub const EIAC: u64 = 0x152c;
    pub const EICR: u64 = 0x1580;
}

/// Lets software raise the 82576's MSI-X vectors.
pub fn igb_enable_vectors(registers: &Mapping) {
    registers.write(igb_reg::GPIE, 1_u32 << 4 | 1 << 31);
    registers.write(igb_reg::EIAC, 0x3ff_u32);
    registers.write(igb_reg::EIMS, 0x3ff_u32);
}

/// Raises a vector.
pub fn igb_raise(registers: &Mapping, vector: u32) {
    registers.write(igb_reg::EICR, 1_u32 << vector);
    registers.write(igb_reg::EICS, 1_u32 << vector);
}

/// Sets MSI-X vectors from 0 on.
pub fn igb_vectors(at: &Attached, events: &[&Event]) -> Result<()> {
    let fds: Vec<i32> = events.iter().map(|event| event.fd()).collect();
    let set: Sys<i32> = at.dev.set_eventfds(IRQ_MSIX, 0, &fds);
    ensure!(set == Ok(0), "MSI-X: {set:?}");
    // A message is a write of the device.
    at.dev.master(true).context("bus master")
}

/// A short time of the guest.
pub fn moment() {
    sleep(Duration::from_millis(20));
}
