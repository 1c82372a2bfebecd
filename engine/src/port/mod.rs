//! Ports and queues: what applications see of a device.

mod config;
mod events;
mod progress;
mod queue;
mod run;
mod vlan;

pub use config::{Change, Link, LinkRequest, MacAddress, PortCaps, PortConfig, PortError, may_start};
pub use events::BusEvents;
pub use progress::{Progress, Withheld};
pub use queue::{Interrupt, Port, PortEvent, Queues, RxQueue, TxQueue};
pub use run::{Run, check_mtu, longest_mtu};
pub use vlan::VlanFilter;
