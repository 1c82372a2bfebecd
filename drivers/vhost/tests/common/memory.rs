//! The peer's memory: a memfd, read and written by system calls, so that no reference to shared memory is ever made.

use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use vhost::VhostUserMemoryRegionInfo;

/// Where the guest has its memory, and where the front end's process does: nobody may confuse the two.
pub const GUEST: u64 = 0x1_0000_0000;
pub const USER: u64 = 0x7f55_0000_0000;

#[derive(Clone, Debug)]
pub struct Memory(Arc<File>);

impl Memory {
    pub fn new(len: u64) -> Self {
        let file = File::from(memfd_create(c"guest", MFdFlags::MFD_CLOEXEC).unwrap());
        file.set_len(len).unwrap();
        Self(Arc::new(file))
    }

    /// Takes away what is behind so many bytes.
    pub fn shorten(&self, len: u64) {
        self.0.set_len(len).unwrap();
    }

    pub fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.read_exact_at(&mut bytes, at).unwrap();
        bytes
    }

    pub fn write(&self, at: u64, bytes: &[u8]) {
        self.0.write_all_at(bytes, at).unwrap();
    }

    pub fn u16(&self, at: u64) -> u16 {
        u16::from_le_bytes(self.read(at, 2).try_into().unwrap())
    }

    pub fn u32(&self, at: u64) -> u32 {
        u32::from_le_bytes(self.read(at, 4).try_into().unwrap())
    }

    pub fn u64(&self, at: u64) -> u64 {
        u64::from_le_bytes(self.read(at, 8).try_into().unwrap())
    }

    pub fn set_u16(&self, at: u64, value: u16) {
        self.write(at, &value.to_le_bytes());
    }

    pub fn set_u64(&self, at: u64, value: u64) {
        self.write(at, &value.to_le_bytes());
    }

    /// A part of it, as messages describe it.
    pub fn region(&self, at: u64, len: u64) -> VhostUserMemoryRegionInfo {
        VhostUserMemoryRegionInfo {
            guest_phys_addr: GUEST + at,
            memory_size: len,
            userspace_addr: USER + at,
            mmap_offset: at,
            mmap_handle: self.0.as_raw_fd(),
        }
    }
}
