//! Receive (5.1.6.3, 5.1.6.4).

use super::chain::{Chain, Fail, scatter, total};
use super::misuse::Misuse;
use super::report::{Report, Used};
use super::{VirtioNet, feature, flow};
use barline_sim::{Fate, Host, Side};

/// `struct virtio_net_hdr` without a hash, and where `num_buffers` stands in it.
pub const HEADER: usize = 12;
const NUM_BUFFERS: usize = 10;
/// Shortest frame on the wire without its FCS, and what the link layer adds to the MTU, without and with a tag.
const SHORTEST: usize = 60;
const ETHERNET: usize = 14;
const TAG: usize = 4;

/// The frame between the wire and host memory.
#[derive(Debug, Default)]
pub struct Receiver {
    frame: Vec<u8>,
    /// It has passed the filters and is for this pair.
    pair: Option<u16>,
    /// The packet with its header.
    packet: Vec<u8>,
    /// Frames that resets have emptied out and nobody was told of.
    emptied: u64,
}

impl Receiver {
    /// A reset empties the device.
    pub fn clear(&mut self) {
        self.emptied += u64::from(self.pair.take().is_some());
    }
}

/// How a frame fared at its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    Delivered,
    /// There are too few buffers.
    NoBuffers,
    /// It does not fit into a buffer, and packets may not be spread.
    TooLong,
}

impl VirtioNet {
    /// Receives up to `budget` frames.
    pub(super) fn receive(&mut self, host: &mut Host, budget: u32) -> Result<u32, (u16, Fail)> {
        host.ended(Fate::Reset, std::mem::take(&mut self.rx.emptied));
        let mut done = 0;
        while done < budget {
            if self.rx.pair.is_none() {
                if !host.receive(&mut self.rx.frame) {
                    break;
                }
                done += 1;
                match self.admit(host.damaged()) {
                    Ok(pair) => self.rx.pair = Some(pair),
                    Err(fate) => host.ended(fate, 1),
                }
            }
            let Some(pair) = self.rx.pair else { continue };
            let queue = pair * 2;
            let course = self.deliver(host, queue).map_err(|why| {
                // The frame goes with the device.
                self.rx.pair = None;
                host.ended(Fate::Lost, 1);
                (queue, why)
            })?;
            if course == Course::NoBuffers && host.patient() && self.queues[usize::from(queue)].enabled() {
                break;
            }
            self.rx.pair = None;
            self.count(host, queue, course);
        }
        Ok(done)
    }

    /// Frames that arrive while there is no link or nobody drives the device are not seen; a patient end keeps them.
    pub(super) fn lose(&mut self, host: &mut Host, budget: u32) -> u32 {
        host.ended(Fate::Reset, std::mem::take(&mut self.rx.emptied));
        host.lose(&mut self.rx.frame, budget)
    }

    /// Filters a frame and chooses its pair.
    fn admit(&mut self, damaged: bool) -> Result<u16, Fate> {
        let frame = &self.rx.frame;
        let vlan = flow::vlan(frame);
        if damaged || frame.len() < SHORTEST {
            // The port drops it before the device sees what queue it is for.
            self.queues[0].stats.drops += 1;
            return Err(if damaged { Fate::Damaged } else { Fate::Short });
        }
        let filtered = vlan.filter(|_| self.has(feature::CTRL_VLAN));
        let filters = self.has(feature::CTRL_RX);
        if (filters && !self.filter.takes(self.mac, frame, filtered)) || !self.vlan_alone(filters, filtered) {
            return Err(Fate::Filtered);
        }
        let link = ETHERNET + if vlan.is_some() { TAG } else { 0 };
        let most = self.offer.mtu.filter(|_| self.has(feature::MTU)).map(usize::from);
        let mut pair = self.steering.choose(frame);
        if self.steering.rss.is_none() && !self.queues[usize::from(pair) * 2].enabled() {
            // Its queue is being reset: another one (5.1.6.5.5.2).
            let enabled = |pair: &u16| self.queues[usize::from(*pair) * 2].enabled();
            pair = (0..self.steering.pairs).find(enabled).unwrap_or(pair);
        }
        let long = most.is_some_and(|mtu| frame.len() > mtu + link);
        if long && !self.offer.inbound.may_be_long(self.common.features, frame) {
            self.queues[usize::from(pair) * 2].stats.drops += 1;
            return Err(Fate::Long);
        }
        Ok(pair)
    }

    /// The VLAN filter where there are no other filters.
    fn vlan_alone(&self, filters: bool, vlan: Option<u16>) -> bool {
        let broadcast = [0xff; 6];
        filters || vlan.is_none() || self.filter.takes(self.mac, &broadcast, vlan)
    }

    fn count(&mut self, host: &mut Host, queue: u16, course: Course) {
        let len = self.rx.frame.len() as u64;
        let stats = &mut self.queues[usize::from(queue)].stats;
        let fate = match course {
            Course::Delivered => {
                (stats.packets, stats.bytes) = (stats.packets + 1, stats.bytes + len);
                Fate::Delivered
            }
            Course::NoBuffers => {
                (stats.drops, stats.overruns) = (stats.drops + 1, stats.overruns + 1);
                Fate::NoDescriptor
            }
            Course::TooLong => {
                stats.drops += 1;
                Fate::Long
            }
        };
        host.ended(fate, 1);
    }

    /// Puts the frame into buffers of its queue.
    fn deliver(&mut self, host: &mut Host, queue: u16) -> Result<Course, Fail> {
        let need = (HEADER + self.rx.frame.len()) as u64;
        let mark = self.queues[usize::from(queue)].bookmark();
        let mut chains: Vec<(Chain, u64)> = Vec::with_capacity(1);
        let mut room = 0;
        while room < need {
            let Some(chain) = self.next_buffer(host, queue)? else {
                let state = &mut self.queues[usize::from(queue)];
                state.back_to(mark);
                // Shorter frames may still find room in what there is.
                state.awake |= !chains.is_empty();
                return Ok(Course::NoBuffers);
            };
            let len = total(&chain.writable);
            if !chain.readable.is_empty() {
                return Err(Misuse::RxReadable.into());
            }
            if len < HEADER as u64 {
                return Err(Misuse::RxNoHeader(len).into());
            }
            room += len;
            chains.push((chain, len));
            if room < need && !self.has(feature::MRG_RXBUF) {
                self.queues[usize::from(queue)].back_to(mark);
                return Ok(Course::TooLong);
            }
        }
        self.fill(host, queue, &chains).map(|()| Course::Delivered)
    }

    /// Writes header and frame over the buffers and gives them back together.
    fn fill(&mut self, host: &mut Host, queue: u16, chains: &[(Chain, u64)]) -> Result<(), Fail> {
        let mut left = (HEADER + self.rx.frame.len()) as u64;
        let mut reports = Vec::with_capacity(chains.len());
        for (at, (chain, len)) in chains.iter().enumerate() {
            let here = left.min(*len) as u32;
            let (header, buffers) = match at {
                0 => (HEADER as u32, chains.len() as u16),
                _ => (0, 0),
            };
            reports.push((
                Report::draw(host, Side::Rx, chain.id, here, header, buffers),
                here,
            ));
            left -= u64::from(here);
        }
        let packet = &mut self.rx.packet;
        packet.clear();
        packet.resize(HEADER, 0);
        let buffers = reports.first().map_or(0, |(report, _)| report.buffers);
        packet[NUM_BUFFERS..].copy_from_slice(&buffers.to_le_bytes());
        packet.extend_from_slice(&self.rx.frame);
        let fields = self
            .offer
            .inbound
            .describe(self.common.features, &mut packet[HEADER..]);
        packet[..NUM_BUFFERS].copy_from_slice(&fields);
        let (state, mut rest) = (&mut self.queues[usize::from(queue)], &packet[..]);
        for ((chain, len), (report, here)) in chains.iter().zip(reports) {
            let (now, later) = rest.split_at(here as usize);
            scatter(host, &chain.writable, 0, now)?;
            rest = later;
            state.done.push(Used {
                id: chain.id,
                slots: chain.slots,
                len: here,
                whole: u64::from(here) == *len,
                report: Some(report),
            });
        }
        state.publish(host, Some(Side::Rx), self.offer.batch)
    }
}
