//! Forwarding modes that applications share, named as those of DPDK's testpmd and doing the same work: `io`, `mac`,
//! `macswap`, `rxonly`, `txonly`.
//!
//! A mode moves one burst at a time from a receive queue to a transmit queue, or only from one or to the other. The
//! functions are generic over the two traits: an appliance names its concrete queues, everybody else passes
//! `&mut dyn RxQueue`. Every packet is accounted for in a [`Tally`]:
//!
//! ```
//! use barline::pool::{Batch, Pool};
//! use barline::port::{MacAddress, Port, PortConfig};
//! use barline_modes::{Lane, Mode, Settings, Tally, run_burst};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = Pool::builder().packets(256).build()?;
//! let mut port = barline_null::Null::new(64)?;
//! let mut queues = port.start(&PortConfig::new(&pool))?;
//! let (mut cache, mut batch, mut tally) = (pool.cache(), Batch::with_burst(32), Tally::default());
//! let settings = Settings::l2fwd(1, port.mac());
//! let lane = Lane {
//!     rx: queues.rx[0].as_mut(),
//!     tx: queues.tx[0].as_mut(),
//!     cache: &mut cache,
//!     batch: &mut batch,
//! };
//! assert_eq!(run_burst(Mode::Mac, &settings, lane, &mut tally), 32);
//! assert_eq!((tally.received, tally.sent, tally.full), (32, 32, 0));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]

mod burst;
mod frame;
mod mode;

pub use burst::{Lane, Settings, Tally, io, mac, macswap, run_burst, rxonly, txonly};
pub use frame::{Addresses, HEADERS, Template, TemplateError, set_addresses, swap_addresses};
pub use mode::{Mode, UnknownMode};
