//! The only file that names a fence. Names are those of the Linux kernel's `Documentation/memory-barriers.txt`.
//!
//! x86-64 is TSO: loads are not reordered with loads, nor stores with stores, on write-back memory, and a store to
//! an uncached BAR is not reordered with earlier write-back stores. There the first two only stop the compiler.

#[cfg(loom)]
use loom::sync::atomic::fence as full_fence;
#[cfg(not(loom))]
use std::sync::atomic::fence as full_fence;
use std::sync::atomic::{Ordering, fence};

/// Orders an earlier load of memory the device writes (the done bit) before later loads of what it announces.
#[inline(always)]
pub fn dma_rmb() {
    fence(Ordering::Acquire);
}

/// Orders earlier stores to memory the device reads (descriptors) before a later store that announces them
/// (an ownership bit, or the doorbell).
#[inline(always)]
pub fn dma_wmb() {
    #[cfg(target_arch = "aarch64")]
    {
        // A release fence does not order normal stores before a Device-nGnRE store; `dmb oshst` does.
        // SAFETY: a barrier instruction touches no memory and no register.
        unsafe { std::arch::asm!("dmb oshst", options(nostack, preserves_flags)) };
    }
    #[cfg(not(target_arch = "aarch64"))]
    fence(Ordering::Release);
}

/// Orders an earlier store (arming an interrupt) before a later load (looking at the ring once more).
#[inline(always)]
pub fn dma_mb() {
    full_fence(Ordering::SeqCst);
}
