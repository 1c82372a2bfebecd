//! Letting a device reach memory needs a promise.
use barline::mem::{Access, DmaDomain};
use std::ptr::NonNull;

fn map(domain: &dyn DmaDomain, memory: NonNull<u8>) {
    let _ = domain.map(memory, 4096, Access::ReadWrite);
}

fn main() {}
