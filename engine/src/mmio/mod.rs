//! Device registers: typed offsets, BARs that are mapped or trapped, doorbells.

mod bar;
mod doorbell;
mod reg;
mod sigbus;
mod word;

pub use bar::{Bar, MappedBar, Trap};
pub use doorbell::Doorbell;
pub use reg::{Access, RC, RO, RW, Readable, Reg, RegArray, WO, Writable};
pub use sigbus::BarGuard;
pub use word::Word;

/// What can go wrong on the way to a register.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MmioError {
    /// The BAR is too short for the register.
    #[error(
        "register {register} at {offset:#x} lies outside the BAR of {len} bytes: not the device this driver is for"
    )]
    Outside {
        /// Name in the data sheet.
        register: &'static str,
        /// Offset in bytes.
        offset: usize,
        /// Length of the BAR in bytes.
        len: usize,
    },
    /// A register did not reach the awaited state in time.
    #[error("waited {waited_us} us for {register}: last value {last:#010x}")]
    Timeout {
        /// Name in the data sheet.
        register: &'static str,
        /// Limit in microseconds.
        waited_us: u64,
        /// Last value read.
        last: u32,
    },
    /// Reads return all ones: the device is gone.
    #[error("{register} reads as all ones: the device was removed or is in reset")]
    Gone {
        /// Name in the data sheet.
        register: &'static str,
    },
}
