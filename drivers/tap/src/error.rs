use nix::errno::Errno;

/// Why there is no such port.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TapError {
    /// Not a name that an interface can have.
    #[error(
        "{name:?} is no name for an interface: 1 to 15 characters without a space, a slash or a percent sign; write tap:tap0"
    )]
    Name {
        /// As it was given.
        name: String,
    },
    /// The kernel has no TAP devices, or this container does not show them.
    #[error(
        "there is no /dev/net/tun; sudo modprobe tun (in a container: start it with --device /dev/net/tun)"
    )]
    NoDevice,
    /// Not allowed.
    #[error(
        "TAP interfaces need CAP_NET_ADMIN; run it as root, or let root make one for this user: \
         sudo ip tuntap add {name} mode tap multi_queue user $USER"
    )]
    NotAllowed {
        /// The interface.
        name: String,
    },
    /// Somebody else has it.
    #[error(
        "{name} is taken: there is an interface of that name; use another name, or: sudo ip link del {name}"
    )]
    Taken {
        /// The interface.
        name: String,
    },
    /// Another port or program has it.
    #[error(
        "{name} is in use by another port or program; name each interface once (several queues: --queues)"
    )]
    InUse {
        /// The interface.
        name: String,
    },
    /// Another refusal.
    #[error("{call}: {errno}")]
    Os {
        /// What was tried.
        call: &'static str,
        /// The kernel's word.
        errno: Errno,
    },
}
