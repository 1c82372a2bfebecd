use crate::sys::Messages;
use barline::offload::{Offloads, Rules, settle};
use barline::pool::{Batch, PoolCache};
use barline::port::{Run, TxQueue};
use barline::telemetry::TxCounters;
use crossbeam::utils::CachePadded;
use nix::errno::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// A transmit queue: a socket of its own. A frame is the kernel's when the call returns, so that nothing is ever in flight.
#[derive(Debug)]
pub struct AfPacketTx {
    socket: OwnedFd,
    messages: Messages,
    run: Arc<Run>,
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
    pub(crate) fn new(socket: OwnedFd, run: &Arc<Run>) -> Self {
        Self {
            socket,
            messages: Messages::new(),
            run: run.clone(),
            counters: TxCounters::shared(),
        }
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
            match self.messages.send(self.socket.as_fd(), packets.as_slice()) {
                Ok(n) if n == packets.len() => {
                    sent += n as u64;
                    bytes += cache.free_counted(packets);
                }
                Ok(n) => {
                    for packet in (0..n).filter_map(|_| packets.pop()) {
                        sent += 1;
                        bytes += packet.len() as u64;
                        cache.free_one(packet);
                    }
                    if n == 0 {
                        return ((sent, bytes), End::Full);
                    }
                }
                // The first one is longer than the interface takes now, whatever its MTU was at the start.
                Err(Errno::EMSGSIZE | Errno::EINVAL) => {
                    self.counters.tx_lengths.add(1);
                    packets
                        .pop()
                        .into_iter()
                        .for_each(|packet| cache.free_one(packet));
                }
                Err(Errno::EINTR) => {}
                // No room in the socket or the device, no link, no interface: all may end.
                Err(_) => return ((sent, bytes), End::Full),
            }
        }
        ((sent, bytes), End::Done)
    }
}

impl TxQueue for AfPacketTx {
    fn transmit(&mut self, cache: &mut PoolCache, packets: &mut Batch) -> usize {
        if self.has_ended() || packets.is_empty() {
            return 0;
        }
        if packets.has_offloads() {
            let rules = Rules {
                can: Offloads::empty(),
                longest: self.run.max_frame() as u32,
            };
            let counters = self.counters.clone();
            // None of them has any when they come back here.
            return settle(rules, &counters, cache, packets, |cache, packets| {
                self.transmit(cache, packets)
            });
        }
        let most = self.run.max_frame();
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
