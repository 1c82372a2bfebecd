use super::mapping::Mapping;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU8, Ordering};

/// Bytes of a page in the log of writes (vhost-user, "Migration").
const LOG_PAGE: u64 = 4096;

/// The log of pages that were written: a bit each, shared with who copies the guest's memory.
#[derive(Debug)]
pub(crate) struct Log(Mapping);

impl Log {
    /// Maps it.
    ///
    /// # Errors
    /// As [`Region::new`].
    pub fn new(file: &File, offset: u64, len: u64) -> io::Result<Self> {
        Mapping::new(file, offset, len).map(Self)
    }

    /// Bytes at the guest's address `at` were written. After the write: a bit that is taken before it would lose it.
    pub fn mark(&self, at: u64, len: u64) {
        if len == 0 {
            return;
        }
        for page in at / LOG_PAGE..=at.saturating_add(len - 1) / LOG_PAGE {
            let byte = page / 8;
            if byte >= self.0.len as u64 {
                return; // the log is for less memory than there is: nobody asks for the rest
            }
            // SAFETY: within the mapping, which lives as long as `self`; a byte is always aligned.
            let bits = unsafe { AtomicU8::from_ptr(self.0.start.add(byte as usize).as_ptr()) };
            bits.fetch_or(1 << (page % 8), Ordering::Release);
        }
    }
}
