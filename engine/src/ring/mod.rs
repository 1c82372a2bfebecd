//! Rings: the burst loops, written once; drivers supply descriptor formats.

mod in_place;

pub use in_place::{FrameLimit, RxFormat, RxRing, TxFormat, TxRing};
