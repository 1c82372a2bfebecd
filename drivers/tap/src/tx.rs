use crate::port::VNET;
use crate::shared::Shared;
use barline::offload::{Offloads, Rules, settle};
use barline::pool::{Batch, PoolCache};
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
/// No offload is asked for.
const HEADER: [u8; VNET] = [0; VNET];

impl TapTx {
    pub(crate) fn new(file: &Arc<File>, shared: &Arc<Shared>) -> Self {
        Self {
            file: file.clone(),
            shared: shared.clone(),
            counters: TxCounters::shared(),
        }
    }

    fn write(&self, frame: &[u8]) -> nix::Result<usize> {
        let pad = &ZEROS[..PADDED.saturating_sub(frame.len())];
        let parts = [&HEADER[..], frame, pad].map(IoSlice::new);
        writev(&*self.file, &parts)
    }
}

impl TxQueue for TapTx {
    fn transmit(&mut self, cache: &mut PoolCache, packets: &mut Batch) -> usize {
        if self.has_ended() {
            return 0;
        }
        if packets.has_offloads() {
            let rules = Rules {
                can: Offloads::empty(),
                longest: self.shared.run.max_frame() as u32,
            };
            let counters = self.counters.clone();
            // None of them has any when they come back here.
            return settle(rules, &counters, cache, packets, |cache, packets| {
                self.transmit(cache, packets)
            });
        }
        let most = self.shared.run.max_frame();
        let (mut sent, mut bytes, mut lengths) = (0u64, 0u64, 0u64);
        while let Some(packet) = packets.as_slice().first() {
            let len = packet.len();
            match (LEAST..=most).contains(&len).then(|| self.write(packet)) {
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
