//! Frames for the peer: copied into the buffers of its receive rings.

use crate::chain::Chains;
use crate::fault::Fault;
use crate::gate::{Gate, Pass};
use crate::ring::{PAUSE, Ring};
use crate::rx::LEAST;
use crate::sys::HEADER;
use barline::offload::{Checksum, Offload, Offloads, Rules, VNET_LEN, settle};
use barline::pool::{Batch, MAX_BURST, Packet, PoolCache};
use barline::port::TxQueue;
use barline::telemetry::TxCounters;
use barline::wait::Pace;
use crossbeam::utils::CachePadded;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A transmit queue: the peer's receive ring.
#[derive(Debug)]
pub struct VhostTx {
    pass: Pass,
    chains: Chains,
    pace: Pace,
    /// Longest frame in bytes: the port's.
    limit: Arc<AtomicU32>,
    counters: Arc<CachePadded<TxCounters>>,
}

/// What a burst took from the batch.
#[derive(Default)]
struct Sent {
    /// Packets taken, dropped ones among them.
    taken: usize,
    packets: u64,
    bytes: u64,
    lengths: u64,
    called: bool,
}

/// The header before a frame (virtio 1.2, 5.1.6): what it asks for, and the number of buffers at its end. As words, so that it
/// stays in registers: bytes that are written in parts and read whole would wait for all stores before them.
#[derive(Clone, Copy, Debug, Default)]
struct Header {
    low: u64,
    high: u32,
}

impl Header {
    fn asking(vnet: [u8; VNET_LEN]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j] = vnet;
        Self {
            low: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            high: u16::from_le_bytes([i, j]).into(),
        }
    }

    #[inline(always)]
    fn in_buffers(self, count: usize) -> Self {
        Self {
            high: self.high | (count as u32) << 16,
            ..self
        }
    }

    fn bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&self.low.to_le_bytes());
        bytes[8..].copy_from_slice(&self.high.to_le_bytes());
        bytes
    }
}

/// Whether a peer takes it, with which these were agreed upon.
fn takes(agreed: Offloads, offload: &Offload) -> bool {
    let sums = matches!(offload.checksum, Checksum::Partial { .. });
    let cuts = offload.segmentation;
    (!sums || agreed.contains(Offloads::TX_CHECKSUM)) && cuts.is_none_or(|kind| agreed.cut(kind))
}

/// Moves packets into the peer's buffers as long as there are some. With `OFFLOADS` it tells the peer what they ask for.
#[inline(always)]
fn put<const OFFLOADS: bool>(
    ring: &mut Ring,
    chains: &mut Chains,
    packets: &Batch,
    limit: u32,
) -> (Sent, Option<Fault>) {
    let header = ring.setup.rules.least as usize;
    let (mut sent, mut used, mut fault) = (Sent::default(), 0, None);
    fault = ring.fetch(chains, packets.len()).err().or(fault);
    if !OFFLOADS {
        used = put_usual(ring, chains, packets.as_slice(), limit);
        sent.taken = used;
        sent.packets = used as u64;
        let lens = packets.as_slice()[..used]
            .iter()
            .map(|packet| packet.len() as u64);
        sent.bytes = lens.sum();
    }
    for packet in &packets.as_slice()[used..] {
        let mut head = Header::default();
        let mut long = false;
        if OFFLOADS && packet.has_offload() {
            let offload = packet.offload();
            if !takes(ring.setup.offloads, &offload) {
                break; // another peer has come since it was settled
            }
            long = offload.segmentation.is_some();
            head = Header::asking(offload.to_vnet_receiver());
        }
        if !long && (packet.len() as u32).wrapping_sub(LEAST) > limit - LEAST {
            sent.lengths += 1;
            sent.taken += 1;
            continue;
        }
        let need = header + packet.len();
        let buffers = match ring.setup.mergeable {
            _ if chains
                .list
                .get(used)
                .is_some_and(|chain| chain.bytes as usize >= need) =>
            {
                1
            }
            true => match enough(ring, chains, used, need) {
                Ok(0) => break,
                Ok(buffers) => buffers,
                Err(wrong) => {
                    fault = fault.or(Some(wrong));
                    break;
                }
            },
            false if used == chains.list.len() => break,
            false => {
                // The peer's buffers are shorter than the frame; the next frame can have this one.
                sent.lengths += 1;
                sent.taken += 1;
                continue;
            }
        };
        scatter(ring, chains, used..used + buffers, packet, head, header);
        used += buffers;
        sent.taken += 1;
        sent.packets += 1;
        sent.bytes += packet.len() as u64;
    }
    sent.called = ring.publish(&chains.list[..used]);
    (sent, fault)
}

/// The usual: packets of good lengths, and a buffer of one piece for each, which holds it. How many there are of them, up to the
/// first other one. Kept apart because it writes to little else than the buffers: while a line of theirs is on its way, only some
/// dozens of stores can wait behind it.
#[inline(always)]
fn put_usual(ring: &mut Ring, chains: &mut Chains, packets: &[Packet], limit: u32) -> usize {
    if ring.setup.rules.least as usize != HEADER || ring.setup.log.is_some() {
        return 0;
    }
    let head = Header::default().in_buffers(1);
    let mut used = 0;
    for packet in packets {
        let (len, Some(chain)) = (packet.len(), chains.list.get(used)) else {
            break;
        };
        let good = (len as u32).wrapping_sub(LEAST) <= limit - LEAST && chain.bytes as usize >= HEADER + len;
        let ([only], true) = (chains.pieces(chain), good) else {
            break;
        };
        lay(ring, only.at, head, packet);
        chains.list[used].written = (HEADER + len) as u32;
        used += 1;
    }
    used
}

/// How many buffers from `used` on hold `need` bytes: 0 where there are not enough of them.
#[cold]
fn enough(ring: &mut Ring, chains: &mut Chains, used: usize, need: usize) -> Result<usize, Fault> {
    let mut room = 0;
    for count in 1.. {
        let at = used + count - 1;
        if at == chains.list.len() {
            ring.fetch(chains, at + 8)?;
        }
        let Some(chain) = chains.list.get(at) else { break };
        room += chain.bytes as usize;
        if room >= need {
            return Ok(count);
        }
    }
    Ok(0)
}

/// Writes header and frame to one place, which has the room.
#[inline(always)]
fn lay(ring: &mut Ring, at: u64, head: Header, frame: &[u8]) {
    let there = ring.view.settle(at, head.low, head.high) && ring.view.copy_in(at + HEADER as u64, frame);
    debug_assert!(there, "checked when it was fetched");
}

/// Writes header and frame to some buffers, which have the room.
#[inline(always)]
fn scatter(
    ring: &mut Ring,
    chains: &mut Chains,
    buffers: std::ops::Range<usize>,
    frame: &[u8],
    head: Header,
    header: usize,
) {
    let (at, head) = (buffers.start, head.in_buffers(buffers.len()));
    let chain = chains.list[at];
    match chains.pieces(&chain) {
        [only] if buffers.len() == 1 && header == HEADER => {
            lay(ring, only.at, head, frame);
            ring.mark(only.at, header + frame.len());
            chains.list[at].written = (header + frame.len()) as u32;
        }
        _ => scatter_pieces(ring, chains, buffers, frame, &head.bytes()[..header]),
    }
}

/// The same for buffers of any shape.
#[inline(never)]
fn scatter_pieces(
    ring: &mut Ring,
    chains: &mut Chains,
    buffers: std::ops::Range<usize>,
    mut frame: &[u8],
    mut head: &[u8],
) {
    for at in buffers {
        let chain = chains.list[at];
        let mut written = 0;
        for piece in chains.pieces(&chain) {
            let (first, rest) = head.split_at(head.len().min(piece.len as usize));
            let room = piece.len as usize - first.len();
            let (second, more) = frame.split_at(frame.len().min(room));
            let behind = piece.at + first.len() as u64;
            let there = ring.view.copy_in(piece.at, first) && ring.view.copy_in(behind, second);
            debug_assert!(there, "checked when it was fetched");
            (head, frame) = (rest, more);
            let part = first.len() + second.len();
            ring.mark(piece.at, part);
            written += part as u32;
            if frame.is_empty() && head.is_empty() {
                break;
            }
        }
        chains.list[at].written = written;
    }
}

impl VhostTx {
    pub(crate) fn new(gate: &Arc<Gate>, life: &Arc<()>, limit: &Arc<AtomicU32>) -> Self {
        Self {
            pass: Pass::new(gate, life),
            chains: Chains::new(),
            pace: Pace::new(PAUSE),
            limit: limit.clone(),
            counters: TxCounters::shared(),
        }
    }
}

impl VhostTx {
    /// Hands packets to the peer.
    #[inline(always)]
    fn hand_over<const OFFLOADS: bool>(&mut self, cache: &mut PoolCache, packets: &mut Batch) -> usize {
        if self.pace.holds() {
            self.counters.tx_full.add(1);
            return 0;
        }
        self.chains.clear();
        let limit = self.limit.load(Ordering::Relaxed);
        let (mut sent, mut fault) = (Sent::default(), None);
        if let Some(ring) = self.pass.enter() {
            (sent, fault) = put::<OFFLOADS>(ring, &mut self.chains, packets, limit);
        }
        self.pace.found(sent.taken == packets.len());
        if let Some(fault) = fault {
            self.pass.fail(fault);
        }
        match sent.taken {
            0 => self.pass.leave(),
            _ => self.pass.leave_at(),
        }
        if sent.taken == packets.len() {
            cache.free(packets);
        } else if sent.taken > 0 {
            let mut done = Batch::with_burst(MAX_BURST);
            done.extend((0..sent.taken).map_while(|_| packets.pop()));
            cache.free(&mut done);
        }
        let counters = &**self.counters;
        counters.tx_packets.add(sent.packets);
        counters.tx_bytes.add(sent.bytes);
        counters.tx_lengths.add(sent.lengths);
        counters.tx_full.add(u64::from(!packets.is_empty()));
        counters.tx_doorbells.add(u64::from(sent.called));
        sent.packets as usize
    }

    /// The same for a batch in which packets ask for something: what was not agreed upon with the peer that is there is done here.
    #[cold]
    #[inline(never)]
    fn transmit_offloads(&mut self, cache: &mut PoolCache, packets: &mut Batch) -> usize {
        let agreed = self.pass.enter().map(|ring| ring.setup.offloads & Offloads::TX);
        self.pass.leave();
        let rules = Rules {
            can: agreed.unwrap_or_default(),
            longest: self.limit.load(Ordering::Relaxed),
        };
        let counters = self.counters.clone();
        settle(rules, &counters, cache, packets, |cache, packets| {
            self.hand_over::<true>(cache, packets)
        })
    }
}

impl TxQueue for VhostTx {
    fn transmit(&mut self, cache: &mut PoolCache, packets: &mut Batch) -> usize {
        if packets.is_empty() {
            return 0;
        }
        if packets.has_offloads() {
            return self.transmit_offloads(cache, packets);
        }
        self.hand_over::<false>(cache, packets)
    }

    /// Frames are copied: nothing is held.
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
        self.pass.has_ended()
    }
}
