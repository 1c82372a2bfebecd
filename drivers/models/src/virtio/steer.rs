//! Which receive queue a frame goes to (5.1.6.5.5, 5.1.6.5.6).

use super::flow::Flow;

/// Flows that automatic steering remembers, by number.
const FLOWS: usize = 1024;

/// RSS as the driver set it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rss {
    /// Enabled hash types.
    pub types: u32,
    /// Receive queue, counted in pairs, of what has no hash.
    pub unclassified: u16,
    /// Receive queues likewise; a power of two of them.
    pub table: Vec<u16>,
    /// The key.
    pub key: Vec<u8>,
}

/// How received frames are spread.
#[derive(Clone, Debug)]
pub struct Steering {
    /// Pairs in use with automatic steering; transmit queues in use with RSS.
    pub pairs: u16,
    /// RSS, while it is in force.
    pub rss: Option<Rss>,
    /// Automatic steering: the pair on which a flow was sent last, plus 1.
    sent: Vec<u16>,
}

impl Default for Steering {
    /// One pair.
    fn default() -> Self {
        Self {
            pairs: 1,
            rss: None,
            sent: Vec::new(),
        }
    }
}

impl Steering {
    /// A frame of this flow was sent on a pair.
    pub fn sent(&mut self, pair: u16, frame: &[u8]) {
        if self.pairs > 1 && self.rss.is_none() {
            self.sent.resize(FLOWS, 0);
            self.sent[Flow::of(frame).both_ways() as usize % FLOWS] = pair + 1;
        }
    }

    /// The pair whose receive queue takes a frame.
    pub fn choose(&self, frame: &[u8]) -> u16 {
        if let Some(rss) = &self.rss {
            let parts = Flow::of(frame).hashed(rss.types);
            return parts.map_or(rss.unclassified, |parts| {
                let hash = toeplitz(&rss.key, parts);
                rss.table
                    .get(hash as usize & (rss.table.len() - 1))
                    .copied()
                    .unwrap_or(0)
            });
        }
        if self.pairs == 1 {
            return 0;
        }
        let number = Flow::of(frame).both_ways();
        match self.sent.get(number as usize % FLOWS) {
            Some(pair) if (1..=self.pairs).contains(pair) => pair - 1,
            _ => (number % u32::from(self.pairs)) as u16,
        }
    }
}

/// Toeplitz hash: for every bit set, the 32 bits of the key from there on. A key that is too short goes on with zeros.
fn toeplitz(key: &[u8], parts: [&[u8]; 3]) -> u32 {
    let byte = |at: usize| key.get(at).copied().unwrap_or(0);
    let first = u32::from_be_bytes([byte(0), byte(1), byte(2), byte(3)]);
    let (mut window, mut hash) = (first, 0);
    for (at, input) in parts.into_iter().flatten().enumerate() {
        for bit in (0..8).rev() {
            if input >> bit & 1 != 0 {
                hash ^= window;
            }
            window = window << 1 | u32::from(byte(at + 4) >> bit & 1);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        // Microsoft, "Verifying the RSS hash calculation": 66.9.149.187:2794 to 161.142.100.80:1766.
        let key = [
            0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
            0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
            0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
        ];
        let (from, to) = ([66, 9, 149, 187], [161, 142, 100, 80]);
        let ports = [&2794u16.to_be_bytes()[..], &1766u16.to_be_bytes()].concat();
        assert_eq!(toeplitz(&key, [&from, &to, &ports]), 0x51cc_c178);
        assert_eq!(toeplitz(&key, [&from, &to, &[]]), 0x323e_8fc2);
    }
}
