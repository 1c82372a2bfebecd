use std::fmt;

/// How frames come into the UMEM and leave it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Zero copy in the driver; nothing else will do.
    ZeroCopy,
    /// Copied by the kernel, even where the driver has zero copy.
    Copy,
    /// Copied by the kernel, and the program runs behind the driver (SKB mode): works with any interface.
    Skb,
    /// The best that there is.
    #[default]
    Auto,
}

impl Mode {
    /// All of them by name.
    pub const NAMES: &[(&str, Self)] = &[
        ("zerocopy", Self::ZeroCopy),
        ("copy", Self::Copy),
        ("skb", Self::Skb),
        ("auto", Self::Auto),
    ];
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(_, mode)| mode == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

/// How an AF_XDP port is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The interface's name.
    pub interface: String,
    /// The first of its queues; the port has those from there on.
    pub queue: u32,
    /// Copying.
    pub mode: Mode,
    /// Busy polling: most packets that the driver handles in one system call of ours.
    pub busy_poll: Option<u16>,
}

impl Options {
    /// All queues of an interface, the best mode, no busy polling.
    pub fn new(interface: impl Into<String>) -> Self {
        Self {
            interface: interface.into(),
            queue: 0,
            mode: Mode::Auto,
            busy_poll: None,
        }
    }
}
