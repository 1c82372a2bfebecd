use crate::SpecError;
use barline::bus::BusError;
use barline::bus::kmod::KmodError;
use barline::bus::vfio::VfioError;
use barline::mem::{DmaError, MemoryError, PlanError};
use barline::pci::{PciAddress, PciId};
use barline::pool::PoolError;
use barline::port::PortError;
use barline_vhost::VhostError;

/// Whose turn it is to mend an error: what an application's exit code tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The run failed.
    Run,
    /// What was asked for is wrong.
    Usage,
    /// The machine lacks something; the message says how to give it that.
    Machine,
}

/// Why a port could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Not the name of a port.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A device that no driver of this build is for.
    #[error(
        "{address} is a {id}, which no driver of this build is for; they know {}",
        crate::list::known()
    )]
    NoDriver {
        /// Where.
        address: PciAddress,
        /// What is there.
        id: PciId,
    },
    /// One port twice.
    #[error("{0} is named twice; name each port once")]
    Twice(PciAddress),
    /// More simulated ports than there are addresses for.
    #[error("{0} simulated ports are the most")]
    TooManySims(usize),
    /// A simulated port cannot tell of events.
    #[error("a simulated port has no file descriptors for its events: {0}; see: ulimit -n")]
    Events(std::io::Error),
    /// VFIO refused.
    #[error(transparent)]
    Vfio(#[from] VfioError),
    /// barline.ko refused.
    #[error(transparent)]
    Kmod(#[from] KmodError),
    /// No socket.
    #[error("vhost-user: {0}")]
    Vhost(#[from] VhostError),
    /// The driver refused.
    #[error("{port}: {source}")]
    Port {
        /// The port as it was named.
        port: String,
        /// Why.
        source: PortError,
    },
    /// Another kind of port refused.
    #[error("{port}: {cause}")]
    Refused {
        /// The port as it was named.
        port: String,
        /// Who can mend it.
        fault: Fault,
        /// Why, and how to mend it.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The plan needs what the machine does not have.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

impl OpenError {
    pub(crate) fn refused(
        port: &impl std::fmt::Display,
        fault: Fault,
        cause: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::Refused {
            port: port.to_string(),
            fault,
            cause: Box::new(cause),
        }
    }

    pub(crate) fn port(port: &impl std::fmt::Display, source: PortError) -> Self {
        let port = port.to_string();
        Self::Port { port, source }
    }

    /// Who can mend it.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Spec(_) | Self::NoDriver { .. } | Self::Twice(_) | Self::TooManySims(_) => Fault::Usage,
            Self::Vfio(error) => fault_of_vfio(error),
            Self::Kmod(error) => fault_of_kmod(error),
            Self::Vhost(VhostError::Options(_) | VhostError::NotASocket(_)) => Fault::Usage,
            Self::Vhost(_) => Fault::Machine,
            Self::Port { source, .. } => fault_of_port(source),
            Self::Refused { fault, .. } => *fault,
            Self::Plan(_) | Self::Events(_) => Fault::Machine,
        }
    }
}

fn fault_of_vfio(error: &VfioError) -> Fault {
    match error {
        VfioError::NoDevice { .. }
        | VfioError::BadToken(_)
        | VfioError::TokenUnused { .. }
        | VfioError::NoVfs { .. } => Fault::Usage,
        VfioError::Os { .. } | VfioError::BadAnswer(_) | VfioError::Handover(_) | VfioError::NotVfio(_) => {
            Fault::Run
        }
        _ => Fault::Machine,
    }
}

fn fault_of_kmod(error: &KmodError) -> Fault {
    match error {
        KmodError::NoDevice { .. } => Fault::Usage,
        KmodError::Os { .. } | KmodError::BadAnswer(_) => Fault::Run,
        _ => Fault::Machine,
    }
}

fn fault_of_dma(error: &DmaError) -> Fault {
    match error {
        DmaError::Private { .. } => Fault::Usage,
        DmaError::Memlock { .. } | DmaError::NoEntries | DmaError::NoWindow { .. } => Fault::Machine,
        _ => Fault::Run,
    }
}

/// Who can mend an error of a port.
pub fn fault_of_port(error: &PortError) -> Fault {
    match error {
        PortError::Config(_) | PortError::Unsupported(_) | PortError::WrongDevice { .. } => Fault::Usage,
        PortError::Memory(_) | PortError::Plan(_) | PortError::Lacks(_) => Fault::Machine,
        PortError::Dma(error) | PortError::Bus(BusError::Dma(error)) => fault_of_dma(error),
        PortError::Bus(BusError::Vfio(error)) => fault_of_vfio(error),
        PortError::Bus(BusError::Kmod(error)) => fault_of_kmod(error),
        _ => Fault::Run,
    }
}

/// Who can mend that a pool could not be made.
pub fn fault_of_memory(error: &PoolError) -> Fault {
    match error {
        PoolError::Shape { .. } => Fault::Usage,
        PoolError::Memory(MemoryError::Os { .. }) => Fault::Run,
        _ => Fault::Machine,
    }
}
