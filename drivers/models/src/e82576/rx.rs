//! Receive (7.1).

use super::filter::{self, Cast};
use super::headers::Headers;
use super::queue::{Misuse, srrctl};
use super::regs::{CTRL, RCTL, RLPML, RXCSUM, RXPBS, VET, ctrl, icr, rctl, stat};
use super::{E82576, crc, stats};
use barline_sim::{Fate, Host, Side};
use std::collections::VecDeque;

/// Write-back status (7.1.5.2).
const DD: u64 = 1 << 0;
const EOP: u64 = 1 << 1;
const VP: u64 = 1 << 3;
/// RXCSUM.PCSD: the write-back carries the RSS hash.
const PCSD: u32 = 1 << 13;
/// Longest packet on the wire without RCTL.LPE (8.10.1), without and with a VLAN tag; and with RCTL.LPE.
const SHORT_LIMIT: usize = 1518;
const TAGGED_LIMIT: usize = 1522;
const LONG_LIMIT: usize = 9728;
/// Shortest packet on the wire.
const SHORTEST: usize = 64;
/// Shortest packet without its FCS.
const PADDED: usize = 60;
const FCS: usize = 4;

/// What the write-back says of a frame and where it goes.
#[derive(Clone, Copy, Debug)]
struct Tag {
    queue: usize,
    cast: Cast,
    /// Length on the wire.
    wire: usize,
    /// Word 0: hash, packet type, RSS type.
    word0: u64,
    /// Status and VLAN tag of word 1.
    word1: u64,
}

/// Frames between the wire and host memory.
#[derive(Debug, Default)]
pub struct Receiver {
    /// The frame being received, and its tag once it passed the filters.
    frame: Vec<u8>,
    tag: Option<Tag>,
    /// The packet buffer: frames that wait for descriptors. Its memory is reused.
    buffer: VecDeque<(Tag, Vec<u8>)>,
    spare: Vec<Vec<u8>>,
    buffered: usize,
    /// Frames that resets have emptied out and nobody was told of.
    emptied: u64,
}

impl Receiver {
    /// A reset empties the packet buffer.
    pub fn clear(&mut self) {
        self.emptied += self.buffer.len() as u64 + u64::from(self.tag.is_some());
        self.tag = None;
        self.buffered = 0;
        self.spare.extend(self.buffer.drain(..).map(|(_, frame)| frame));
    }
}

/// How a frame fared at its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    /// In memory, or lost with its queue.
    Ended(Fate),
    /// The queue has too few descriptors and its frames may wait.
    Waits,
    /// The queue has too few descriptors and its frames are dropped.
    Dropped,
}

impl E82576 {
    /// Receives up to `budget` frames.
    pub(super) fn receive(&mut self, host: &mut Host, budget: u32) -> u32 {
        host.ended(Fate::Reset, std::mem::take(&mut self.rx.emptied));
        if self.regs.get(RCTL) & rctl::RXEN == 0 || !self.link_up() {
            return self.lose(host, budget);
        }
        let mut done = self.drain(host);
        while done < budget {
            if self.rx.tag.is_none() {
                if !host.receive(&mut self.rx.frame) {
                    break;
                }
                done += 1;
                match self.accept(host.damaged()) {
                    Ok(tag) => self.rx.tag = Some(tag),
                    Err(fate) => host.ended(fate, 1),
                }
            }
            let Some(tag) = self.rx.tag else {
                let wire = self.rx.frame.len() + FCS;
                stats::seen(&mut self.regs, wire);
                continue;
            };
            // The frame is lent out, so that the rest of the device can be used with it.
            let mut frame = std::mem::take(&mut self.rx.frame);
            let course = match self.rx.buffer.is_empty() {
                true => self.deliver(host, tag, &frame),
                false => Course::Waits,
            };
            // What a patient end still holds has not arrived, so it is not counted either.
            if host.patient() && !matches!(course, Course::Ended(_)) && self.rx_rings[tag.queue].runs() {
                self.rx.frame = frame;
                break;
            }
            self.rx.tag = None;
            stats::seen(&mut self.regs, tag.wire);
            if course == Course::Waits && !self.has_room(&frame) {
                host.ended(Fate::Missed, 1);
                self.regs.add(stat::MPC, 1);
                self.irq.other(&mut self.regs, host, icr::RXO);
            } else {
                stats::received(&mut self.regs, tag.cast, tag.wire);
                match course {
                    Course::Ended(fate) => host.ended(fate, 1),
                    Course::Dropped => self.dropped(host, tag.queue),
                    Course::Waits => frame = self.store(tag, frame),
                }
            }
            self.rx.frame = frame;
        }
        done
    }

    /// Frames that arrive while the receiver is off or the link is down are not seen; a patient end keeps them.
    fn lose(&mut self, host: &mut Host, budget: u32) -> u32 {
        host.lose(&mut self.rx.frame, budget)
    }

    /// Filters a frame: its tag, or how it ends here.
    fn accept(&mut self, damaged: bool) -> Result<Tag, Fate> {
        let frame = &mut self.rx.frame;
        let (regs, wire) = (&mut self.regs, frame.len() + FCS);
        // Store bad packets (RCTL.SBP) is not done: a frame with a wrong FCS goes no further (7.1.1).
        if damaged {
            regs.add(stat::CRCERRS, 1);
            return Err(Fate::Damaged);
        }
        let cast = Cast::of(frame);
        if !filter::takes(regs, frame, cast) {
            return Err(Fate::Filtered);
        }
        let control = regs.get(RCTL);
        let headers = Headers::parse(frame, regs.get(VET) as u16);
        let limit = match (control & rctl::LPE, headers.vlan) {
            (0, None) => SHORT_LIMIT,
            (0, Some(_)) => TAGGED_LIMIT,
            _ => (regs.get(RLPML) as usize).min(LONG_LIMIT),
        };
        if wire < SHORTEST {
            regs.add(stat::RUC, 1);
            return Err(Fate::Short);
        }
        if wire > limit {
            regs.add(stat::ROC, 1);
            return Err(Fate::Long);
        }
        if !filter::vlan_takes(regs, headers.vlan) {
            return Err(Fate::Filtered);
        }
        let (queue, hash, kind) = self.rss.choose(regs, frame, &headers);
        let hash = if regs.get(RXCSUM) & PCSD != 0 { hash } else { 0 };
        let word0 = u64::from(hash) << 32 | u64::from(headers.ptype) << 4 | u64::from(kind);
        let word1 = headers.vlan.map_or(0, |tag| {
            if regs.get(CTRL) & ctrl::VME != 0 {
                VP | u64::from(tag) << 48
            } else {
                0
            }
        });
        if word1 != 0 {
            frame.drain(12..16);
        }
        if control & rctl::PSP != 0 && frame.len() < PADDED {
            frame.resize(PADDED, 0);
        }
        if control & rctl::SECRC == 0 {
            let fcs = crc::fcs(frame);
            frame.extend_from_slice(&fcs.to_le_bytes());
        }
        Ok(Tag {
            queue,
            cast,
            wire,
            word0,
            word1,
        })
    }

    /// Writes a frame to host memory and its descriptors back (7.1.5).
    fn deliver(&mut self, host: &mut Host, tag: Tag, frame: &[u8]) -> Course {
        let queue = tag.queue;
        let ring = &self.rx_rings[queue];
        let size = match (ring.srrctl & srrctl::BSIZEPACKET) as usize {
            0 => 2048 >> (self.regs.get(RCTL) >> rctl::BSIZE_SHIFT & 3),
            kib => kib * 1024,
        };
        if !ring.runs() {
            return Course::Dropped;
        }
        if (ring.available() as usize) < frame.len().div_ceil(size) {
            return if ring.srrctl & srrctl::DROP_EN != 0 {
                Course::Dropped
            } else {
                Course::Waits
            };
        }
        let kind = ring.srrctl >> srrctl::DESCTYPE_SHIFT & 7;
        if kind != srrctl::ADVANCED_ONE_BUFFER {
            self.stop_rx(queue, Some(Misuse::DescriptorType(kind)));
            return Course::Ended(Fate::Lost);
        }
        let mut pieces = frame.chunks(size).peekable();
        while let Some(piece) = pieces.next() {
            let end = if pieces.peek().is_none() { EOP } else { 0 };
            let words = [tag.word0, tag.word1 | (piece.len() as u64) << 32 | end | DD];
            if self.fill(host, queue, piece, words).is_none() {
                self.stop_rx(queue, None);
                return Course::Ended(Fate::Lost);
            }
        }
        self.regs.add(stat::RPTHC, 1);
        self.irq.received(queue);
        Course::Ended(Fate::Delivered)
    }

    /// One descriptor: its buffer, then its write-back, whose second word goes last.
    fn fill(&mut self, host: &mut Host, queue: usize, piece: &[u8], words: [u64; 2]) -> Option<()> {
        let (at, place) = (
            self.rx_rings[queue].head_iova(),
            self.rx_rings[queue].head_place(),
        );
        let buffer = host.load(at).ok()?;
        if host.load(at + 8).ok()? & DD != 0 {
            let head = self.rx_rings[queue].head;
            self.misuse(queue, Misuse::DoneNotCleared(head));
        }
        host.write(buffer, piece).ok()?;
        host.write_back(Side::Rx, place, words).ok()?;
        self.rx_rings[queue].advance();
        Some(())
    }

    fn stop_rx(&mut self, queue: usize, why: Option<Misuse>) {
        self.rx_rings[queue].stopped = true;
        if let Some(why) = why {
            self.misuse(queue, why);
        }
    }

    /// No descriptor and SRRCTL.DROP_EN, or the queue is off (8.18: RQDPC is 12 bits wide).
    fn dropped(&mut self, host: &mut Host, queue: usize) {
        host.ended(Fate::NoDescriptor, 1);
        self.regs.add(stat::RNBC, 1);
        let ring = &mut self.rx_rings[queue];
        ring.dropped = (ring.dropped + 1).min(0xfff);
    }

    /// Whether the packet buffer (RXPBS, in KiB) takes another frame.
    fn has_room(&self, frame: &[u8]) -> bool {
        self.rx.buffered + frame.len() <= (self.regs.get(RXPBS) as usize) << 10
    }

    /// Puts a frame into the packet buffer; gives back memory for the next one.
    fn store(&mut self, tag: Tag, frame: Vec<u8>) -> Vec<u8> {
        self.regs.add(stat::RNBC, 1);
        self.rx.buffered += frame.len();
        self.rx.buffer.push_back((tag, frame));
        self.rx.spare.pop().unwrap_or_default()
    }

    /// Moves what waits in the packet buffer to host memory, in order: a queue without descriptors blocks it.
    fn drain(&mut self, host: &mut Host) -> u32 {
        let mut done = 0;
        while let Some((tag, frame)) = self.rx.buffer.pop_front() {
            match self.deliver(host, tag, &frame) {
                Course::Waits => {
                    self.rx.buffer.push_front((tag, frame));
                    break;
                }
                Course::Dropped => self.dropped(host, tag.queue),
                Course::Ended(fate) => host.ended(fate, 1),
            }
            self.rx.buffered -= frame.len();
            self.rx.spare.push(frame);
            done += 1;
        }
        done
    }
}
