//! Transmit (5.1.6.2).

use super::chain::{Chain, Fail, gather, total};
use super::layers::complete;
use super::misuse::Misuse;
use super::report::Used;
use super::rx::HEADER;
use super::segment::{self, Request};
use super::{VirtioNet, feature};
use barline_sim::{Host, Side};

/// VIRTIO_NET_HDR_F_NEEDS_CSUM.
const NEEDS_CSUM: u8 = 1;
/// Shortest frame that the wire takes; shorter ones are padded.
const PADDED: usize = 60;
/// An Ethernet header; a VLAN tag in it.
const ETHERNET: u64 = 14;
const TAG: u64 = 4;
/// Longest frame: 65,535 bytes behind the header, and some for tags.
const LONGEST: u64 = 65_550;
/// Buffers that are given back together at most.
const TOGETHER: usize = 64;

/// The header, as far as the device looks at it: `hdr_len` is a hint that it does not need.
struct Header {
    flags: u8,
    gso: u8,
    gso_size: u16,
    csum_start: u16,
    csum_offset: u16,
    buffers: u16,
}

impl Header {
    fn of(packet: &[u8]) -> Self {
        let word = |at: usize| u16::from_le_bytes([packet[at], packet[at + 1]]);
        Self {
            flags: packet[0],
            gso: packet[1],
            gso_size: word(4),
            csum_start: word(6),
            csum_offset: word(8),
            buffers: word(10),
        }
    }
}

impl VirtioNet {
    /// Sends up to `budget` frames of all queues in turn.
    pub(super) fn transmit(&mut self, host: &mut Host, budget: u32) -> Result<u32, (u16, Fail)> {
        let mut done = 0;
        for pair in 0..self.pairs() {
            let queue = pair * 2 + 1;
            let sent = self.transmit_queue(host, pair, budget - done);
            done += sent.map_err(|why| (queue, why))?;
        }
        Ok(done)
    }

    fn transmit_queue(&mut self, host: &mut Host, pair: u16, budget: u32) -> Result<u32, Fail> {
        let queue = pair * 2 + 1;
        let mut done = 0;
        while done < budget {
            let Some(chain) = self.next_buffer(host, queue)? else {
                break;
            };
            self.send(host, pair, &chain)?;
            done += 1;
            let state = &mut self.queues[usize::from(queue)];
            state.done.push(Used {
                id: chain.id,
                slots: chain.slots,
                len: 0,
                whole: true,
                report: None,
            });
            if state.done.len() == TOGETHER {
                self.give_back(host, queue)?;
            }
        }
        self.give_back(host, queue).map(|()| done)
    }

    fn give_back(&mut self, host: &mut Host, queue: u16) -> Result<(), Fail> {
        let state = &mut self.queues[usize::from(queue)];
        if self.offer.backwards && self.common.features & feature::IN_ORDER == 0 {
            state.done.reverse();
        }
        state.publish(host, Some(Side::Tx), self.offer.batch)
    }

    /// One packet: sent, or dropped with a complaint.
    fn send(&mut self, host: &mut Host, pair: u16, chain: &Chain) -> Result<(), Fail> {
        let queue = pair * 2 + 1;
        let len = total(&chain.readable);
        if !chain.writable.is_empty() {
            return Err(Misuse::TxWritable.into());
        }
        let Some(frame_len) = len.checked_sub(HEADER as u64) else {
            return Err(Misuse::TxNoHeader(len).into());
        };
        // The packet is lent out, so that the rest of the device can be used with it.
        let mut packet = std::mem::take(&mut self.packet);
        let read = gather(host, &chain.readable, HEADER + LONGEST as usize, &mut packet);
        let frames = read.map(|()| self.frames(pair, frame_len, &mut packet));
        self.packet = packet;
        match frames? {
            Ok(frames) => self.put_out(host, pair, frames),
            Err(what) => {
                let stats = &mut self.queues[usize::from(queue)].stats;
                (stats.drops, stats.overruns) = (stats.drops + 1, stats.overruns + 1);
                self.misuse(Some(queue), what);
            }
        }
        Ok(())
    }

    /// Onto the wire; without link they are lost.
    fn put_out(&mut self, host: &mut Host, pair: u16, mut frames: Frames) {
        let frames = match &mut frames {
            Frames::One => {
                self.packet.drain(..HEADER);
                std::slice::from_mut(&mut self.packet)
            }
            Frames::Cut(frames) => frames,
        };
        let stats = &mut self.queues[usize::from(pair * 2 + 1)].stats;
        for frame in frames {
            if !self.link {
                stats.drops += 1;
                continue;
            }
            stats.packets += 1;
            stats.bytes += frame.len() as u64;
            self.steering.sent(pair, frame);
            frame.resize(frame.len().max(PADDED), 0);
            host.transmit(frame);
        }
    }

    /// Checks a packet with its header and completes its checksum, or cuts it.
    fn frames(&mut self, pair: u16, len: u64, packet: &mut [u8]) -> Result<Frames, Misuse> {
        let header = Header::of(packet);
        if pair >= self.steering.pairs {
            return Err(Misuse::TxInactive);
        }
        let allowed = if self.has(feature::CSUM) { NEEDS_CSUM } else { 0 };
        let cuts = header.gso == 0 || segment::needs(header.gso).is_some_and(|needs| self.has(needs));
        if header.flags & !allowed != 0 || !cuts {
            return Err(Misuse::TxHeader(header.flags, header.gso));
        }
        if header.buffers != 0 {
            return Err(Misuse::TxBuffers(header.buffers));
        }
        let frame = &mut packet[HEADER..];
        if header.gso != 0 {
            return self.cut(&header, len, frame).map(Frames::Cut);
        }
        self.fits(len, frame)?;
        if header.flags & NEEDS_CSUM != 0 {
            complete(frame, header.csum_start, header.csum_offset)
                .ok_or(Misuse::TxChecksum(header.csum_start, header.csum_offset))?;
        }
        Ok(Frames::One)
    }

    /// The segments of a packet; each of them must keep to the MTU.
    fn cut(&self, header: &Header, len: u64, frame: &[u8]) -> Result<Vec<Vec<u8>>, Misuse> {
        if len > LONGEST {
            return Err(Misuse::TxLength(len));
        }
        let asked = Request {
            gso: header.gso,
            size: header.gso_size,
            checksum: (header.csum_start, header.csum_offset),
        };
        let segments = segment::cut(frame, asked).filter(|_| header.flags & NEEDS_CSUM != 0);
        let segments = segments.ok_or(Misuse::TxSegments(header.gso, header.gso_size))?;
        for segment in &segments {
            self.fits(segment.len() as u64, segment)?;
        }
        Ok(segments)
    }

    /// Whether the wire takes a frame of this length.
    fn fits(&self, len: u64, frame: &[u8]) -> Result<(), Misuse> {
        let tagged = frame.get(12..14) == Some(&[0x81, 0x00]);
        let mtu = self.offer.mtu.filter(|_| self.has(feature::MTU));
        let most = mtu.map_or(LONGEST, |mtu| {
            u64::from(mtu) + ETHERNET + if tagged { TAG } else { 0 }
        });
        if (ETHERNET..=most).contains(&len) {
            Ok(())
        } else {
            Err(Misuse::TxLength(len))
        }
    }
}

/// What goes out for a buffer.
enum Frames {
    /// What is in it.
    One,
    /// Segments.
    Cut(Vec<Vec<u8>>),
}
