//! Ports and queues: what applications see of a device.

mod config;
mod error;
mod events;
mod mac;
mod progress;
mod queue;
mod reader;
mod run;
mod vlan;

pub use config::{Change, Link, LinkRequest, PortCaps, PortConfig};
pub use error::{PortError, may_start};
pub use events::BusEvents;
pub use mac::MacAddress;
pub use progress::{Progress, Withheld};
pub use queue::{Interrupt, Port, PortEvent, Queues, RxQueue, TxQueue};
pub use reader::{FrameSource, Reader};
pub use run::{Run, check_mtu, longest_mtu};
pub use vlan::VlanFilter;
