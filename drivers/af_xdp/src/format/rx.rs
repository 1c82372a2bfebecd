//! Receive: the fill ring and the receive ring.

use super::{ADDRESS, NONE, OFFSET, odd, options};
use crate::ids::Ids;
use crate::socket::Socket;
use crate::sys::ring::{Desc, Ring};
use crate::sys::umem::BASE;
use crate::umem::HEADROOM;
use barline::mem::Iova;
use barline::pool::Peek;
use barline::ring::completion::{Format, Look};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Receive: buffers go down the fill ring, and come back with frames in the receive ring.
#[derive(Debug)]
pub(crate) struct Receive {
    fill: Ring<AtomicU64>,
    rx: Ring<Desc>,
    ids: Ids,
    /// Where the kernel is known to be.
    seen: u32,
    /// Everything before it has been taken.
    at: u32,
    /// Frames may be in several buffers.
    several: bool,
    /// The driver works in our system calls.
    busy: bool,
    socket: Option<Arc<Socket>>,
}

impl Receive {
    pub fn new(
        fill: Ring<AtomicU64>,
        rx: Ring<Desc>,
        several: bool,
        busy: bool,
        socket: Option<Arc<Socket>>,
    ) -> Self {
        Self {
            ids: Ids::new(fill.len()),
            fill,
            rx,
            seen: 0,
            at: 0,
            several,
            busy,
            socket,
        }
    }

    #[inline(always)]
    fn goes_on(&self, at: u32) -> bool {
        self.rx.at(at).options.load(Relaxed) & libc::XDP_PKT_CONTD != 0
    }
}

impl Format for Receive {
    const PREFIX: usize = 0;
    const HEADROOM: usize = HEADROOM;

    #[inline(always)]
    fn positions(&self) -> u32 {
        self.fill.len()
    }

    fn merges(&self) -> bool {
        self.several
    }

    #[inline(always)]
    fn post(&mut self, at: u32, id: u16, buffer: Iova, _len: u32) {
        // The kernel leaves the headroom free by itself.
        let address = buffer.raw().wrapping_sub(BASE + HEADROOM as u64);
        self.ids.put(at, id, address);
        self.fill.at(at).store(address, Relaxed);
    }

    #[inline(always)]
    fn publish(&mut self, _from: u32, to: u32) -> bool {
        // Taken are all before the last that was looked at, and all whose positions are in use again: then the kernel has
        // a descriptor for each buffer that it has.
        let reused = to.wrapping_sub(self.fill.len());
        if reused.wrapping_sub(self.at) <= self.fill.len() {
            self.at = reused;
        }
        // Release: they have been looked at before the kernel may write over them.
        self.rx.consumer().store(self.at, Release);
        // Release: the addresses before the index that announces them.
        self.fill.producer().store(to, Release);
        self.needs_wakeup()
    }

    #[inline(always)]
    fn look(&mut self, at: u32, tail: u32) -> Look {
        if at == self.seen {
            self.rx.consumer().store(at, Release);
            // Acquire: before the loads of the descriptors that it announces, and of the frames.
            self.seen = self.rx.producer().load(Acquire);
            let ahead = self.seen.wrapping_sub(at);
            if ahead > tail.wrapping_sub(at) {
                self.seen = at;
                return odd(self.socket.as_ref(), Look::Overrun);
            }
            if ahead == 0 {
                return Look::Pending;
            }
        }
        self.at = at;
        let desc = self.rx.at(at);
        let (address, len) = (desc.addr.load(Relaxed), desc.len.load(Relaxed));
        let Some(id) = self.ids.find(address & ADDRESS, at, tail) else {
            return odd(self.socket.as_ref(), Look::Done { id: NONE, len });
        };
        // Nobody but a program that is not ours moves the start of a frame.
        let len = if address >> OFFSET == HEADROOM as u64 {
            len
        } else {
            u32::MAX
        };
        Look::Done { id: id.into(), len }
    }

    fn is_pending(&self, at: u32) -> bool {
        self.rx.producer().load(Acquire) == at
    }

    fn renumber(&mut self, at: u32, id: u16) {
        self.ids.renumber(at, id);
    }

    fn parts(&mut self, at: u32, _first: &dyn Fn() -> Peek) -> Option<u32> {
        if !self.goes_on(at) {
            return Some(1);
        }
        let whole = |this: &Self| {
            let known = this.seen.wrapping_sub(at);
            (0..known).find(|part| !this.goes_on(at.wrapping_add(*part)))
        };
        let last = whole(self).or_else(|| {
            // The rest may have come since.
            let fresh = self.rx.producer().load(Acquire);
            if fresh.wrapping_sub(at) <= self.rx.len() {
                self.seen = fresh;
            }
            whole(self)
        })?;
        Some(last + 1)
    }

    fn describe(&self, at: u32) -> Option<String> {
        let desc = self.rx.at(at);
        let (address, len) = (desc.addr.load(Relaxed), desc.len.load(Relaxed));
        let place = at & (self.rx.len() - 1);
        Some(format!(
            "rx entry {place}: chunk {:#x} offset {}, length {len}, {}",
            address & ADDRESS,
            address >> OFFSET,
            options(desc.options.load(Relaxed)),
        ))
    }

    #[inline(always)]
    fn needs_wakeup(&self) -> bool {
        self.busy || self.fill.flags().load(Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }
}
