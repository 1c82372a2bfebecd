//! Rings: the burst loops, written once; drivers supply descriptor formats. And rings between threads, in batches.

pub mod completion;
mod in_place;
pub mod index;
#[allow(unsafe_code)] // slots that threads hand to each other
mod mpmc;
#[allow(unsafe_code)] // their memory
mod slots;
#[allow(unsafe_code)] // slots that two threads hand to each other
mod spsc;
mod sync;

pub use in_place::{FrameLimit, RxFormat, RxRing, TxFormat, TxRing};
pub use mpmc::Mpmc;
#[cfg(not(loom))]
pub use mpmc::{SharedRing, Stalled, Word};
pub use spsc::{Consumer, Producer, Spsc};

/// The page about rings: its examples are run as tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/rings.md")]
struct Page;
