use crate::mmio::{Bar, MappedBar};
use memmap2::MmapOptions;
use std::fs::File;
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;

/// Maps `len` bytes of device memory that stand at `offset` in the device file.
///
/// The pages are not touched here: a register can react to being read, and populating such a mapping in advance
/// is something the kernel refuses. The driver's first accesses, made while it sets up its rings, fault them in
/// before the poll loop starts.
pub(super) fn map(device: &File, offset: u64, len: usize) -> io::Result<Bar> {
    let raw = MmapOptions::new().offset(offset).len(len).map_raw(device)?;
    let ptr = NonNull::new(raw.as_mut_ptr()).ok_or(io::ErrorKind::InvalidData)?;
    if !(ptr.as_ptr() as usize).is_multiple_of(4096) {
        return Err(io::Error::other(
            "the kernel offers device memory that starts inside a page",
        ));
    }
    // SAFETY: a fresh shared mapping of `len` bytes, readable and writable, page aligned (checked), that stands
    // until its owner, `raw`, is dropped. The kernel maps device memory, to which nobody has references.
    let mapped = unsafe { MappedBar::new(ptr, len, Arc::new(raw)) };
    Ok(Bar::mapped(mapped))
}
