use barline_netif::NetifError;
use std::io;

/// How this program gets its rights.
fn rights() -> String {
    let program = std::env::current_exe().map_or("PROGRAM".into(), |path| path.display().to_string());
    format!("run as root, or once: sudo setcap cap_net_raw,cap_net_admin,cap_bpf+ep {program}")
}

/// Why an interface could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum XdpError {
    /// No such interface, or not one of Ethernet frames.
    #[error(transparent)]
    Interface(#[from] NetifError),
    /// A kernel without AF_XDP.
    #[error("this kernel has no {0}; use af_packet: instead of af_xdp:")]
    NoSupport(&'static str),
    /// Not allowed.
    #[error("no right to {0}; {rights}", rights = rights())]
    NoRight(&'static str),
    /// A program of somebody else is attached.
    #[error(
        "{interface} has an XDP program already (number {id}); end the program that attached it, or take it off: sudo ip link set dev {interface} xdp off (bpftool prog show id {id} says what it is)"
    )]
    Taken {
        /// The interface.
        interface: String,
        /// The program's number, as `bpftool prog` shows it.
        id: u32,
    },
    /// Our program was taken off, or another one put in its place, while the port was open.
    #[error(
        "{interface}: {}; nothing is received any more; {}open the port again",
        displaced(*by),
        rid(*by)
    )]
    Displaced {
        /// The interface.
        interface: String,
        /// The other program's number, where there is one.
        by: Option<u32>,
    },
    /// The verifier said no.
    #[error("the kernel refuses the redirect program: {source}; its verifier says:\n{log}")]
    Refused {
        /// The kernel's word.
        source: io::Error,
        /// The verifier's words.
        log: String,
    },
    /// A queue that does not exist.
    #[error("{interface} has no queue {queue}: it has {queues}, and their numbers start at 0")]
    NoQueue {
        /// The interface.
        interface: String,
        /// The queue asked for.
        queue: u32,
        /// Queues that there are.
        queues: u32,
    },
    /// No program can be attached in this mode.
    #[error("the driver of {interface} takes no XDP program in mode={mode} ({source}); write mode=auto")]
    NoMode {
        /// The interface.
        interface: String,
        /// The mode asked for.
        mode: crate::Mode,
        /// The kernel's word.
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot {what}: {source}")]
    Os {
        /// What was tried.
        what: &'static str,
        /// The kernel's word.
        source: io::Error,
    },
}

fn displaced(by: Option<u32>) -> String {
    by.map_or("the port's XDP program was taken off".to_owned(), |id| {
        format!("another XDP program (number {id}) is in the place of the port's")
    })
}

fn rid(by: Option<u32>) -> String {
    by.map_or(String::new(), |id| {
        format!("end what put it there (bpftool prog show id {id} says what it is), then ")
    })
}

impl XdpError {
    pub(crate) fn os(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::NoRight(what),
            Some(libc::EAFNOSUPPORT) => Self::NoSupport("AF_XDP sockets (CONFIG_XDP_SOCKETS)"),
            _ => Self::Os { what, source },
        }
    }

    /// Whether the user's words are at fault.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Interface(_) | Self::NoQueue { .. } | Self::NoMode { .. }
        )
    }

    /// Whether the machine, or this process, lacks something.
    pub fn is_machine(&self) -> bool {
        matches!(
            self,
            Self::NoSupport(_) | Self::NoRight(_) | Self::Taken { .. } | Self::Displaced { .. }
        )
    }
}
