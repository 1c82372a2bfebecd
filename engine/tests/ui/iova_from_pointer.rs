//! There is no way from a pointer to an IOVA.
use barline::mem::Iova;
use std::ptr::NonNull;

fn confuse(pointer: NonNull<u8>) -> Iova {
    Iova::from(pointer)
}

fn main() {}
