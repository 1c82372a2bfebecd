//! From a frame of the kernel's to packets as they would be on a wire: tags go back to their place, checksums that were left
//! to the device are completed, and what was left to the device to cut (TSO, GSO) is cut.

use crate::block::Frame;
use barline_netif::{Sum, complete};

/// Kinds of long frames (linux/virtio_net.h, VIRTIO_NET_HDR_GSO_*).
const TCP4: u8 = 1;
const TCP6: u8 = 4;
const UDP: u8 = 5;
/// Protocols of IP.
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
/// Destination and source address.
const ADDRESSES: usize = 12;
/// Bytes of a VLAN tag.
const TAG: usize = 4;
/// Shortest frame: an Ethernet header.
const LEAST: usize = 14;
/// FIN and PSH stand in the last part only, CWR in the first.
const FIN_PSH: u8 = 0x09;
const CWR: u8 = 0x80;

/// How a long frame is cut.
#[derive(Clone, Copy, Debug)]
struct Plan {
    v6: bool,
    protocol: u8,
    /// Where the headers of IP and of TCP or UDP begin, and where the payload does.
    network: usize,
    transport: usize,
    payload: usize,
    /// Bytes of payload a part.
    size: usize,
}

/// How far a frame has been made into packets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    plan: Option<Plan>,
    /// The next byte of the payload, or of the frame.
    at: usize,
    part: u16,
}

impl Cursor {
    /// For a frame of which no packet may be longer than `most` bytes. `None` for one that cannot be delivered.
    pub fn new(frame: &Frame<'_>, most: usize) -> Option<Self> {
        let len = frame.bytes.len();
        if frame.cut || len < LEAST {
            return None;
        }
        let tag = tag_of(frame);
        let Some((kind, size)) = frame.segments else {
            let inside = |(start, offset): (usize, usize)| start + offset + 2 <= len;
            let good = len + tag <= most && frame.partial.is_none_or(inside);
            return good.then_some(Self {
                plan: None,
                at: 0,
                part: 0,
            });
        };
        let plan = Plan::new(frame, kind, size.into())?;
        let good = plan.payload + plan.size.min(len - plan.payload) + tag <= most;
        good.then_some(Self {
            plan: Some(plan),
            at: plan.payload,
            part: 0,
        })
    }

    /// Bytes of the next packet; `None` when there is none.
    pub fn length(&self, frame: &Frame<'_>) -> Option<usize> {
        let left = frame.bytes.len().checked_sub(self.at).filter(|left| *left > 0)?;
        let tag = tag_of(frame);
        Some(match &self.plan {
            None => left + tag,
            Some(plan) => plan.payload + left.min(plan.size) + tag,
        })
    }

    /// Whether this is the first packet of its frame.
    pub fn is_first(&self) -> bool {
        self.part == 0
    }

    /// Writes the next packet to `out`, which has its length, and goes on.
    pub fn write(&mut self, frame: &Frame<'_>, out: &mut [u8]) {
        let tag = tag_of(frame);
        let (front, rest) = frame.bytes.split_at(ADDRESSES);
        out[..ADDRESSES].copy_from_slice(front);
        if let Some((protocol, control)) = frame.tag {
            out[ADDRESSES..][..2].copy_from_slice(&protocol.to_be_bytes());
            out[ADDRESSES + 2..][..2].copy_from_slice(&control.to_be_bytes());
        }
        let behind = ADDRESSES + tag;
        match self.plan {
            None => {
                out[behind..].copy_from_slice(rest);
                if let Some((start, offset)) = frame.partial {
                    complete(out, start + tag, offset);
                }
                self.at = frame.bytes.len();
            }
            Some(plan) => {
                let headers = plan.payload + tag;
                out[behind..headers].copy_from_slice(&frame.bytes[ADDRESSES..plan.payload]);
                let end = self.at + out.len() - headers;
                out[headers..].copy_from_slice(&frame.bytes[self.at..end]);
                plan.mend(
                    &mut out[tag..],
                    self.part,
                    self.at - plan.payload,
                    end == frame.bytes.len(),
                );
                self.at = end;
            }
        }
        self.part = self.part.wrapping_add(1);
    }

    /// The same, at the front of `out`; how long it is.
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn next(&mut self, frame: &Frame<'_>, out: &mut [u8]) -> Option<usize> {
        let len = self.length(frame)?;
        self.write(frame, out.get_mut(..len)?);
        Some(len)
    }
}

fn tag_of(frame: &Frame<'_>) -> usize {
    if frame.tag.is_some() { TAG } else { 0 }
}

impl Plan {
    fn new(frame: &Frame<'_>, kind: u8, size: usize) -> Option<Self> {
        let bytes = frame.bytes;
        // A frame that is left to us to cut is left to us to sum up too.
        let (transport, _) = frame.partial?;
        let network = network(bytes)?;
        let v6 = bytes.get(network)? >> 4 == 6;
        let (protocol, header) = match kind {
            TCP4 | TCP6 => {
                let words = bytes.get(transport.checked_add(12)?)? >> 4;
                (IPPROTO_TCP, usize::from(words) * 4)
            }
            UDP => (IPPROTO_UDP, 8),
            _ => return None,
        };
        let least = if v6 { 40 } else { 20 };
        let payload = transport.checked_add(header)?;
        let tcp = protocol != IPPROTO_TCP || header >= 20;
        let fits = network + least <= transport && payload < bytes.len() && size > 0 && tcp;
        let v4 = bytes[network] >> 4 == 4;
        let versions = match kind {
            TCP4 => v4,
            TCP6 => v6,
            _ => v4 || v6,
        };
        // The header of IPv4 is summed up whole: it has to end where TCP begins.
        let header = v6 || usize::from(bytes[network] & 0xf) * 4 == transport - network.min(transport);
        (fits && versions && header).then_some(Self {
            v6,
            protocol,
            network,
            transport,
            payload,
            size,
        })
    }

    /// Makes the headers of a part what they are to be. `out` has them where the frame has them; `offset` is that of its
    /// payload.
    fn mend(&self, out: &mut [u8], part: u16, offset: usize, last: bool) {
        let Self {
            network, transport, ..
        } = *self;
        let length = (out.len() - transport) as u16;
        if self.v6 {
            let payload = (out.len() - network - 40) as u16;
            out[network + 4..][..2].copy_from_slice(&payload.to_be_bytes());
        } else {
            let total = (out.len() - network) as u16;
            out[network + 2..][..2].copy_from_slice(&total.to_be_bytes());
            let id = u16::from_be_bytes([out[network + 4], out[network + 5]]).wrapping_add(part);
            out[network + 4..][..2].copy_from_slice(&id.to_be_bytes());
            out[network + 10..][..2].fill(0);
            let sum = Sum::default().with(&out[network..transport]).finish();
            out[network + 10..][..2].copy_from_slice(&sum.to_be_bytes());
        }
        let field = match self.protocol {
            IPPROTO_TCP => {
                let number = &mut out[transport + 4..][..4];
                let first = u32::from_be_bytes([number[0], number[1], number[2], number[3]]);
                number.copy_from_slice(&first.wrapping_add(offset as u32).to_be_bytes());
                let flags = &mut out[transport + 13];
                *flags &= if last { 0xff } else { !FIN_PSH };
                *flags &= if part == 0 { 0xff } else { !CWR };
                transport + 16
            }
            _ => {
                out[transport + 4..][..2].copy_from_slice(&length.to_be_bytes());
                transport + 6
            }
        };
        let addresses = match self.v6 {
            true => network + 8..network + 40,
            false => network + 12..network + 20,
        };
        out[field..][..2].fill(0);
        let pseudo = Sum::default()
            .with(&out[addresses])
            .with_u16(self.protocol.into())
            .with_u16(length);
        let sum = pseudo.with(&out[transport..]).finish();
        let sum = if sum == 0 { 0xffff } else { sum };
        out[field..][..2].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Where the header of IP begins, behind tags that are still in the frame.
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
mod tests;
