//! Receive-side scaling (7.1.1.7).

use super::headers::{Headers, ptype};
use super::regs::{MRQC, RETA, RSSRK};
use barline_sim::RegFile;

/// MRQC: what is hashed (8.10.20).
mod field {
    pub const TCP_IPV4: u32 = 1 << 16;
    pub const IPV4: u32 = 1 << 17;
    pub const TCP_IPV6_EX: u32 = 1 << 18;
    pub const IPV6_EX: u32 = 1 << 19;
    pub const IPV6: u32 = 1 << 20;
    pub const TCP_IPV6: u32 = 1 << 21;
    pub const UDP_IPV4: u32 = 1 << 22;
    pub const UDP_IPV6: u32 = 1 << 23;
    pub const UDP_IPV6_EX: u32 = 1 << 24;
}

/// MRQC bits 2:0: queues by RSS.
const MODE: u32 = 7;
const MODE_RSS: u32 = 2;

/// Longest input: two IPv6 addresses and two ports.
const INPUT: usize = 36;
/// Key bytes: RSSRK 0 to 9.
const KEY: usize = 40;

/// The hash as a table of one byte's share at each position, made from the key.
pub struct Rss {
    shares: Vec<[u32; 256]>,
    stale: bool,
}

impl std::fmt::Debug for Rss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rss(stale: {})", self.stale)
    }
}

impl Rss {
    /// Before the first key.
    pub fn new() -> Self {
        Self {
            shares: vec![[0; 256]; INPUT],
            stale: true,
        }
    }

    /// The key changed.
    pub fn forget(&mut self) {
        self.stale = true;
    }

    fn rebuild(&mut self, regs: &RegFile) {
        let mut key = [0; KEY];
        for (bytes, word) in key.chunks_exact_mut(4).zip(0..) {
            bytes.copy_from_slice(&regs.get(RSSRK + word * 4).to_le_bytes());
        }
        for (position, shares) in self.shares.iter_mut().enumerate() {
            // The 40 key bits that this byte's 8 input bits meet: bit i of the byte (from the top) meets the 32
            // bits from bit i on.
            let window = key[position..].iter().chain(&[0; 5]).take(5);
            let window = window.fold(0u64, |all, byte| all << 8 | u64::from(*byte));
            for (byte, share) in shares.iter_mut().enumerate() {
                *share = (0..8)
                    .filter(|bit| byte >> (7 - bit) & 1 != 0)
                    .fold(0, |share, bit| share ^ (window >> (8 - bit)) as u32);
            }
        }
        self.stale = false;
    }

    fn hash(&self, parts: [&[u8]; 2]) -> u32 {
        let input = parts[0].iter().chain(parts[1]);
        input
            .zip(&self.shares)
            .fold(0, |hash, (byte, shares)| hash ^ shares[usize::from(*byte)])
    }

    /// Queue, hash and RSS type of a frame; queue 0 and type 0 where nothing is hashed.
    pub fn choose(&mut self, regs: &RegFile, frame: &[u8], headers: &Headers) -> (usize, u32, u32) {
        let mrqc = regs.get(MRQC);
        if mrqc & MODE != MODE_RSS {
            return (0, 0, 0);
        }
        let (kind, with_ports) = kind(mrqc, headers.ptype);
        let Some((at, len)) = headers.addresses.filter(|_| kind != 0) else {
            return (0, 0, 0);
        };
        if self.stale {
            self.rebuild(regs);
        }
        let addresses = frame.get(at..at + len).unwrap_or(&[]);
        let ports = headers
            .ports
            .filter(|_| with_ports)
            .and_then(|at| frame.get(at..at + 4))
            .unwrap_or(&[]);
        let hash = self.hash([addresses, ports]);
        // 128 entries, four a register; the queue is in bits 3:0 of each (8.10.21).
        let index = hash & 0x7f;
        let entry = regs.get(RETA + (index & !3)) >> ((index & 3) * 8);
        ((entry & 0xf) as usize, hash, kind)
    }
}

/// RSS type (7.1.5.2) and whether the ports are hashed too: the most specific kind that MRQC allows.
fn kind(mrqc: u32, found: u32) -> (u32, bool) {
    let on = |bit: u32| mrqc & bit != 0;
    let (tcp, udp) = (found & ptype::TCP != 0, found & ptype::UDP != 0);
    if found & ptype::IPV4 != 0 {
        return match () {
            () if tcp && on(field::TCP_IPV4) => (1, true),
            () if udp && on(field::UDP_IPV4) => (7, true),
            () if on(field::IPV4) => (2, false),
            () => (0, false),
        };
    }
    if found & ptype::IPV6 == 0 {
        return (0, false);
    }
    let plain = found & ptype::IPV6_EXTENSIONS == 0;
    match () {
        () if tcp && plain && on(field::TCP_IPV6) => (3, true),
        () if tcp && on(field::TCP_IPV6_EX) => (6, true),
        () if udp && plain && on(field::UDP_IPV6) => (8, true),
        () if udp && on(field::UDP_IPV6_EX) => (9, true),
        () if plain && on(field::IPV6) => (5, false),
        () if on(field::IPV6_EX) => (4, false),
        () => (0, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::e82576::regs::{BAR0_LEN, RULES};
    use std::net::{Ipv4Addr, Ipv6Addr};

    /// The key of Microsoft's "Verifying the RSS hash calculation".
    const MICROSOFT: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0,
        0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42,
        0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];

    /// Destination, source, hash of the addresses, hash of addresses and ports.
    type Published = (&'static str, u16, &'static str, u16, u32, u32);

    const V4: [Published; 5] = [
        (
            "161.142.100.80",
            1766,
            "66.9.149.187",
            2794,
            0x323e_8fc2,
            0x51cc_c178,
        ),
        (
            "65.69.140.83",
            4739,
            "199.92.111.2",
            14230,
            0xd718_262a,
            0xc626_b0ea,
        ),
        (
            "12.22.207.184",
            38024,
            "24.19.198.95",
            12898,
            0xd2d0_a5de,
            0x5c2b_394a,
        ),
        (
            "209.142.163.6",
            2217,
            "38.27.205.30",
            48228,
            0x8298_9176,
            0xafc7_327f,
        ),
        (
            "202.188.127.2",
            1303,
            "153.39.163.191",
            44251,
            0x5d18_09c5,
            0x10e8_28a2,
        ),
    ];

    const V6: [Published; 3] = [
        (
            "3ffe:2501:200:3::1",
            1766,
            "3ffe:2501:200:1fff::7",
            2794,
            0x2cc1_8cd5,
            0x4020_7d3d,
        ),
        (
            "ff02::1",
            4739,
            "3ffe:501:8::260:97ff:fe40:efab",
            14230,
            0x0f0c_461c,
            0xdde5_1bbf,
        ),
        (
            "fe80::200:f8ff:fe21:67cf",
            38024,
            "3ffe:1900:4545:3:200:f8ff:fe21:67cf",
            44251,
            0x4b61_e985,
            0x02d1_feef,
        ),
    ];

    fn with_key() -> (Rss, RegFile) {
        let mut regs = RegFile::new(BAR0_LEN as usize, RULES);
        for (word, bytes) in (0..).zip(MICROSOFT.chunks_exact(4)) {
            regs.set(
                RSSRK + word * 4,
                u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
            );
        }
        let mut rss = Rss::new();
        rss.rebuild(&regs);
        (rss, regs)
    }

    #[test]
    fn hashes_are_those_microsoft_published() {
        let (rss, _) = with_key();

        for (to, to_port, from, from_port, plain, tcp) in V4 {
            let (to, from): (Ipv4Addr, Ipv4Addr) = (to.parse().unwrap(), from.parse().unwrap());
            let addresses = [from.octets(), to.octets()].concat();
            let ports = [from_port.to_be_bytes(), to_port.to_be_bytes()].concat();
            assert_eq!(
                (rss.hash([&addresses, &[]]), rss.hash([&addresses, &ports])),
                (plain, tcp)
            );
        }

        for (to, to_port, from, from_port, plain, tcp) in V6 {
            let (to, from): (Ipv6Addr, Ipv6Addr) = (to.parse().unwrap(), from.parse().unwrap());
            let addresses = [from.octets(), to.octets()].concat();
            let ports = [from_port.to_be_bytes(), to_port.to_be_bytes()].concat();
            assert_eq!(
                (rss.hash([&addresses, &[]]), rss.hash([&addresses, &ports])),
                (plain, tcp)
            );
        }
    }

    #[test]
    fn mrqc_decides_what_is_hashed() {
        let all = 0x01ff_0000 | MODE_RSS;
        assert_eq!(kind(all, ptype::IPV4 | ptype::TCP), (1, true));
        assert_eq!(kind(all, ptype::IPV4 | ptype::UDP), (7, true));
        assert_eq!(kind(all & !field::UDP_IPV4, ptype::IPV4 | ptype::UDP), (2, false));
        assert_eq!(kind(all, ptype::IPV6 | ptype::TCP), (3, true));
        assert_eq!(
            kind(all, ptype::IPV6 | ptype::IPV6_EXTENSIONS | ptype::TCP),
            (6, true)
        );
        assert_eq!(kind(all, ptype::IPV6 | ptype::UDP), (8, true));
        assert_eq!(kind(all, ptype::IPV6), (5, false));
        assert_eq!(kind(all, 0), (0, false));
    }
}
