//! The transmit ring of a socket (PACKET_TX_RING, TPACKET_V2).

use super::{option, set};
use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::{NonNull, null};
use std::sync::atomic::{AtomicU32, Ordering};

/// Where a slot's status and the length of what is to be sent are (`struct tpacket2_hdr`), and where that begins.
const STATUS: usize = 0;
const LEN: usize = 4;
const DATA: usize = 32;
/// Bytes of `struct virtio_net_hdr`, which is in front of a frame, and where it says how many bytes the kernel is to copy.
const VNET: usize = 10;
const COPY: usize = 2;
/// Frames up to here are copied whole. Without the header the kernel copies 14 bytes, and refers to the slot's page for the
/// rest, which costs more than to copy it; a longer one is referred to behind its headers.
const WHOLE: usize = 2048;
const HEADERS: usize = 128;
/// Shortest slot.
const LEAST: usize = 2048;
/// Bytes that the kernel is asked for at a time.
const BLOCK: usize = 128 << 10;

/// The mapped slots of a socket that sends. The kernel looks at them only in [`Slots::send`], in turn, and gives each back
/// when the device is done with its frame.
#[derive(Debug)]
pub(crate) struct Slots {
    base: NonNull<u8>,
    /// Bytes of one, and how many there are: powers of two.
    slot: usize,
    count: usize,
    /// The next one for the kernel, free-running.
    at: usize,
    socket: OwnedFd,
}

// SAFETY: it is memory, the same for all threads, with one owner.
unsafe impl Send for Slots {}

/// Why the kernel did not take everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No room, no link, no interface: all may end.
    Later,
    /// It will never take the first of the rest.
    Frame,
}

impl Slots {
    /// Makes at least `count` slots for frames of up to `longest` bytes on a socket.
    pub fn new(socket: OwnedFd, count: usize, longest: usize) -> nix::Result<Self> {
        let fd = socket.as_fd();
        let (count, slot) = Self::shape(count, longest);
        // Before there is a ring, or it is refused.
        option(fd, libc::PACKET_VNET_HDR, 1)?;
        option(
            fd,
            libc::PACKET_VERSION,
            libc::tpacket_versions::TPACKET_V2 as i32,
        )?;
        let block = (count * slot).min(BLOCK.max(slot));
        let request = libc::tpacket_req {
            tp_block_size: block as u32,
            tp_block_nr: (count * slot / block) as u32,
            tp_frame_size: slot as u32,
            tp_frame_nr: count as u32,
        };
        set(fd, libc::SOL_PACKET, libc::PACKET_TX_RING, &request)?;
        let len = NonZeroUsize::new(count * slot).ok_or(Errno::EINVAL)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping, wherever the kernel likes: nothing else is there.
        let base = unsafe { mmap(None, len, access, MapFlags::MAP_SHARED, fd, 0) }?.cast();
        Ok(Self {
            base,
            slot,
            count,
            at: 0,
            socket,
        })
    }

    /// How many slots, of how many bytes. Together they are whole pages.
    fn shape(count: usize, longest: usize) -> (usize, usize) {
        let slot = (DATA + VNET + longest).next_power_of_two().max(LEAST);
        (count.next_power_of_two().max(8), slot)
    }

    /// Bytes of all slots.
    pub fn bytes(count: usize, longest: usize) -> usize {
        let (count, slot) = Self::shape(count, longest);
        count * slot
    }

    /// The slot `ahead` behind the next one.
    fn place(&self, ahead: usize) -> NonNull<u8> {
        let index = self.at.wrapping_add(ahead) & (self.count - 1);
        // SAFETY: below `count` slots, which are in the mapping.
        unsafe { self.base.add(index * self.slot) }
    }

    fn status(&self, ahead: usize) -> &AtomicU32 {
        // SAFETY: within the mapping, which lives as long as `self`; aligned, as slots are; and an atomic, since the kernel
        // writes it too.
        unsafe { self.place(ahead).add(STATUS).cast::<AtomicU32>().as_ref() }
    }

    /// Whether the slot is this side's.
    fn is_free(&self, ahead: usize) -> bool {
        // Acquire: the kernel has read the frame before this side writes over it.
        ahead < self.count && self.status(ahead).load(Ordering::Acquire) == libc::TP_STATUS_AVAILABLE
    }

    /// Writes a frame to the slot `ahead` behind the next one; false where that is not free, or too short. To be sent are the
    /// first ones that are written.
    #[inline]
    pub fn write(&mut self, ahead: usize, frame: &[u8]) -> bool {
        if !self.is_free(ahead) || frame.len() > self.slot - DATA - VNET {
            return false;
        }
        let copy = if frame.len() <= WHOLE {
            frame.len()
        } else {
            HEADERS
        } as u16;
        let mut header = [0; VNET];
        header[COPY..][..2].copy_from_slice(&copy.to_ne_bytes());
        let place = self.place(ahead);
        // SAFETY: the slot is this side's, since it is free, until its status says otherwise below; `&mut self` keeps others
        // of this side away. DATA + VNET + the frame's length is at most the slot's (above), LEN is aligned.
        unsafe {
            place.add(LEN).cast::<u32>().write((VNET + frame.len()) as u32);
            let to = place.add(DATA);
            to.copy_from_nonoverlapping(NonNull::from(&header).cast(), VNET);
            let from = NonNull::from(frame).cast();
            to.add(VNET).copy_from_nonoverlapping(from, frame.len());
        }
        // Release: all of it is written before the kernel sees that it is to be sent.
        let status = self.status(ahead);
        status.store(libc::TP_STATUS_SEND_REQUEST, Ordering::Release);
        true
    }

    /// Has the kernel send the first `count` slots, which have been written; how many it took, and why not all. The rest is
    /// free again.
    pub fn send(&mut self, count: usize) -> (usize, Option<Refusal>) {
        // SAFETY: nothing is sent but what is in the ring: no buffer, no address.
        unsafe { libc::sendto(self.socket.as_raw_fd(), null(), 0, libc::MSG_DONTWAIT, null(), 0) };
        // What happened is in the slots, whatever the call says: it also fails when it has sent some.
        let status = |slots: &Self, ahead| slots.status(ahead).load(Ordering::Acquire);
        let is_left =
            |status| status == libc::TP_STATUS_SEND_REQUEST || status == libc::TP_STATUS_WRONG_FORMAT;
        let taken = match is_left(status(self, count.saturating_sub(1))) {
            // They are taken in turn.
            false => count,
            true => (0..count)
                .find(|ahead| is_left(status(self, *ahead)))
                .unwrap_or(count),
        };
        let refusal = (taken < count).then(|| match status(self, taken) {
            libc::TP_STATUS_WRONG_FORMAT => Refusal::Frame,
            _ => Refusal::Later,
        });
        for ahead in taken..count {
            // The kernel has seen none of them but the first, and is out of its call.
            let status = self.status(ahead);
            status.store(libc::TP_STATUS_AVAILABLE, Ordering::Relaxed);
        }
        self.at = self.at.wrapping_add(taken);
        (taken, refusal)
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        // SAFETY: made in `new` with this length; nothing borrowed from it can outlive `self`.
        if let Err(errno) = unsafe { munmap(self.base.cast(), self.count * self.slot) } {
            tracing::warn!(%errno, "a transmit ring stays mapped");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_kernels_layout() {
        use std::mem::offset_of;
        assert_eq!(size_of::<libc::tpacket2_hdr>(), DATA);
        assert_eq!(offset_of!(libc::tpacket2_hdr, tp_status), STATUS);
        assert_eq!(offset_of!(libc::tpacket2_hdr, tp_len), LEN);
        assert_eq!(size_of::<libc::tpacket_req>(), 16);
    }

    #[test]
    fn every_frame_fits_a_slot_and_slots_fill_pages() {
        for count in [1, 8, 9, 512, 1 << 14] {
            for longest in [60, 1518, 2006, 2007, 9018, 65_553] {
                let (slots, slot) = Slots::shape(count, longest);
                assert!(slots >= count && slot >= longest + DATA + VNET);
                assert!(slots.is_power_of_two() && slot.is_power_of_two());
                assert!((slots * slot).is_multiple_of(4096));
                assert_eq!(Slots::bytes(count, longest), slots * slot);
            }
        }
    }
}
