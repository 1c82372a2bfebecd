//! For tests: every read of the peer's memory is told, right behind it ([`barline_conformance::witness`]).

use super::{GuestMemory, tell};
use std::ops::Deref;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

/// Where the guest's memory is in this process: address there, address here, length.
pub(crate) fn places(memory: &GuestMemory) -> Vec<(u64, usize, u64)> {
    let place = |region: &std::sync::Arc<super::Region>| {
        let start = region.mapping.start.as_ptr() as usize;
        (region.guest, start, region.len())
    };
    memory.regions.iter().map(place).collect()
}

/// An atomic word whose reads are told.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Told<A>(A);

impl<A> Deref for Told<A> {
    type Target = A;

    fn deref(&self) -> &A {
        &self.0
    }
}

macro_rules! loads {
    ($($atomic:ident: $value:ident),*) => {$(
        impl Told<$atomic> {
            pub fn load(&self, order: Ordering) -> $value {
                let value = self.0.load(order);
                tell(self.0.as_ptr().cast(), size_of::<$value>());
                value
            }
        }
    )*};
}
loads!(AtomicU16: u16, AtomicU32: u32, AtomicU64: u64);
