//! Transmit (7.2).

use super::filter::Cast;
use super::queue::Misuse;
use super::regs::{TCTL, VET, tctl};
use super::{E82576, crc, offload, stats};
use barline::mem::DmaFault;
use barline_sim::{Host, Place, Side};

/// Descriptor bits of word 1 (7.2.2.2, 7.2.2.3).
mod word1 {
    pub const LENGTH: u64 = 0xffff;
    pub const TYPE_SHIFT: u32 = 20;
    pub const CONTEXT: u64 = 2;
    pub const DATA: u64 = 3;
    pub const EOP: u64 = 1 << 24;
    pub const IFCS: u64 = 1 << 25;
    pub const RS: u64 = 1 << 27;
    pub const DEXT: u64 = 1 << 29;
    pub const VLE: u64 = 1 << 30;
    pub const TSE: u64 = 1 << 31;
    pub const DD: u64 = 1 << 32;
    pub const INDEX_SHIFT: u32 = 36;
    pub const IXSM: u64 = 1 << 40;
    pub const TXSM: u64 = 1 << 41;
    pub const PAYLEN_SHIFT: u32 = 46;
}

/// TDWBAL: head write-back instead of descriptor write-back (8.12.16).
const HEAD_WRITE_BACK: u64 = 1 << 0;
const HEAD_ADDRESS: u64 = !3;
/// Longest packet the transmitter takes (7.2.1.1), and the shortest it can pad.
const LONGEST: usize = 9728;
const SHORTEST: usize = 17;
const PADDED: usize = 60;
const FCS: usize = 4;

/// The packet of a queue whose descriptors are being gathered, and the queue's contexts.
#[derive(Debug, Default)]
pub struct Gather {
    packet: Vec<u8>,
    /// Word 1 of the packet's first descriptor, which decides for all of it.
    first: Option<u64>,
    contexts: [[u64; 2]; 2],
}

impl E82576 {
    /// Sends up to `budget` frames of all queues in turn.
    pub(super) fn transmit(&mut self, host: &mut Host, budget: u32) -> u32 {
        if self.regs.get(TCTL) & tctl::EN == 0 || !self.link_up() || self.tx_posted == 0 {
            return 0;
        }
        let mut done = 0;
        let mut posted = self.tx_posted;
        while posted != 0 && done < budget {
            let queue = posted.trailing_zeros() as usize;
            posted &= posted - 1;
            while done < budget && self.tx_rings[queue].runs() && self.tx_rings[queue].available() > 0 {
                match self.descriptor(host, queue) {
                    Ok(sent) => done += u32::from(sent),
                    Err(why) => self.stop_tx(queue, why),
                }
            }
            if done < budget {
                self.tx_posted &= !(1 << queue);
            }
        }
        done
    }

    /// Takes one descriptor; true where it ended a packet. An error stops the queue: `None` is a DMA fault.
    fn descriptor(&mut self, host: &mut Host, queue: usize) -> Result<bool, Option<Misuse>> {
        let ring = &self.tx_rings[queue];
        let (at, head, place) = (ring.head_iova(), ring.head, ring.head_place());
        let words = [
            host.load(at).map_err(|_| None)?,
            host.load(at + 8).map_err(|_| None)?,
        ];
        let gather = &mut self.gather[queue];
        let kind = words[1] >> word1::TYPE_SHIFT & 0xf;
        if words[1] & word1::DEXT == 0 || !matches!(kind, word1::CONTEXT | word1::DATA) {
            return Err(Some(Misuse::TransmitType(words[1])));
        }
        if kind == word1::CONTEXT {
            gather.contexts[(words[1] >> word1::INDEX_SHIFT & 1) as usize] = words;
        } else {
            let len = (words[1] & word1::LENGTH) as usize;
            let had = gather.packet.len();
            match (len, had + len) {
                (0, _) => return Err(Some(Misuse::EmptyTransmit(head))),
                (_, sum) if sum > LONGEST => return Err(Some(Misuse::TransmitTooLong(sum))),
                _ => {}
            }
            if *gather.first.get_or_insert(words[1]) & word1::TSE != 0 {
                return Err(Some(Misuse::Segmentation));
            }
            gather.packet.resize(had + len, 0);
            host.read(words[0], &mut gather.packet[had..]).map_err(|_| None)?;
        }
        let ends = kind == word1::DATA && words[1] & word1::EOP != 0;
        if ends {
            self.send(host, queue);
        }
        self.tx_rings[queue].advance();
        if words[1] & word1::RS != 0 {
            self.write_back(host, queue, place).map_err(|_| None)?;
        }
        Ok(ends)
    }

    /// Reports a descriptor with RS as done (7.2.2.3, 7.2.3).
    fn write_back(&mut self, host: &mut Host, queue: usize, place: Place) -> Result<(), DmaFault> {
        let ring = &self.tx_rings[queue];
        if ring.extra & HEAD_WRITE_BACK != 0 {
            host.write(ring.extra & HEAD_ADDRESS, &ring.head.to_le_bytes())?;
        } else {
            host.write_back(Side::Tx, place, [0, word1::DD])?;
        }
        self.irq.sent(queue);
        Ok(())
    }

    fn stop_tx(&mut self, queue: usize, why: Option<Misuse>) {
        self.tx_rings[queue].stopped = true;
        (self.gather[queue].first, self.malformed) = (None, self.malformed + u64::from(why.is_some()));
        self.gather[queue].packet.clear();
        if let Some(why) = why {
            self.misuse(queue, why);
        }
    }

    /// A packet is complete: checks, offloads, FCS, and out.
    fn send(&mut self, host: &mut Host, queue: usize) {
        let gather = &mut self.gather[queue];
        let mut packet = std::mem::take(&mut gather.packet);
        let first = gather.first.take().unwrap_or_default();
        let context = gather.contexts[(first >> word1::INDEX_SHIFT & 1) as usize];
        let said = (first >> word1::PAYLEN_SHIFT) as u32;
        if said != packet.len() as u32 {
            self.misuse(
                queue,
                Misuse::PayloadLength {
                    said,
                    is: packet.len() as u32,
                },
            );
        }
        let insert = (first & word1::IXSM != 0, first & word1::TXSM != 0);
        offload::checksums(&mut packet, context, insert);
        if first & word1::VLE != 0 {
            offload::insert_vlan(&mut packet, self.regs.get(VET) as u16, context);
        }
        if self.finish(queue, &mut packet, first & word1::IFCS != 0) {
            stats::sent(&mut self.regs, Cast::of(&packet), packet.len() + FCS);
            host.transmit(&packet);
        }
        packet.clear();
        self.gather[queue].packet = packet;
    }

    /// Padding and FCS; false where the frame cannot go out.
    fn finish(&mut self, queue: usize, packet: &mut Vec<u8>, insert_fcs: bool) -> bool {
        if packet.len() < SHORTEST {
            self.misuse(queue, Misuse::TransmitTooShort(packet.len()));
            return false;
        }
        if insert_fcs {
            if self.regs.get(TCTL) & tctl::PSP != 0 && packet.len() < PADDED {
                packet.resize(PADDED, 0);
            }
            return true;
        }
        // The wire carries frames without FCS: software's own must be right, and is taken off.
        let body = packet.len() - FCS;
        if crc::fcs(&packet[..body]).to_le_bytes() != packet[body..] {
            self.misuse(queue, Misuse::BadFcs);
            return false;
        }
        packet.truncate(body);
        true
    }
}
