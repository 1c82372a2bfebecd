//! The device side of barline without hardware: what every NIC model is built from.
//!
//! * [`SimDevice`] puts a [`Model`] behind the engine's in-process bus: it locks, counts, faults and runs it.
//! * [`Host`] is all a model sees of the machine around it: DMA through the simulated IOMMU, MSI-X vectors, the wire.
//! * [`Peer`] is what hangs at the other end of the cable: another NIC ([`Wire`]), or a traffic source and a sink
//!   ([`Traffic`]).
//! * [`ConfigSpace`] and [`RegFile`] are PCI configuration space and registers as tables.
#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]

mod combine;
mod config;
mod counts;
mod device;
mod generator;
mod host;
mod pcap;
mod peer;
mod regmap;
mod traffic;
mod wire;

pub use config::{ConfigSpace, Identity};
pub use counts::{Counts, MAX_QUEUES};
pub use device::{Effect, Mode, Model, SimDevice};
pub use generator::{FrameSpec, Generator};
pub use host::{Corrupt, Host, Spoil};
pub use pcap::{PcapError, frames_from_capture, frames_from_pcap};
pub use peer::{Kick, Nobody, Peer};
pub use regmap::{Kind, RegFile, Rule, Touch};
pub use traffic::{Frames, Sink, Source, Traffic};
pub use wire::{Wire, WireEnd, WireWatch};
