use crate::kernel::KernelError;
use barline::port::PortError;
use std::io;

/// Why a back end was not taken, or was cut off.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The socket.
    #[error("socket: {0}")]
    Io(#[from] io::Error),
    /// It hung up, or what it answered is no answer.
    #[error("its peer: {0}")]
    Protocol(#[from] vhost::Error),
    /// Something is missing that is needed.
    #[error("its peer does not offer {0}")]
    Lacks(&'static str),
    /// Fewer queues than asked for.
    #[error(
        "its peer has {has} pairs of queues, {wanted} are asked for; write queues={has}, or give the peer more"
    )]
    Queues {
        /// It has.
        has: u64,
        /// Asked for.
        wanted: u16,
    },
    /// It wrote nonsense into a ring.
    #[error("its peer wrote nonsense into a ring")]
    Ring,
    /// It sent what nobody had asked for.
    #[error("its peer sent a message that nobody had asked for")]
    Unasked,
    /// The kernel's vhost-net, or its tap.
    #[error("{0}")]
    Kernel(#[from] KernelError),
    /// Memory for the rings.
    #[error("rings: {0}")]
    Rings(#[from] PortError),
}
