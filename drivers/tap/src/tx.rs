use crate::port::VNET;
use crate::shared::Shared;
use barline::offload::{Offloads, Rules, settle};
use barline::pool::{Batch, Packet, PoolCache};
use barline::port::TxQueue;
use barline::telemetry::TxCounters;
use crossbeam::utils::CachePadded;
use nix::errno::Errno;
use nix::sys::uio::writev;
use std::fs::File;
use std::io::IoSlice;
use std::sync::Arc;

/// A transmit queue: what the kernel receives. A frame is the kernel's when the call returns: nothing is ever in flight.
#[derive(Debug)]
pub struct TapTx {
    file: Arc<File>,
    shared: Arc<Shared>,
    counters: Arc<CachePadded<TxCounters>>,
}

/// Shortest frame that a NIC would pad.
const LEAST: usize = 17;
/// Shortest frame on a wire, without FCS.
const PADDED: usize = 60;
/// What a short frame is padded with.
const ZEROS: [u8; PADDED] = [0; PADDED];
/// Nothing is asked for.
const HEADER: [u8; VNET] = [0; VNET];

impl TapTx {
    pub(crate) fn new(file: &Arc<File>, shared: &Arc<Shared>) -> Self {
        Self {
            file: file.clone(),
            shared: shared.clone(),
            counters: TxCounters::shared(),
        }
    }

    fn write(&self, packet: &Packet) -> nix::Result<usize> {
        let pad = &ZEROS[..PADDED.saturating_sub(packet.len())];
        let header = match packet.has_offload() {
            true => packet.offload().to_vnet(),
            false => HEADER,
        };
        let parts = [&header[..], packet, pad].map(IoSlice::new);
        writev(&*self.file, &parts)
    }

    /// Hands packets to the kernel, which does what they ask for.
    fn hand_over(&self, cache: &mut PoolCache, packets: &mut Batch) -> usize {
        let most = self.shared.run.max_frame();
        let (mut sent, mut bytes, mut lengths) = (0u64, 0u64, 0u64);
        while let Some(packet) = packets.as_slice().first() {
            let len = packet.len();
            let long = packet.has_offload() && packet.offload().segmentation.is_some();
            let good = (LEAST..=most).contains(&len) || long;
            match good.then(|| self.write(packet)) {
                Some(Ok(_)) => {
                    sent += 1;
                    bytes += len.max(PADDED) as u64;
                }
                Some(Err(Errno::EINTR)) => continue,
                None | Some(Err(Errno::EINVAL | Errno::EMSGSIZE)) => lengths += 1,
                // No room, or the interface is set down, or gone.
                Some(Err(_)) => break,
            }
            packets
                .pop()
                .into_iter()
                .for_each(|packet| cache.free_one(packet));
        }
        self.counters.tx_packets.add(sent);
        self.counters.tx_bytes.add(bytes);
        self.counters.tx_lengths.add(lengths);
        self.counters.tx_doorbells.add(sent);
        self.counters.tx_full.add(u64::from(!packets.is_empty()));
        sent as usize
    }
}

impl TxQueue for TapTx {
    fn transmit(&mut self, cache: &mut PoolCache, packets: &mut Batch) -> usize {
        if self.has_ended() {
            return 0;
        }
        if !packets.has_offloads() {
            return self.hand_over(cache, packets);
        }
        let rules = Rules {
            can: self.shared.offloads & Offloads::TX,
            longest: self.shared.run.max_frame() as u32,
        };
        settle(rules, &self.counters, cache, packets, |cache, packets| {
            self.hand_over(cache, packets)
        })
    }

    fn reclaim(&mut self, _cache: &mut PoolCache) -> usize {
        0
    }

    fn in_flight(&self) -> usize {
        0
    }

    fn counters(&self) -> &TxCounters {
        &self.counters
    }

    fn shared_counters(&self) -> Arc<CachePadded<TxCounters>> {
        self.counters.clone()
    }

    fn has_ended(&self) -> bool {
        self.shared.run.has_ended()
    }
}
