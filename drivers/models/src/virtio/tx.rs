//! Transmit (5.1.6.2).

use super::chain::{Chain, Fail, gather, total};
use super::misuse::Misuse;
use super::report::Used;
use super::rx::HEADER;
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

/// The header, as far as a device without segmentation looks at it.
struct Header {
    flags: u8,
    gso: u8,
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
        let fits = read.map(|()| self.passes(pair, frame_len, &mut packet));
        let stats = &mut self.queues[usize::from(queue)].stats;
        match fits {
            Ok(Ok(())) if self.link => {
                stats.packets += 1;
                stats.bytes += frame_len;
                packet.drain(..HEADER);
                self.steering.sent(pair, &packet);
                packet.resize(packet.len().max(PADDED), 0);
                host.transmit(&packet);
            }
            // Without link it is lost.
            Ok(Ok(())) => stats.drops += 1,
            Ok(Err(what)) => {
                (stats.drops, stats.overruns) = (stats.drops + 1, stats.overruns + 1);
                self.misuse(Some(queue), what);
            }
            Err(_) => {}
        }
        self.packet = packet;
        fits.map(|_| ())
    }

    /// Checks a packet with its header and completes its checksum.
    fn passes(&mut self, pair: u16, len: u64, packet: &mut [u8]) -> Result<(), Misuse> {
        let header = Header::of(packet);
        if pair >= self.steering.pairs {
            return Err(Misuse::TxInactive);
        }
        let tag = if packet.get(HEADER + 12..HEADER + 14) == Some(&[0x81, 0x00]) {
            TAG
        } else {
            0
        };
        let mtu = self.offer.mtu.filter(|_| self.has(feature::MTU));
        let most = mtu.map_or(LONGEST, |mtu| u64::from(mtu) + ETHERNET + tag);
        if !(ETHERNET..=most).contains(&len) {
            return Err(Misuse::TxLength(len));
        }
        let allowed = if self.has(feature::CSUM) { NEEDS_CSUM } else { 0 };
        if header.flags & !allowed != 0 || header.gso != 0 {
            return Err(Misuse::TxHeader(header.flags, header.gso));
        }
        if header.buffers != 0 {
            return Err(Misuse::TxBuffers(header.buffers));
        }
        if header.flags & NEEDS_CSUM != 0 {
            complete(&mut packet[HEADER..], header.csum_start, header.csum_offset)
                .ok_or(Misuse::TxChecksum(header.csum_start, header.csum_offset))?;
        }
        Ok(())
    }
}

/// Completes a checksum: ones' complement over everything from `start` on, where the pseudo header's sum stands already.
fn complete(frame: &mut [u8], start: u16, offset: u16) -> Option<()> {
    let (start, at) = (usize::from(start), usize::from(start) + usize::from(offset));
    if at + 2 > frame.len() {
        return None;
    }
    let pairs = frame[start..].chunks(2);
    let sum: u64 = pairs
        .map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0)))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = !(((folded & 0xffff) + (folded >> 16)) as u16);
    // Zero means "no checksum" to UDP, and is all ones otherwise.
    let value = if folded == 0 { 0xffff } else { folded };
    frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_completed_in_place() {
        // RFC 1071's example, behind two bytes that do not count, with the place of the sum in front.
        let mut frame = [9, 9, 0, 0, 0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(complete(&mut frame, 2, 0), Some(()));
        assert_eq!(frame[2..4], [0x22, 0x0d]);
        assert_eq!(complete(&mut frame, 2, 9), None);
        assert_eq!(complete(&mut frame, 0xffff, 0xffff), None);
    }
}
