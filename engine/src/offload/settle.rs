//! What a transmit queue does with packets that leave something to their device, where it can not or not all of it.

use super::{Checksum, Offload, Offloads, Segments, complete};
use crate::pool::{Batch, MAX_BURST, Packet, PoolCache};
use crate::telemetry::TxCounters;

/// What a transmit queue takes.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// What its device does.
    pub can: Offloads,
    /// Longest frame in bytes. A long packet that the device cuts may be longer; its segments not.
    pub longest: u32,
}

impl Rules {
    /// Of a device that does nothing of it, for frames up to `longest` bytes.
    pub fn software(longest: usize) -> Self {
        Self {
            can: Offloads::empty(),
            longest: u32::try_from(longest).unwrap_or(u32::MAX),
        }
    }
}

/// What is to be done with a packet before it is handed over.
enum Need {
    /// Nothing: the queue takes it as it is.
    Nothing,
    /// To be cut, in this way.
    Cut(Segments),
    /// Dropped: what it asks for cannot be.
    Impossible,
    /// Dropped: its segments are longer than a frame.
    Long,
}

/// Transmits a batch in which some packets leave something to their device ([`Batch::has_offloads`]): what the device cannot do
/// is done here, in software. `send` is the queue's own transmit; every flagged packet it sees asks for what `rules` say that
/// the device does, and is checked to be such. It counts what it sends; what is dropped here and what segmentation adds is
/// counted here. Returns how many of
/// the packets were sent; one that was cut counts once, when all of it is.
#[cold]
#[inline(never)]
pub fn settle(
    rules: Rules,
    counters: &TxCounters,
    cache: &mut PoolCache,
    packets: &mut Batch,
    mut send: impl FnMut(&mut PoolCache, &mut Batch) -> usize,
) -> usize {
    let mut sent = 0;
    let mut ready = Batch::with_burst(MAX_BURST);
    loop {
        // Those that need nothing, or nothing any more, go as a burst.
        let mut next = Need::Nothing;
        while let Some(first) = packets.as_mut_slice().first_mut() {
            next = prepare(rules, first);
            if !matches!(next, Need::Nothing) {
                break;
            }
            ready.extend(packets.pop()); // there is room: a batch has no more than this one takes
        }
        if !ready.is_empty() {
            sent += send(cache, &mut ready);
            if !ready.is_empty() {
                packets.put_back(&mut ready);
                return sent;
            }
        }
        match next {
            Need::Nothing => return sent,
            Need::Cut(segments) if cache.pool().data_room() < segments.length(0) => {
                counters.tx_offload.add(1);
                packets
                    .pop()
                    .into_iter()
                    .for_each(|packet| cache.free_one(packet));
            }
            Need::Cut(segments) => {
                if !cut(&segments, counters, cache, packets, &mut ready, &mut send) {
                    return sent;
                }
                sent += 1;
            }
            Need::Impossible => {
                counters.tx_offload.add(1);
                packets
                    .pop()
                    .into_iter()
                    .for_each(|packet| cache.free_one(packet));
            }
            Need::Long => {
                counters.tx_lengths.add(1);
                packets
                    .pop()
                    .into_iter()
                    .for_each(|packet| cache.free_one(packet));
            }
        }
    }
}

/// Looks what a packet needs, and does it where it can stay one packet.
fn prepare(rules: Rules, packet: &mut Packet) -> Need {
    if !packet.has_offload() {
        return Need::Nothing;
    }
    let mut offload = packet.offload();
    if let Some(mut segmentation) = offload.segmentation {
        let Some(segments) = Segments::new(packet, &offload) else {
            return Need::Impossible;
        };
        if segments.length(0) > rules.longest as usize {
            return Need::Long;
        }
        if segments.count() > 1 {
            if !rules.can.cut(segmentation) {
                return Need::Cut(segments);
            }
            segmentation.header = segments.header() as u16;
            offload.segmentation = Some(segmentation);
            if offload.checksum != segments.partial() {
                // Whoever cuts sums up too, from the pseudo header on.
                segments.reseed(packet);
                offload.checksum = segments.partial();
            }
            packet.set_offload(offload);
            return Need::Nothing;
        }
        offload.segmentation = None;
        if offload.checksum != Checksum::Valid {
            // As if it were cut: from the pseudo header on.
            segments.reseed(packet);
            offload.checksum = segments.partial();
        }
    }
    if let Checksum::Partial { start, offset } = offload.checksum {
        let (start, offset) = (usize::from(start), usize::from(offset));
        if start + offset + 2 > packet.len() {
            return Need::Impossible;
        }
        if !rules.can.contains(Offloads::TX_CHECKSUM) {
            complete(packet, start, offset);
            offload.checksum = Checksum::Valid;
        }
    }
    // That a checksum is right need not be told to a device.
    packet.set_offload(match offload.is_open() {
        true => offload,
        false => Offload::default(),
    });
    Need::Nothing
}

/// Sends the first packet in segments, as many as find buffers and room; whether that was all of it. What did not find room
/// stays the first packet.
fn cut(
    segments: &Segments,
    counters: &TxCounters,
    cache: &mut PoolCache,
    packets: &mut Batch,
    ready: &mut Batch,
    send: &mut impl FnMut(&mut PoolCache, &mut Batch) -> usize,
) -> bool {
    let (mut done, all) = (0, segments.count());
    while done < all {
        let Some(long) = packets.as_slice().first() else {
            break;
        };
        let made = fill(segments, done, cache, long, ready);
        if made == 0 {
            counters.tx_full.add(1); // no buffer
            break;
        }
        send(cache, ready);
        let taken = made - ready.len();
        cache.free(ready);
        done += taken;
        if taken < made {
            break;
        }
    }
    if done == all {
        packets
            .pop()
            .into_iter()
            .for_each(|packet| cache.free_one(packet));
        counters.tx_segments.add(all as u64 - 1);
        return true;
    }
    counters.tx_segments.add(done as u64);
    if done > 0
        && let Some(long) = packets.as_mut_slice().first_mut()
    {
        shorten(segments, long, done);
    }
    false
}

/// Makes packets of the segments from `first` on, as many as there are buffers and room for.
fn fill(segments: &Segments, first: usize, cache: &mut PoolCache, long: &Packet, ready: &mut Batch) -> usize {
    let mut made = 0;
    while ready.room() > 0 && first + made < segments.count() {
        let Some(mut packet) = cache.alloc() else { break };
        let index = first + made;
        let room = packet.append(segments.length(index));
        if !room.is_some_and(|out| segments.write(long, index, out)) {
            cache.free_one(packet);
            break;
        }
        ready.extend([packet]);
        made += 1;
    }
    made
}

/// Takes the first `done` segments off a packet.
fn shorten(segments: &Segments, long: &mut Packet, done: usize) {
    let mut offload = long.offload();
    let gone = segments.advance(long, done);
    offload.checksum = segments.partial();
    if segments.count() - done == 1 {
        offload.segmentation = None;
    }
    long.set_offload(Offload::default());
    let cut = long.trim_front(gone);
    debug_assert!(cut.is_some(), "there is more than is gone");
    long.set_offload(offload);
}

#[cfg(test)]
mod tests;
