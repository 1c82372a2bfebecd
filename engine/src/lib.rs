//! barline: a polled-mode packet I/O engine.
//!
//! Three nouns: a **port** is configured, a **queue** is polled, a **packet** is owned.
//!
//! * One rule for threads: a queue belongs to one core; to reach it from elsewhere, send that core a message.
//! * One rule for memory: what the device can reach is owned by the device handle, not by the queue that uses it.
//! * One rule for layers: `apps -> drivers -> engine`, and `models -> sim -> engine`.
//!
//! The engine has no global state, never reads argv, installs no signal handler, never exits the process and
//! changes the affinity of no thread but those it starts itself.
//!
//! `unsafe` is allowed only in the modules that say so below; see `engine/docs/unsafe.md`.
#![deny(unsafe_code)]
#![warn(missing_debug_implementations)]

#[cfg(target_endian = "big")]
compile_error!(
    "descriptor words are little-endian in memory; a big-endian host needs conversions in `mem::slice`"
);

pub mod bus;
#[allow(unsafe_code)] // DMA memory: mmap, munmap, device-shared words
pub mod mem;
#[allow(unsafe_code)] // BAR cells are volatile accesses to mapped device memory
pub mod mmio;
pub mod offload;
pub mod pci;
#[allow(unsafe_code)] // packets are slices into DMA memory
pub mod pool;
pub mod port;
pub mod ring;
pub mod telemetry;
pub mod wait;
pub mod worker;
