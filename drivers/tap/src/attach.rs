//! Making an interface, and attaching queues to it.

use crate::TapError;
use crate::sys::set_offload;
use barline_netif::{Ifreq, Request, errno, request};
use nix::errno::Errno;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

const DEVICE: &str = "/dev/net/tun";

/// Attaches a queue to the interface of this name, and makes it before if there is none.
pub(crate) fn attach(name: &str) -> Result<File, TapError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(DEVICE)
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => TapError::NoDevice,
            ErrorKind::PermissionDenied => TapError::NotAllowed {
                name: name.to_owned(),
            },
            _ if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENXIO)) => TapError::NoDevice,
            _ => TapError::Os {
                call: "open /dev/net/tun",
                errno: errno(&error),
            },
        })?;
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_MULTI_QUEUE;
    let made = request(file.as_fd(), Request::TunSet, &mut Ifreq::number(name, flags));
    made.map_err(|error| match errno(&error) {
        Errno::EPERM | Errno::EACCES => TapError::NotAllowed {
            name: name.to_owned(),
        },
        // Another process has its only queue, or it is an interface of another kind.
        Errno::EBUSY | Errno::EINVAL | Errno::EEXIST => TapError::Taken {
            name: name.to_owned(),
        },
        errno => TapError::Os {
            call: "TUNSETIFF",
            errno,
        },
    })?;
    let os = |errno| TapError::Os {
        call: "TUNSETOFFLOAD",
        errno,
    };
    // Until a start asks for more: frames as they would be on a wire.
    set_offload(file.as_fd(), 0).map_err(os)?;
    Ok(file)
}
