//! Where IP and what it carries stand in a frame, and the Internet checksum over it (RFC 1071).

use super::flow::be16;

const VLAN: [u16; 2] = [0x8100, 0x88a8];
const MOST_TAGS: usize = 2;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// IPv6 extension headers that may stand before TCP and UDP: hop-by-hop, routing, destination options.
const EXTENSIONS: [u8; 3] = [0, 43, 60];
const MOST_EXTENSIONS: usize = 8;
/// Protocol number.
pub const TCP: u8 = 6;
const UDP: u8 = 17;

/// A frame with a whole TCP segment or UDP datagram in it, as far as its headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layers {
    /// Where the IP header begins.
    pub ip: usize,
    /// It is IPv6.
    pub v6: bool,
    /// TCP or UDP.
    pub protocol: u8,
    /// Where its header begins.
    pub transport: usize,
    /// Where the IP packet ends: padding may follow.
    pub end: usize,
}

impl Layers {
    /// Parses a frame; fragments and all but TCP and UDP have none.
    pub fn of(frame: &[u8]) -> Option<Self> {
        let mut at = 12;
        while be16(frame, at).is_some_and(|ether| VLAN.contains(&ether)) && at < 12 + 4 * MOST_TAGS {
            at += 4;
        }
        let ip = at + 2;
        let found = match be16(frame, at)? {
            IPV4 => Self::ipv4(frame, ip),
            IPV6 => Self::ipv6(frame, ip),
            _ => None,
        }?;
        let least = found.transport + if found.protocol == TCP { 20 } else { 8 };
        let known = matches!(found.protocol, TCP | UDP);
        (known && least <= found.end && found.end <= frame.len()).then_some(found)
    }

    fn ipv4(frame: &[u8], ip: usize) -> Option<Self> {
        let header = frame.get(ip..ip + 20)?;
        let (len, total) = (usize::from(header[0] & 0xf) * 4, usize::from(be16(header, 2)?));
        let whole = be16(header, 6)? & 0x3fff == 0;
        (header[0] >> 4 == 4 && len >= 20 && whole).then_some(Self {
            ip,
            v6: false,
            protocol: header[9],
            transport: ip + len,
            end: ip + total,
        })
    }

    fn ipv6(frame: &[u8], ip: usize) -> Option<Self> {
        let header = frame.get(ip..ip + 40)?;
        if header[0] >> 4 != 6 {
            return None;
        }
        let end = ip + 40 + usize::from(be16(header, 4)?);
        let (mut protocol, mut transport) = (header[6], ip + 40);
        for _ in 0..MOST_EXTENSIONS {
            if !EXTENSIONS.contains(&protocol) {
                break;
            }
            let first = frame.get(transport..transport + 2)?;
            (protocol, transport) = (first[0], transport + 8 + usize::from(first[1]) * 8);
        }
        Some(Self {
            ip,
            v6: true,
            protocol,
            transport,
            end,
        })
    }

    /// Where the checksum stands, from the transport header on.
    pub fn offset(&self) -> usize {
        if self.protocol == TCP { 16 } else { 6 }
    }

    /// Sum of the pseudo header for so many bytes of header and data (RFC 9293 3.1, RFC 8200 8.1).
    pub fn pseudo(&self, frame: &[u8], len: usize) -> u64 {
        let addresses = match self.v6 {
            false => self.ip + 12..self.ip + 20,
            true => self.ip + 8..self.ip + 40,
        };
        sum(&frame[addresses]) + u64::from(self.protocol) + (len as u64 >> 16) + (len as u64 & 0xffff)
    }

    /// Whether the checksum is there and right.
    pub fn is_valid(&self, frame: &[u8]) -> bool {
        let at = self.transport + self.offset();
        let present = self.protocol == TCP || frame[at..at + 2] != [0, 0];
        let all = &frame[self.transport..self.end];
        present && fold(sum(all) + self.pseudo(frame, all.len())) == 0xffff
    }
}

/// Sum of big-endian words; an odd byte at the end has a zero after it.
pub fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks(2);
    words
        .map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0)))
        .sum()
}

/// A sum in ones' complement of 16 bits.
pub fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Completes a checksum: ones' complement over everything from `start` on, where the pseudo header's sum stands already.
pub fn complete(frame: &mut [u8], start: u16, offset: u16) -> Option<()> {
    let (start, at) = (usize::from(start), usize::from(start) + usize::from(offset));
    if at + 2 > frame.len() {
        return None;
    }
    let folded = !fold(sum(&frame[start..]));
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

    #[test]
    fn headers_that_end_too_early_are_none() {
        // IPv6 with a hop-by-hop header, then UDP; one tag in front.
        let mut frame = vec![0; 12];
        frame.extend([0x81, 0, 0, 5, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 16, 0, 64]);
        frame.extend([1; 32]);
        frame.extend([UDP, 0, 1, 4, 0, 0, 0, 0, 0, 7, 0, 9, 0, 8, 0, 0]);
        let found = Layers::of(&frame).expect("UDP");
        assert_eq!((found.ip, found.transport, found.end), (18, 66, 74));
        for len in 0..frame.len() {
            assert_eq!(Layers::of(&frame[..len]), None, "{len}");
        }
        // A fragment.
        let mut fragment = vec![0; 12];
        fragment.extend([8, 0, 0x45, 0, 0, 40, 0, 0, 0x20, 0, 64, TCP, 0, 0]);
        fragment.resize(60, 0);
        assert_eq!(Layers::of(&fragment), None);
        fragment[20] = 0;
        assert_eq!(Layers::of(&fragment).map(|found| found.transport), Some(34));
    }
}
