//! The device side of barline without hardware: what every NIC model is built from.
//!
//! * [`SimDevice`] puts a [`Model`] behind the engine's in-process bus: it locks, counts, faults and runs it.
//! * [`Host`] is all a model sees of the machine around it: DMA through the simulated IOMMU, MSI-X vectors, the wire.
//! * [`Peer`] is what hangs at the other end of the cable: another NIC ([`Wire`]), or a traffic source and a sink
//!   ([`Traffic`]).
//! * [`Fault`]s are planned, [`Impaired`] cables are drawn from a seed, and the time in which it all happens is a
//!   [`Clock`]'s: the same plan gives the same run. A [`Ledger`] says where every frame ended.
//! * [`ConfigSpace`] and [`RegFile`] are PCI configuration space and registers as tables.
#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]

mod clock;
mod combine;
mod config;
mod counts;
mod device;
mod fault;
mod generator;
mod host;
mod impair;
mod ledger;
mod pcap;
mod peer;
mod regmap;
mod traffic;
mod wire;

pub use clock::Clock;
pub use config::{ConfigSpace, Identity};
pub use counts::{Counts, MAX_QUEUES};
pub use device::{Effect, Mode, Model, SimDevice};
pub use fault::{Fault, Side, Spoiled};
pub use generator::{FrameSpec, Generator};
pub use host::{Corrupt, Host, Place, Spoil};
pub use impair::{Impaired, Impairment, Impairments, Rng};
pub use ledger::{Fate, Ledger};
pub use pcap::{PcapError, frames_from_capture, frames_from_pcap, timed_frames_from_pcap};
pub use peer::{Kick, Nobody, Peer};
pub use regmap::{Kind, RegFile, Rule, Touch};
pub use traffic::{Frames, Sink, Source, Traffic};
pub use wire::{Wire, WireEnd, WireWatch};
