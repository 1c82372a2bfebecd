//! What a refused socket means, and what to do about it.

use crate::AfXdp;
use crate::options::Mode;
use crate::socket::Setup;
use crate::umem::HEADROOM;
use barline::port::PortError;
use std::io;

impl AfXdp {
    /// What a refused socket means.
    pub(crate) fn explain(&self, error: &io::Error, setup: &Setup) -> PortError {
        let (name, queue) = (&self.name, setup.queue);
        let several = setup.flags & libc::XDP_USE_SG != 0;
        match error.raw_os_error() {
            Some(libc::EBUSY) if self.umems.has(setup.interface, queue) => PortError::Config(format!(
                "queue {queue} of {name} is another port's of this program; name each queue once, as in af_xdp:{name},queue={}",
                queue + 1
            )),
            Some(libc::EBUSY) => PortError::Lacks(format!(
                "queue {queue} of {name} is used by another AF_XDP socket; end that program, or write another queue=N"
            )),
            Some(libc::EOPNOTSUPP) if self.options.mode == Mode::ZeroCopy => PortError::Config(format!(
                "the driver of {name} has no zero copy{}; write mode=auto",
                if several {
                    " for frames in several buffers"
                } else {
                    ""
                }
            )),
            Some(libc::EINVAL) if several => PortError::Lacks(format!(
                "this kernel has no frames in several AF_XDP buffers (Linux 6.6 has): an MTU up to {} needs none",
                4096 - HEADROOM - 18
            )),
            Some(libc::ENETDOWN | libc::ENODEV | libc::ENXIO) => {
                PortError::Lacks(format!("{name} is down; take it up: sudo ip link set {name} up"))
            }
            Some(libc::ENOBUFS) => PortError::Lacks(
                "too little locked memory for an AF_XDP socket; raise the limit: ulimit -l unlimited"
                    .to_owned(),
            ),
            _ => refused("open an AF_XDP socket", error),
        }
    }
}

pub(crate) fn refused(what: &str, error: &io::Error) -> PortError {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => PortError::Lacks(format!("no right to {what}; run as root")),
        _ => PortError::Lacks(format!("cannot {what}: {error}")),
    }
}
