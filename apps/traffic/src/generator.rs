//! Packets of several streams, by weight, into batches.

use crate::error::{Result, TrafficError};
use crate::replay::Replay;
use crate::size::spread;
use crate::stream::{Part, Stream};
use barline::pool::{Batch, PoolCache};

/// Frames of one stream and length that are written together.
const AT_ONCE: usize = 8;

/// One core's share of all streams.
#[derive(Clone, Debug)]
pub struct Generator {
    parts: Vec<Part>,
    order: Vec<u16>,
    /// The order of all streams, by weight.
    all: Vec<u16>,
    at: usize,
    room: usize,
    even: bool,
    replay: Option<Replay>,
}

impl Generator {
    /// The part of core `lane` of `lanes`. Its streams are the flows `first_flow` and following.
    ///
    /// # Errors
    /// No stream.
    pub fn new(streams: &[Stream], first_flow: u16, lane: u64, lanes: u64) -> Result<Self> {
        if streams.is_empty() {
            return Err(TrafficError::wrong(
                "no stream; describe one, or leave [[streams]] out",
            ));
        }
        let weights: Vec<u32> = streams.iter().map(|stream| stream.weight).collect();
        let flows = first_flow..;
        let parts: Vec<Part> = streams
            .iter()
            .zip(flows)
            .map(|(s, flow)| Part::new(s, flow, lane, lanes))
            .collect();
        let all = match parts.len() {
            1 => Vec::new(),
            _ => spread(&weights),
        };
        Ok(Self {
            order: all.clone(),
            all,
            at: 0,
            room: streams.iter().map(Stream::room).max().unwrap_or(0),
            even: parts.len() == 1 && streams[0].sizes.all().len() == 1,
            parts,
            replay: None,
        })
    }

    /// Frames of a capture in place of streams.
    pub fn replaying(replay: Replay) -> Self {
        Self {
            parts: Vec::new(),
            order: Vec::new(),
            all: Vec::new(),
            at: 0,
            room: replay.room(),
            even: false,
            replay: Some(replay),
        }
    }

    /// Begins anew: the first packet of each stream is the next, and the streams are the flows `first_flow` and following.
    pub fn restart(&mut self, first_flow: u16) {
        self.at = 0;
        for (part, flow) in self.parts.iter_mut().zip(first_flow..) {
            part.restart(flow);
        }
        if let Some(replay) = &mut self.replay {
            replay.restart();
        }
    }

    /// Makes only packets of this stream from now on, or of all again.
    pub fn select(&mut self, only: Option<u16>) {
        self.at = 0;
        self.order = match only {
            Some(stream) => vec![stream],
            None => self.all.clone(),
        };
    }

    /// Bytes that every buffer must have.
    pub fn room(&self) -> usize {
        self.room
    }

    /// Whether all frames are of one length.
    #[inline(always)]
    pub fn is_even(&self) -> bool {
        self.even || (self.order.len() == 1 && self.parts.get(self.next()).is_some_and(Part::is_even))
    }

    /// The capture that is replayed, if one is.
    pub fn replay(&mut self) -> Option<&mut Replay> {
        self.replay.as_mut()
    }

    /// Bytes of the next frame, without FCS.
    #[inline(always)]
    pub fn next_len(&self) -> usize {
        match &self.replay {
            Some(replay) => replay.next_len(),
            None => self.parts.get(self.next()).map_or(0, Part::next_len),
        }
    }

    #[inline(always)]
    fn next(&self) -> usize {
        self.order.get(self.at).map_or(0, |at| usize::from(*at))
    }

    /// Packets made of each stream; of a replay, of all together.
    pub fn made(&self) -> Vec<u64> {
        match &self.replay {
            Some(replay) => vec![replay.made()],
            None => self.parts.iter().map(|part| part.made).collect(),
        }
    }

    /// Puts `n` more packets into `batch`, as far as there is room and the pool has buffers, marked with the time `now`
    /// (nanoseconds); returns how many.
    #[inline]
    pub fn fill(&mut self, cache: &mut PoolCache, batch: &mut Batch, n: usize, now: u64) -> usize {
        let before = batch.len();
        let got = cache.alloc_batch(batch, n, self.room);
        let packets = batch.as_mut_slice().get_mut(before..).unwrap_or_default();
        if let Some(replay) = &mut self.replay {
            for packet in packets {
                let len = replay.write(packet);
                packet.truncate(len);
            }
            return got;
        }
        if let ([part], true) = (&mut self.parts[..], self.even) {
            let (many, rest) = packets.as_chunks_mut::<AT_ONCE>();
            for packets in many {
                let len = part.write_all(packets.each_mut().map(|packet| &mut packet[..]), now);
                packets.iter_mut().for_each(|packet| packet.truncate(len));
            }
            for packet in rest {
                let len = part.write(packet, now);
                packet.truncate(len);
            }
            return got;
        }
        for packet in packets {
            let next = self.next();
            let len = self.parts.get_mut(next).map_or(0, |part| part.write(packet, now));
            packet.truncate(len);
            self.at += 1;
            if self.at >= self.order.len() {
                self.at = 0;
            }
        }
        got
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::{Found, Mark};
    use crate::stream::StreamConfig;
    use barline::pool::Pool;

    fn stream(text: &str) -> Stream {
        StreamConfig::from_toml(text).unwrap().compile().unwrap()
    }

    #[test]
    fn streams_come_by_weight_with_marks_and_right_checksums() {
        let streams = [
            stream("weight = 3\nvary = ['ipv4.src=10.0.0.0..10.0.0.9', 'udp.src=count']"),
            stream("frame = 'ethernet/vlan(id=9)/ipv6/udp'\nsize = '86:1,1518:2'"),
        ];
        let pool = Pool::builder().packets(1024).build().unwrap();
        let mut cache = pool.cache();
        let mut generator = Generator::new(&streams, 40, 0, 1).unwrap();
        let mut counts = [[0u32; 2]; 2];
        for round in 0..100 {
            let mut batch = Batch::new();
            assert_eq!(generator.fill(&mut cache, &mut batch, 32, round), 32);
            for packet in batch.as_slice() {
                let sliced = etherparse::SlicedPacket::from_ethernet(packet).unwrap();
                let (which, at) = if sliced.vlan().is_some() { (1, 66) } else { (0, 42) };
                assert!([60, 82, 1514].contains(&packet.len()));
                let Found::Mark(mark) = Mark::read(&packet[at..]) else {
                    panic!("no mark")
                };
                assert_eq!((mark.flow, mark.time), (40 + which as u16, round));
                assert_eq!(mark.sequence, counts[which].iter().sum::<u32>());
                counts[which][usize::from(packet.len() == 1514)] += 1;
                let headers = etherparse::PacketHeaders::from_ethernet_slice(packet).unwrap();
                let (Some(net), Some(etherparse::TransportHeader::Udp(udp))) =
                    (headers.net, headers.transport)
                else {
                    panic!("no UDP")
                };
                let payload = headers.payload.slice();
                let right = match net {
                    etherparse::NetHeaders::Ipv4(ip, _) => {
                        assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                        udp.calc_checksum_ipv4(&ip, payload).unwrap()
                    }
                    etherparse::NetHeaders::Ipv6(ip, _) => udp.calc_checksum_ipv6(&ip, payload).unwrap(),
                    other => panic!("{other:?}"),
                };
                assert_eq!(udp.checksum, right);
            }
            cache.free(&mut batch);
        }
        assert_eq!(generator.made(), [2400, 800]);
        assert_eq!(counts[0], [2400, 0]);
        assert!(counts[1][1].abs_diff(2 * counts[1][0]) <= 2, "{counts:?}");
    }

    #[test]
    fn cores_share_a_stream() {
        let streams = [stream("vary = ['udp.src=count']")];
        let pool = Pool::builder().packets(256).build().unwrap();
        let mut cache = pool.cache();
        for lane in 0..3 {
            let mut generator = Generator::new(&streams, 0, lane, 3).unwrap();
            let mut batch = Batch::with_burst(4);
            generator.fill(&mut cache, &mut batch, 4, 0);
            let ports: Vec<u8> = batch.as_slice().iter().map(|packet| packet[35]).collect();
            assert_eq!(ports, [0, 3, 6, 9].map(|port| port + lane as u8));
        }
    }

    #[test]
    fn frames_too_short_for_a_mark_are_answered() {
        let config = StreamConfig::from_toml("frame = 'ethernet/ipv6/udp'").unwrap();
        let error = config.compile().unwrap_err().to_string();
        assert!(error.contains("size = \"82\""), "{error}");
        let error = StreamConfig::from_toml("wieght = 3").unwrap_err().to_string();
        assert!(error.contains("did you mean weight?"), "{error}");
    }
}
