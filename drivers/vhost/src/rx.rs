//! Frames from the peer: copied out of its transmit rings.

use crate::chain::{Chain, Chains};
use crate::gate::{Gate, Pass};
use crate::mark::{self, Wrong};
use crate::ring::Ring;
use barline::offload::Offloads;
use barline::pool::{Batch, MAX_BURST, Packet, PoolCache};
use barline::port::RxQueue;
use barline::telemetry::RxCounters;
use barline::wait::{Armed, Coalescing, Cpu};
use crossbeam::utils::CachePadded;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A receive queue: the peer's transmit ring, polled.
#[derive(Debug)]
pub struct VhostRx {
    pass: Pass,
    chains: Chains,
    coalescing: Coalescing,
    /// Longest frame in bytes: the port's.
    limit: Arc<AtomicU32>,
    counters: Arc<CachePadded<RxCounters>>,
}

/// Shortest frame in bytes: an Ethernet header.
pub(crate) const LEAST: u32 = 14;

impl VhostRx {
    pub(crate) fn new(gate: &Arc<Gate>, life: &Arc<()>, limit: &Arc<AtomicU32>) -> Self {
        Self {
            pass: Pass::new(gate, life),
            chains: Chains::new(),
            coalescing: Coalescing::default(),
            limit: limit.clone(),
            counters: RxCounters::shared(),
        }
    }
}

/// What a burst brought.
#[derive(Default)]
struct Got {
    packets: usize,
    bytes: u64,
    lengths: u64,
    /// Headers that cannot be.
    errors: u64,
    /// The pool had too few.
    short: bool,
    called: bool,
}

/// Moves frames from fetched buffers to packets, and gives the buffers back.
#[inline(always)]
fn take<const OFFLOADS: bool>(
    ring: &mut Ring,
    chains: &mut Chains,
    cache: &mut PoolCache,
    out: &mut Batch,
    limit: u32,
) -> Got {
    let header = ring.setup.rules.least;
    // One that is to be cut may be longer than a frame.
    let long = OFFLOADS && ring.setup.offloads.intersects(Offloads::RX_LONG);
    let most = if long { u16::MAX.into() } else { limit };
    let room = most.min(cache.pool().data_room() as u32);
    let fits = |chain: &Chain| (chain.bytes - header).wrapping_sub(LEAST) <= room - LEAST;
    let good = chains.list.iter().filter(|chain| fits(chain)).count();
    let before = out.len();
    let packets = cache.alloc_batch(out, good, room as usize);
    let mut got = Got {
        packets,
        short: packets < good,
        ..Got::default()
    };
    let mut fresh = out.as_mut_slice()[before..].iter_mut();
    let (mut used, mut wrong) = (0, Vec::new());
    for chain in &chains.list {
        if !fits(chain) {
            got.lengths += 1;
        } else if let Some(packet) = fresh.next() {
            let len = chain.bytes - header;
            packet.truncate(len as usize);
            got.bytes += u64::from(len);
            match chains.pieces(chain) {
                [only] => {
                    let there = ring.view.copy_out(only.at + u64::from(header), packet);
                    debug_assert!(there, "checked when it was fetched");
                }
                _ => gather(ring, chains, chain, header as usize, packet),
            }
            if OFFLOADS && let Err(why) = mark::read(ring, chains, chain, packet, limit) {
                wrong.push(before + packets - fresh.len() - 1);
                got.lengths += u64::from(why == Wrong::Length);
                got.errors += u64::from(why == Wrong::Header);
            }
        } else {
            break;
        }
        used += 1;
    }
    got.called = ring.publish(&chains.list[..used]);
    if OFFLOADS && !wrong.is_empty() {
        got.packets -= wrong.len();
        got.bytes -= mark::drop_all(&wrong, cache, out);
    }
    got
}

/// The frame of a buffer of several pieces, behind its header. They have been checked, and sum up to header and frame.
#[inline(never)]
fn gather(ring: &mut Ring, chains: &Chains, chain: &Chain, header: usize, packet: &mut Packet) {
    let (mut skip, mut to) = (header, &mut packet[..]);
    for piece in chains.pieces(chain) {
        let len = piece.len as usize;
        if skip >= len {
            skip -= len;
            continue;
        }
        let (part, rest) = to.split_at_mut((len - skip).min(to.len()));
        let there = ring.view.copy_out(piece.at + skip as u64, part);
        debug_assert!(there, "checked when it was fetched");
        (to, skip) = (rest, 0);
    }
}

impl RxQueue for VhostRx {
    fn receive(&mut self, cache: &mut PoolCache, out: &mut Batch) -> usize {
        let (want, limit) = (out.room().min(MAX_BURST), self.limit.load(Ordering::Relaxed));
        if self.coalescing.holds() {
            self.counters.rx_polls.add(1);
            self.counters.rx_idle_polls.add(1);
            return 0;
        }
        self.chains.clear();
        let (mut got, mut fault, mut positions) = (Got::default(), None, 0);
        if let Some(ring) = self.pass.enter() {
            positions = ring.setup.size;
            fault = ring.fetch(&mut self.chains, want).err();
            if !self.chains.list.is_empty() {
                got = match ring.setup.offloads.intersects(Offloads::RX) {
                    true => take::<true>(ring, &mut self.chains, cache, out, limit),
                    false => take::<false>(ring, &mut self.chains, cache, out, limit),
                };
            }
        }
        let fetched = self.chains.list.len();
        self.coalescing.found(fetched, want, positions.into());
        if let Some(fault) = fault {
            self.pass.fail(fault);
        }
        match self.chains.list.is_empty() {
            true => {
                self.pass.leave();
                if self.pass.announcement().is_there() {
                    got.bytes = self.pass.announcement().receive(cache, out);
                    got.packets = usize::from(got.bytes > 0);
                }
            }
            false => self.pass.leave_at(),
        }
        let counters = &**self.counters;
        counters.rx_polls.add(1);
        counters.rx_packets.add(got.packets as u64);
        counters.rx_bytes.add(got.bytes);
        counters.rx_lengths.add(got.lengths);
        counters.rx_errors.add(got.errors);
        counters.rx_idle_polls.add(u64::from(got.packets == 0));
        counters.rx_no_buffer.add(u64::from(got.short));
        counters.rx_doorbells.add(u64::from(got.called));
        got.packets
    }

    fn counters(&self) -> &RxCounters {
        &self.counters
    }

    fn shared_counters(&self) -> Arc<CachePadded<RxCounters>> {
        self.counters.clone()
    }

    fn arm(&mut self) -> Armed {
        let armed = match self.pass.enter() {
            // The control thread wakes us when there is a ring.
            None => Armed::Wakes,
            Some(ring) if !ring.setup.kicks => Armed::Silent,
            Some(ring) if ring.arm() => {
                ring.disarm();
                Armed::Pending
            }
            Some(_) => Armed::Wakes,
        };
        self.pass.leave();
        match self.pass.has_news() {
            true => Armed::Pending,
            false => armed,
        }
    }

    fn disarm(&mut self) {
        if let Some(ring) = self.pass.enter() {
            ring.disarm();
        }
        self.pass.leave();
    }

    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.pass.wake_fd())
    }

    fn pause(&self, cpu: Cpu) {
        match self.pass.ring() {
            Some(ring) => ring.rest(cpu),
            None => cpu.pause(),
        }
    }

    fn has_ended(&self) -> bool {
        self.pass.has_ended()
    }
}
