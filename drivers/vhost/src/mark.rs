//! What a peer says of the packets that it sends: the header before each (virtio 1.2, 5.1.6), where offloads were agreed upon.

use crate::chain::{Chain, Chains};
use crate::ring::Ring;
use barline::offload::{Offload, VNET_LEN};
use barline::pool::{Batch, Packet, PoolCache};
use std::sync::atomic::Ordering::Acquire;
use std::sync::atomic::compiler_fence;

/// Why a packet is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// It says of itself what cannot be, or what was not agreed upon.
    Header,
    /// Longer than a frame may be, and not to be cut.
    Length,
}

/// The first bytes of a buffer, from as many pieces as they stand in.
fn header(ring: &mut Ring, chains: &Chains, chain: &Chain) -> [u8; VNET_LEN] {
    let mut header = [0; VNET_LEN];
    let mut to = &mut header[..];
    for piece in chains.pieces(chain) {
        let (part, rest) = to.split_at_mut(to.len().min(piece.len as usize));
        let there = ring.view.copy_out(piece.at, part);
        debug_assert!(there, "checked when it was fetched");
        to = rest;
    }
    // What is checked is this copy: the compiler, too, is not to read again.
    compiler_fence(Acquire);
    header
}

/// Reads what the peer says of a packet whose content has been copied already.
///
/// # Errors
/// It is to be dropped.
#[inline(never)]
pub(crate) fn read(
    ring: &mut Ring,
    chains: &Chains,
    chain: &Chain,
    packet: &mut Packet,
    limit: u32,
) -> Result<(), Wrong> {
    // Read once: the peer may write to it meanwhile.
    let header = header(ring, chains, chain);
    let offload = Offload::from_vnet(&header, packet.len()).map_err(|_| Wrong::Header)?;
    if !ring.setup.offloads.admit(&offload) {
        return Err(Wrong::Header);
    }
    if offload.segmentation.is_none() && packet.len() > limit as usize {
        return Err(Wrong::Length);
    }
    if offload != Offload::default() {
        packet.set_offload(offload);
    }
    Ok(())
}

/// Takes packets out of a batch, by their places in ascending order; how many bytes they have.
#[cold]
pub(crate) fn drop_all(wrong: &[usize], cache: &mut PoolCache, out: &mut Batch) -> u64 {
    let mut bytes = 0;
    for (before, at) in wrong.iter().enumerate() {
        if let Some(front) = out.as_mut_slice().get_mut(..=at - before) {
            front.rotate_right(1);
            let packet = out.pop();
            bytes += packet.as_ref().map_or(0, |packet| packet.len() as u64);
            packet.into_iter().for_each(|packet| cache.free_one(packet));
        }
    }
    bytes
}
