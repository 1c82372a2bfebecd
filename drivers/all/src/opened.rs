//! A port that was opened, with what is known of it besides.

use crate::PortSpec;
use crate::sim::SimEnd;
use barline::pci::PciAddress;
use barline::port::Port;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Where a port's frames come from, for who wants to know when no more can come.
#[derive(Clone, Debug, Default)]
pub enum Input {
    /// From elsewhere: more can always come.
    #[default]
    Elsewhere,
    /// Only what this program sends to it, or nothing at all.
    Own,
    /// From something with an end, which was reached when this is true.
    Ends(Arc<AtomicBool>),
}

/// A port, with what is known of it besides.
#[derive(Debug)]
pub struct Opened {
    /// The port.
    pub port: Box<dyn Port>,
    /// How it was named.
    pub spec: PortSpec,
    /// The far end of its cable, for a simulated one.
    pub sim: Option<SimEnd>,
    pub(crate) address: Option<PciAddress>,
    pub(crate) number: u64,
}

/// A port that was just opened, for [`Opener::open`].
#[derive(Debug)]
pub(crate) struct Fresh {
    pub port: Box<dyn Port>,
    pub sim: Option<SimEnd>,
    pub input: Input,
    pub address: Option<PciAddress>,
}

impl Fresh {
    /// One that more can come to at any time.
    pub fn new(port: Box<dyn Port>) -> Self {
        Self {
            port,
            sim: None,
            input: Input::Elsewhere,
            address: None,
        }
    }

    /// A simulated one.
    pub fn simulated(port: Box<dyn Port>, end: SimEnd) -> Self {
        let input = Input::Ends(end.dry());
        let sim = Some(end);
        Self {
            sim,
            input,
            ..Self::new(port)
        }
    }

    /// One with another input.
    pub fn fed(self, input: Input) -> Self {
        Self { input, ..self }
    }

    /// With something around the port.
    pub fn map(self, around: impl FnOnce(Box<dyn Port>) -> Box<dyn Port>) -> Self {
        let port = around(self.port);
        Self { port, ..self }
    }

    /// One of a PCI function.
    pub fn at(self, address: PciAddress) -> Self {
        let address = Some(address);
        Self { address, ..self }
    }
}
