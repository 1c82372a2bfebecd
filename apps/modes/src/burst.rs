use crate::{Addresses, Mode, Template, set_addresses, swap_addresses};
use barline::pool::{Batch, Packet, PoolCache};
use barline::port::{MacAddress, RxQueue, TxQueue};

/// What modes write.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Destination and source that [`Mode::Mac`] writes.
    pub addresses: Addresses,
    /// The frame that [`Mode::TxOnly`] sends.
    pub template: Template,
}

impl Settings {
    /// The addresses that DPDK's l2fwd writes at port number `port`, whose own address is `mac`; frames made are 64
    /// bytes long, as testpmd's.
    pub fn l2fwd(port: u8, mac: MacAddress) -> Self {
        let addresses = Addresses::l2fwd(port, mac);
        let template = Template::udp(64, addresses).unwrap_or_else(|_| unreachable!("64 is a length"));
        Self { addresses, template }
    }
}

/// What became of packets: `received + made == sent + freed + full + refused` after every burst, which debug builds
/// assert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Taken from a receive queue.
    pub received: u64,
    /// Made by [`txonly`].
    pub made: u64,
    /// Taken by a transmit queue.
    pub sent: u64,
    /// Freed by [`rxonly`], as is its purpose.
    pub freed: u64,
    /// Dropped because the transmit queue was full.
    pub full: u64,
    /// Dropped by the transmit queue, which counts why: `tx_lengths`, `tx_unmapped`, `tx_offload`.
    pub refused: u64,
}

impl Tally {
    /// Whether every packet is in exactly one number.
    pub fn is_balanced(&self) -> bool {
        self.received + self.made == self.sent + self.freed + self.full + self.refused
    }
}

/// One way for packets, and what a core needs to move them.
#[derive(Debug)]
pub struct Lane<'a, R: ?Sized, T: ?Sized> {
    /// Where packets come from.
    pub rx: &'a mut R,
    /// Where they go.
    pub tx: &'a mut T,
    /// The core's cache.
    pub cache: &'a mut PoolCache,
    /// Empty between bursts; its limit is the burst.
    pub batch: &'a mut Batch,
}

/// Moves one burst in the given mode; returns how many packets were received or made.
#[inline]
pub fn run_burst<R: RxQueue + ?Sized, T: TxQueue + ?Sized>(
    mode: Mode,
    settings: &Settings,
    lane: Lane<'_, R, T>,
    tally: &mut Tally,
) -> usize {
    match mode {
        Mode::Io => io(lane, tally),
        Mode::Mac => mac(lane, &settings.addresses, tally),
        Mode::MacSwap => macswap(lane, tally),
        Mode::RxOnly => rxonly(lane.rx, lane.cache, lane.batch, tally),
        Mode::TxOnly => txonly(lane.tx, lane.cache, lane.batch, &settings.template, tally),
    }
}

/// Sends what is received.
#[inline]
pub fn io<R: RxQueue + ?Sized, T: TxQueue + ?Sized>(lane: Lane<'_, R, T>, tally: &mut Tally) -> usize {
    forward(lane, tally, |_| {})
}

/// Sends what is received with other addresses.
#[inline]
pub fn mac<R: RxQueue + ?Sized, T: TxQueue + ?Sized>(
    lane: Lane<'_, R, T>,
    addresses: &Addresses,
    tally: &mut Tally,
) -> usize {
    forward(lane, tally, |packets| {
        each(packets, |packet| set_addresses(packet, addresses));
    })
}

/// Sends what is received with destination and source swapped.
#[inline]
pub fn macswap<R: RxQueue + ?Sized, T: TxQueue + ?Sized>(lane: Lane<'_, R, T>, tally: &mut Tally) -> usize {
    forward(lane, tally, |packets| each(packets, swap_addresses))
}

/// Receives and frees.
#[inline]
pub fn rxonly<R: RxQueue + ?Sized>(
    rx: &mut R,
    cache: &mut PoolCache,
    batch: &mut Batch,
    tally: &mut Tally,
) -> usize {
    let received = rx.receive(cache, batch);
    cache.free(batch);
    tally.received += received as u64;
    tally.freed += received as u64;
    received
}

/// Makes frames and sends them: as many as fit the batch and the pool has.
#[inline]
pub fn txonly<T: TxQueue + ?Sized>(
    tx: &mut T,
    cache: &mut PoolCache,
    batch: &mut Batch,
    template: &Template,
    tally: &mut Tally,
) -> usize {
    let made = cache.alloc_batch(batch, batch.room(), template.len());
    if made == 0 {
        // All packets are with the device: look which it is done with.
        tx.reclaim(cache);
        return 0;
    }
    for packet in batch.as_mut_slice() {
        template.write(packet);
    }
    tally.made += made as u64;
    send(tx, cache, batch, tally);
    made
}

#[inline(always)]
fn forward<R: RxQueue + ?Sized, T: TxQueue + ?Sized>(
    lane: Lane<'_, R, T>,
    tally: &mut Tally,
    work: impl FnOnce(&mut [Packet]),
) -> usize {
    let Lane { rx, tx, cache, batch } = lane;
    let received = rx.receive(cache, batch);
    if received == 0 {
        // Nothing comes, so nothing will make transmit look: give back what has been sent.
        tx.reclaim(cache);
        return 0;
    }
    tally.received += received as u64;
    work(batch.as_mut_slice());
    send(tx, cache, batch, tally);
    received
}

#[inline(always)]
fn send<T: TxQueue + ?Sized>(tx: &mut T, cache: &mut PoolCache, batch: &mut Batch, tally: &mut Tally) {
    let offered = batch.len();
    let sent = tx.transmit(cache, batch);
    tally.sent += sent as u64;
    tally.refused += (offered - sent - batch.len()) as u64;
    if !batch.is_empty() {
        // Waiting for room would only move the loss to the receive ring, where it is harder to see.
        tally.full += batch.len() as u64;
        cache.free(batch);
    }
    debug_assert!(tally.is_balanced(), "{tally:?}");
}

/// Packets between the one being written and the one being fetched into the cache.
const AHEAD: usize = 4;

#[inline(always)]
fn each(packets: &mut [Packet], mut work: impl FnMut(&mut [u8])) {
    for packet in packets.iter().take(AHEAD) {
        packet.prefetch();
    }
    for at in 0..packets.len() {
        if let Some(next) = packets.get(at + AHEAD) {
            next.prefetch();
        }
        work(&mut packets[at]);
    }
}

#[cfg(test)]
mod tests;
