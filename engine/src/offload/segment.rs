//! Segmentation in software: a long packet cut into packets that fit a wire.

use super::{Checksum, Offload, SegmentKind, Sum};

/// Protocols of IP.
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
/// Destination and source address.
const ADDRESSES: usize = 12;
/// Bytes of a VLAN tag.
const TAG: usize = 4;
/// Least bytes of payload in a segment of TCP, and most segments of a packet of UDP, as Linux has them (TCP_MIN_GSO_SIZE of
/// net/tcp.h, UDP_MAX_SEGMENTS of linux/udp.h): a hostile sender that asks for segments of one byte would have one packet
/// become 65,000.
const LEAST_TCP: usize = 8;
const MOST_UDP: usize = 128;
/// FIN and PSH stand in the last part only, CWR in the first.
const FIN_PSH: u8 = 0x09;
const CWR: u8 = 0x80;

/// Where the parts of a long packet stand in it: read from its own headers, every one of them checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segments {
    v6: bool,
    protocol: u8,
    /// Where the headers of IP and of TCP or UDP begin, and where the payload does.
    network: usize,
    transport: usize,
    payload: usize,
    /// Bytes of payload a segment.
    size: usize,
    /// Bytes of the packet.
    len: usize,
}

impl Segments {
    /// Of a packet whose offload asks for segmentation; `None` for one that cannot be cut: headers that are not those of its
    /// kind, that end outside of it or in another place than its checksum says, no payload, or more segments than any sender
    /// means (8 bytes of TCP each, 128 of UDP).
    pub fn new(bytes: &[u8], offload: &Offload) -> Option<Self> {
        let segmentation = offload.segmentation?;
        let network = network(bytes)?;
        let v6 = match bytes.get(network)? >> 4 {
            4 => false,
            6 => true,
            _ => return None,
        };
        let behind = match v6 {
            true => network + 40,
            false => network + usize::from(bytes[network] & 0xf) * 4,
        };
        let transport = match offload.checksum {
            Checksum::Partial { start, .. } => usize::from(start),
            _ => behind,
        };
        let (protocol, header) = match segmentation.kind {
            SegmentKind::Tcp4 | SegmentKind::Tcp6 => {
                let words = bytes.get(transport.checked_add(12)?)? >> 4;
                (IPPROTO_TCP, usize::from(words) * 4)
            }
            SegmentKind::Udp => (IPPROTO_UDP, 8),
        };
        let kind = match segmentation.kind {
            SegmentKind::Tcp4 => !v6,
            SegmentKind::Tcp6 => v6,
            SegmentKind::Udp => true,
        };
        let payload = transport.checked_add(header)?;
        let tcp = protocol != IPPROTO_TCP || header >= 20;
        let place = match v6 {
            // Extension headers may stand between, when the sender says where its checksum begins.
            true => behind <= transport && (behind != transport || bytes.get(network + 6) == Some(&protocol)),
            // The header is summed up whole, and has to end where the next one begins.
            false => behind >= network + 20 && behind == transport && is_whole(bytes, network, protocol),
        };
        let fits = kind && tcp && place && payload < bytes.len() && segmentation.size > 0;
        let segments = Self {
            v6,
            protocol,
            network,
            transport,
            payload,
            size: segmentation.size.into(),
            len: bytes.len(),
        };
        (fits && segments.is_meant()).then_some(segments)
    }

    /// Whether a sender may want so many segments.
    fn is_meant(&self) -> bool {
        self.count() <= 1
            || match self.protocol {
                IPPROTO_TCP => self.size >= LEAST_TCP,
                _ => self.count() <= MOST_UDP,
            }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        (self.len - self.payload).div_ceil(self.size)
    }

    /// Bytes of all headers, which every segment begins with.
    pub fn header(&self) -> usize {
        self.payload
    }

    /// Bytes of a segment; 0 for one that there is not.
    pub fn length(&self, index: usize) -> usize {
        let left = (self.len - self.payload).saturating_sub(index.saturating_mul(self.size));
        if left == 0 {
            0
        } else {
            self.payload + left.min(self.size)
        }
    }

    /// Writes a segment to `out`, which has its [`Segments::length`]; `bytes` are those that this was made of. False, and
    /// `out` may be anything, where they are not.
    pub fn write(&self, bytes: &[u8], index: usize, out: &mut [u8]) -> bool {
        let (len, skip) = (self.length(index), index.saturating_mul(self.size));
        if bytes.len() != self.len || len == 0 || out.len() != len {
            return false;
        }
        let (headers, part) = out.split_at_mut(self.payload);
        headers.copy_from_slice(&bytes[..self.payload]);
        part.copy_from_slice(&bytes[self.payload + skip..][..part.len()]);
        self.mend(out, index, index + 1 == self.count());
        self.seed(out);
        let sum = Sum::default().with(&out[self.transport..]).finish();
        // 0 means "none" for UDP (RFC 768), and is the same number.
        let sum = if sum == 0 { 0xffff } else { sum };
        out[self.checksum()..][..2].copy_from_slice(&sum.to_be_bytes());
        true
    }

    /// Takes the first `count` segments off the packet, not all of them; how many bytes at its front are to be cut off.
    /// What is left is headers and payload as if the packet had begun there, with its checksum to be completed.
    pub(super) fn advance(&self, bytes: &mut [u8], count: usize) -> usize {
        let gone = count.saturating_mul(self.size);
        if bytes.len() != self.len || count >= self.count() {
            return 0;
        }
        bytes.copy_within(..self.payload, gone);
        let rest = &mut bytes[gone..];
        self.mend(rest, count, true);
        self.seed(rest);
        gone
    }

    /// Puts the sum of the pseudo header where a device expects it that cuts or sums up.
    pub(super) fn reseed(&self, bytes: &mut [u8]) {
        if bytes.len() == self.len {
            self.seed(bytes);
        }
    }

    /// The request that is left to a packet of one segment, or of what [`Segments::advance`] leaves.
    pub(super) fn partial(&self) -> Checksum {
        Checksum::Partial {
            start: self.transport as u16,
            offset: (self.checksum() - self.transport) as u16,
        }
    }

    /// Where the checksum of TCP or UDP stands.
    fn checksum(&self) -> usize {
        self.transport + if self.protocol == IPPROTO_TCP { 16 } else { 6 }
    }

    /// Makes the headers of a packet that begins with segment `index` what they are to be, but for the checksum of TCP or UDP.
    fn mend(&self, out: &mut [u8], index: usize, last: bool) {
        let Self {
            network, transport, ..
        } = *self;
        if self.v6 {
            let payload = (out.len() - network - 40) as u16;
            out[network + 4..][..2].copy_from_slice(&payload.to_be_bytes());
        } else {
            let total = (out.len() - network) as u16;
            out[network + 2..][..2].copy_from_slice(&total.to_be_bytes());
            let id = u16::from_be_bytes([out[network + 4], out[network + 5]]).wrapping_add(index as u16);
            out[network + 4..][..2].copy_from_slice(&id.to_be_bytes());
            out[network + 10..][..2].fill(0);
            let sum = Sum::default().with(&out[network..transport]).finish();
            out[network + 10..][..2].copy_from_slice(&sum.to_be_bytes());
        }
        if self.protocol == IPPROTO_TCP {
            let number = &mut out[transport + 4..][..4];
            let first = u32::from_be_bytes([number[0], number[1], number[2], number[3]]);
            let skip = index.wrapping_mul(self.size) as u32;
            number.copy_from_slice(&first.wrapping_add(skip).to_be_bytes());
            let flags = &mut out[transport + 13];
            *flags &= if last { 0xff } else { !FIN_PSH };
            *flags &= if index == 0 { 0xff } else { !CWR };
        } else {
            let length = (out.len() - transport) as u16;
            out[transport + 4..][..2].copy_from_slice(&length.to_be_bytes());
        }
    }

    /// Puts the sum of the pseudo header where the checksum is to be.
    fn seed(&self, out: &mut [u8]) {
        let addresses = match self.v6 {
            true => self.network + 8..self.network + 40,
            false => self.network + 12..self.network + 20,
        };
        let sum = Sum::default()
            .with(&out[addresses])
            .with_u16(self.protocol.into())
            .with_u16((out.len() - self.transport) as u16)
            .finish();
        out[self.checksum()..][..2].copy_from_slice(&(!sum).to_be_bytes());
    }
}

/// Whether IPv4's header says that this protocol follows, and that the packet is no fragment.
fn is_whole(bytes: &[u8], network: usize, protocol: u8) -> bool {
    let Some(header) = bytes.get(network..network + 20) else {
        return false;
    };
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff;
    header[9] == protocol && fragment == 0
}

/// Where the header of IP begins, behind up to two tags.
fn network(bytes: &[u8]) -> Option<usize> {
    let mut at = ADDRESSES;
    for _ in 0..3 {
        match [*bytes.get(at)?, *bytes.get(at + 1)?] {
            [0x81, 0x00] | [0x88, 0xa8] => at += TAG,
            [0x08, 0x00] | [0x86, 0xdd] => return Some(at + 2),
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
pub(super) mod tests;
