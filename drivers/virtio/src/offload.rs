//! Offloads as features (5.1.3.1), and as the header in front of a packet (5.1.6).

use crate::regs::Features;
use crate::shared::tell;
use barline::offload::{Offload, Offloads, VNET_LEN};
use barline::pool::Peek;
use std::sync::atomic::Ordering::Acquire;
use std::sync::atomic::compiler_fence;

impl Features {
    /// What a device with these features does for packets, as far as it goes together.
    pub fn offloads(self) -> Offloads {
        Offloads::of_virtio(self.bits())
    }

    /// The features that these offloads need.
    pub fn of_offloads(offloads: Offloads) -> Self {
        Self::from_bits_retain(offloads.virtio())
    }
}

/// Writes what a packet asks for to the header in front of it, which is zeros.
pub(crate) fn request(offload: &Offload, header: &mut [u8]) {
    if let Some(header) = header.first_chunk_mut::<VNET_LEN>() {
        *header = offload.to_vnet();
    }
}

/// What the header of a received packet of `len` bytes says; `None` for nonsense.
pub(crate) fn received(header: &[u8], len: usize) -> Option<Offload> {
    let from = header.as_ptr() as usize;
    // What is checked is this copy: the compiler is not to read again what the device may still write to.
    let header: [u8; VNET_LEN] = *header.first_chunk()?;
    compiler_fence(Acquire);
    tell(from, VNET_LEN);
    Offload::from_vnet(&header, len).ok()
}

/// Buffers of the received frame whose first one is `first`: the header's last word (5.1.6.4).
#[inline(always)]
pub(crate) fn buffers(first: Peek) -> u32 {
    let count: [u8; 2] = first.before();
    tell(first.place() - count.len(), count.len());
    u16::from_le_bytes(count).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_features_are_those_of_offloads() {
        for (feature, offload) in [
            (Features::CSUM, Offloads::TX_CHECKSUM),
            (Features::HOST_TSO4, Offloads::TX_TCP4),
            (Features::HOST_TSO6, Offloads::TX_TCP6),
            (Features::HOST_ECN, Offloads::TX_ECN),
            (Features::HOST_USO, Offloads::TX_UDP),
            (Features::GUEST_CSUM, Offloads::RX_CHECKSUM),
            (Features::GUEST_TSO4, Offloads::RX_TCP4),
            (Features::GUEST_TSO6, Offloads::RX_TCP6),
            (Features::GUEST_ECN, Offloads::RX_ECN),
            (Features::GUEST_USO4 | Features::GUEST_USO6, Offloads::RX_UDP),
        ] {
            assert_eq!(Features::of_offloads(offload), feature);
        }
    }
}
