use barline_netif::NetifError;
use nix::errno::Errno;
use std::fmt;
use std::str::FromStr;

/// How frames are spread over the receive queues of a port (packet(7), PACKET_FANOUT).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fanout {
    /// By a hash of addresses and ports: a flow stays in one queue.
    #[default]
    Hash,
    /// In turn: flows lose their order.
    Lb,
    /// By the processor on which a frame arrives.
    Cpu,
    /// Into the first queue until its ring is full, then into the next.
    Rollover,
    /// At random.
    Rnd,
    /// By the receive queue of the device.
    Qm,
}

impl Fanout {
    /// All of them by name.
    pub const ALL: [(&str, Self); 6] = [
        ("hash", Self::Hash),
        ("lb", Self::Lb),
        ("cpu", Self::Cpu),
        ("rollover", Self::Rollover),
        ("rnd", Self::Rnd),
        ("qm", Self::Qm),
    ];

    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Hash => libc::PACKET_FANOUT_HASH,
            Self::Lb => libc::PACKET_FANOUT_LB,
            Self::Cpu => libc::PACKET_FANOUT_CPU,
            Self::Rollover => libc::PACKET_FANOUT_ROLLOVER,
            Self::Rnd => libc::PACKET_FANOUT_RND,
            Self::Qm => libc::PACKET_FANOUT_QM,
        }
    }
}

impl FromStr for Fanout {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let known = Self::ALL.iter().find(|(name, _)| *name == text);
        known.map(|(_, fanout)| *fanout).ok_or(())
    }
}

impl fmt::Display for Fanout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, fanout)| fanout == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

/// How an interface is to be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The interface's name.
    pub interface: String,
    /// How frames are spread over several receive queues.
    pub fanout: Fanout,
}

impl Options {
    /// An interface, with the defaults.
    pub fn new(interface: impl Into<String>) -> Self {
        Self {
            interface: interface.into(),
            fanout: Fanout::default(),
        }
    }
}

/// Why there is no such port.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AfPacketError {
    /// The interface.
    #[error(transparent)]
    Interface(#[from] NetifError),
    /// The program has a port of it.
    #[error("{interface} is named twice; name it once (several queues: --queues)")]
    Twice {
        /// The interface.
        interface: String,
    },
    /// Not allowed.
    #[error("packet sockets need CAP_NET_RAW; run it as root, or once: sudo setcap cap_net_raw=ep {program}")]
    NotAllowed {
        /// This program.
        program: String,
    },
    /// The kernel has no packet sockets.
    #[error("this kernel has no packet sockets; sudo modprobe af_packet")]
    NoSockets,
    /// The kernel has no memory for the rings.
    #[error(
        "the kernel has no memory for a ring of {bytes} bytes; ask for shorter ones (--rx-ring, --tx-ring)"
    )]
    NoMemory {
        /// Its length.
        bytes: usize,
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

impl AfPacketError {
    /// What a call's error means.
    pub(crate) fn of(call: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| match errno {
            Errno::EPERM | Errno::EACCES => Self::NotAllowed {
                program: std::env::current_exe()
                    .map_or("PROGRAM".to_owned(), |path| path.display().to_string()),
            },
            Errno::EAFNOSUPPORT | Errno::EPROTONOSUPPORT => Self::NoSockets,
            errno => Self::Os { call, errno },
        }
    }
}
