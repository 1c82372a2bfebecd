//! Descriptor memory is atomics only: a device may write it at any moment.
use barline::mem::DmaSlice;

fn plain(_: &DmaSlice<[u64; 2]>) {}

fn main() {}
