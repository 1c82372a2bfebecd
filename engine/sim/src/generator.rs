//! Generated UDP traffic.

use crate::impair::Rng;
use crate::traffic::Source;

/// What the generated frames look like.
#[derive(Clone, Debug)]
pub struct FrameSpec {
    /// Destination MAC.
    pub destination: [u8; 6],
    /// Source MAC.
    pub source: [u8; 6],
    /// Frame lengths without FCS, drawn at random from this list; each is raised to 60 and cut at 9,000.
    pub sizes: Vec<usize>,
    /// Number of flows (source address and port), drawn at random; at least 1.
    pub flows: u32,
    /// How many frames; `None` is without end.
    pub limit: Option<u64>,
    /// Seed of the draws: the same seed gives the same frames.
    pub seed: u64,
}

impl Default for FrameSpec {
    fn default() -> Self {
        Self {
            destination: [0xff; 6],
            source: [0x02, 0, 0, 0, 0, 0xfe],
            sizes: vec![60],
            flows: 1,
            limit: None,
            seed: 1,
        }
    }
}

/// IPv4/UDP frames. The first 8 payload bytes (offset 42) are the frame's number, big-endian.
#[derive(Debug)]
pub struct Generator {
    template: Vec<u8>,
    sizes: Vec<usize>,
    flows: u32,
    number: u64,
    limit: u64,
    rng: Rng,
    sum: u32,
}

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
/// Version 4, header of 20 bytes; don't fragment; TTL 64; UDP; 198.18.0.0 to 198.19.0.1 (RFC 2544 addresses).
const IPV4: [u8; 20] = [
    0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 198, 18, 0, 0, 198, 19, 0, 1,
];
const UDP_PORTS: [u8; 4] = [0x10, 0x00, 0x00, 0x09];
/// Where the frame number is.
const NUMBER: usize = 42;

impl Generator {
    /// Frames as `spec` says.
    pub fn new(spec: &FrameSpec) -> Self {
        let mut sizes: Vec<usize> = spec.sizes.iter().map(|size| (*size).clamp(60, 9000)).collect();
        if sizes.is_empty() {
            sizes.push(60);
        }
        let most = sizes.iter().copied().max().unwrap_or(60);
        let mut template = Vec::with_capacity(most);
        template.extend_from_slice(&spec.destination);
        template.extend_from_slice(&spec.source);
        template.extend_from_slice(&ETHERTYPE_IPV4);
        template.extend_from_slice(&IPV4);
        template.extend_from_slice(&UDP_PORTS);
        // UDP length is set a frame; checksum 0 is "none".
        template.extend_from_slice(&[0; 4]);
        let filler = (template.len()..most).map(|at| at as u8);
        template.extend(filler);
        let sum = IPV4
            .chunks_exact(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        let limit = spec.limit.unwrap_or(u64::MAX);
        Self {
            template,
            sizes,
            flows: spec.flows.max(1),
            number: 0,
            limit,
            rng: Rng::new(spec.seed),
            sum,
        }
    }
}

impl Source for Generator {
    fn next(&mut self, frame: &mut Vec<u8>) -> bool {
        if self.number >= self.limit {
            return false;
        }
        let size = match self.sizes[..] {
            [only] => only,
            _ => {
                let at = self.rng.below(self.sizes.len() as u32);
                self.sizes[at as usize]
            }
        };
        let flow = if self.flows == 1 {
            0
        } else {
            self.rng.below(self.flows)
        };
        let (host, port) = ((flow & 0xffff) as u16, 0x1000 | (flow >> 16) as u16);
        let total = (size - 14) as u16;
        let mut sum = self.sum + u32::from(total) + u32::from(host);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        frame.clear();
        frame.extend_from_slice(&self.template[..size]);
        frame[16..18].copy_from_slice(&total.to_be_bytes());
        frame[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
        frame[28..30].copy_from_slice(&host.to_be_bytes());
        frame[34..36].copy_from_slice(&port.to_be_bytes());
        frame[38..40].copy_from_slice(&(total - 20).to_be_bytes());
        frame[NUMBER..NUMBER + 8].copy_from_slice(&self.number.to_be_bytes());
        self.number += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn frames_are_legal_numbered_and_repeatable() {
        let spec = FrameSpec {
            sizes: vec![60, 1514, 20],
            flows: 300,
            limit: Some(2000),
            ..FrameSpec::default()
        };
        let (mut one, mut two) = (Generator::new(&spec), Generator::new(&spec));
        let (mut frame, mut again, mut flows, mut sizes) =
            (Vec::new(), Vec::new(), HashSet::new(), HashSet::new());
        for number in 0..2000u64 {
            assert!(one.next(&mut frame) && two.next(&mut again));
            assert_eq!(frame, again);
            assert_eq!(frame[42..50], number.to_be_bytes());
            let header = frame[14..34]
                .chunks(2)
                .map(|p| u32::from(p[0]) << 8 | u32::from(p[1]))
                .sum::<u32>();
            assert_eq!((header & 0xffff) + (header >> 16), 0xffff, "IP checksum");
            flows.insert(frame[26..36].to_vec());
            sizes.insert(frame.len());
        }
        assert!(!one.next(&mut frame));
        assert!(flows.len() > 290, "{}", flows.len());
        assert_eq!(sizes, HashSet::from([60, 1514]));
    }
}
