use crate::sys::{Refusal, Slots};
use barline::offload::{Rules, settle};
use barline::pool::{Batch, PoolCache};
use barline::port::{Run, TxQueue};
use barline::telemetry::TxCounters;
use crossbeam::utils::CachePadded;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A transmit queue: a socket of its own, with a ring. A frame is copied to it, and is the kernel's when the call returns, so
/// that no packet is ever in flight.
#[derive(Debug)]
pub struct AfPacketTx {
    slots: Slots,
    run: Arc<Run>,
    /// Longest frame in bytes that the interface takes now.
    device: Arc<AtomicU32>,
    counters: Arc<CachePadded<TxCounters>>,
}

/// Shortest frame that a NIC would pad: an Ethernet header and some of what is behind it.
const LEAST: usize = 17;
/// Shortest frame on a wire, without FCS.
const PADDED: usize = 60;

/// Why a burst ended.
enum End {
    Done,
    /// No room, or no link.
    Full,
}

impl AfPacketTx {
    pub(crate) fn new(slots: Slots, run: &Arc<Run>, device: &Arc<AtomicU32>) -> Self {
        Self {
            slots,
            run: run.clone(),
            device: device.clone(),
            counters: TxCounters::shared(),
        }
    }

    /// Bytes of the longest frame that leaves.
    fn longest(&self) -> usize {
        let device = self.device.load(Ordering::Relaxed) as usize;
        self.run.max_frame().min(device)
    }

    /// Drops what cannot be sent, and pads what is short: devices do that, but not those without a wire.
    fn sift(&mut self, cache: &mut PoolCache, packets: &mut Batch, most: usize) {
        for _ in 0..packets.len() {
            let Some(mut packet) = packets.pop() else { return };
            let short = PADDED.saturating_sub(packet.len());
            let good = (LEAST..=most).contains(&packet.len());
            if good && (short == 0 || packet.append(short).map(|pad| pad.fill(0)).is_some()) {
                // There is room: one was just taken out.
                packets.extend([packet]);
            } else {
                self.counters.tx_lengths.add(1);
                cache.free_one(packet);
            }
        }
    }

    /// Gives the kernel as many as it takes; how many of the front were sent, and their bytes.
    fn push(&mut self, cache: &mut PoolCache, packets: &mut Batch) -> ((u64, u64), End) {
        let (mut sent, mut bytes) = (0, 0);
        while !packets.is_empty() {
            let all = packets.as_slice().iter().enumerate();
            let written = all
                .take_while(|(ahead, packet)| self.slots.write(*ahead, packet))
                .count();
            if written == 0 {
                return ((sent, bytes), End::Full);
            }
            let (taken, refusal) = self.slots.send(written);
            sent += taken as u64;
            bytes += take_off(cache, packets, taken);
            match refusal {
                None => {}
                Some(Refusal::Later) => return ((sent, bytes), End::Full),
                Some(Refusal::Frame) => {
                    self.counters.tx_lengths.add(1);
                    take_off(cache, packets, 1);
                }
            }
        }
        ((sent, bytes), End::Done)
    }
}

/// Frees the first `count` packets; their bytes.
fn take_off(cache: &mut PoolCache, packets: &mut Batch, count: usize) -> u64 {
    if count == packets.len() {
        return cache.free_counted(packets);
    }
    let mut bytes = 0;
    for packet in (0..count).filter_map(|_| packets.pop()) {
        bytes += packet.len() as u64;
        cache.free_one(packet);
    }
    bytes
}

impl TxQueue for AfPacketTx {
    fn transmit(&mut self, cache: &mut PoolCache, packets: &mut Batch) -> usize {
        if self.has_ended() || packets.is_empty() {
            return 0;
        }
        if packets.has_offloads() {
            let rules = Rules::software(self.longest());
            let counters = self.counters.clone();
            // None of them has any when they come back here.
            return settle(rules, &counters, cache, packets, |cache, packets| {
                self.transmit(cache, packets)
            });
        }
        let most = self.longest();
        let odd = |len: usize| !(PADDED..=most).contains(&len);
        if packets.as_slice().iter().any(|packet| odd(packet.len())) {
            self.sift(cache, packets, most);
        }
        let ((sent, bytes), end) = self.push(cache, packets);
        self.counters.tx_packets.add(sent);
        self.counters.tx_bytes.add(bytes);
        self.counters.tx_doorbells.add(1);
        if matches!(end, End::Full) {
            self.counters.tx_full.add(1);
        }
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
        self.run.has_ended()
    }
}
