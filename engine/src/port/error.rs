use crate::bus::BusError;
use crate::mem::{DmaError, MemoryError, PlanError};
use crate::mmio::MmioError;
use std::sync::Weak;

/// Why a port could not be opened, started or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PortError {
    /// A value that the port cannot take.
    #[error("{0}")]
    Config(String),
    /// The machine lacks something; the text says what, and how to mend it.
    #[error("{0}")]
    Lacks(String),
    /// What a started port could not do, such as write to a full disk; the text says why.
    #[error("{0}")]
    Failed(String),
    /// Not this port.
    #[error("this port cannot {0}")]
    Unsupported(&'static str),
    /// Not a device of this driver.
    #[error("{found} is not a device of the {driver} driver; it knows {known}")]
    WrongDevice {
        /// Driver.
        driver: &'static str,
        /// What is there.
        found: crate::pci::PciId,
        /// What it knows.
        known: String,
    },
    /// Called in the wrong state.
    #[error("the port is {0}")]
    State(&'static str),
    /// A register.
    #[error(transparent)]
    Mmio(#[from] MmioError),
    /// The bus.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// Memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// Mapping.
    #[error(transparent)]
    Dma(#[from] DmaError),
    /// The plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

impl PortError {
    /// What only a started port can do.
    pub const STOPPED: Self = Self::State("stopped; start it first");
}

/// Whether a port may start: it does not run, and nothing that queues of its last start kept alive is there any more.
///
/// # Errors
/// [`PortError::State`].
pub fn may_start<T>(running: bool, last: &Weak<T>) -> Result<(), PortError> {
    match () {
        () if running => Err(PortError::State("started already; stop it first")),
        () if last.strong_count() > 0 => Err(PortError::State(
            "waiting for queues of its last start; drop them first",
        )),
        () => Ok(()),
    }
}
