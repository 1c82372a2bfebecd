//! Segmentation of TCP on transmit (5.1.6.2).

use super::feature;
use super::layers::{Layers, TCP, fold, sum};

/// VIRTIO_NET_HDR_GSO_*.
pub const TCPV4: u8 = 1;
/// Likewise.
pub const TCPV6: u8 = 4;
/// TCP flags: FIN and PSH belong to the last segment, CWR to the first.
const FIN_PSH: u8 = 0x09;
const CWR: u8 = 0x80;

/// The feature that a `gso_type` takes on transmit; `None` for what the model does not do.
pub fn needs(gso: u8) -> Option<u64> {
    match gso {
        TCPV4 => Some(feature::HOST_TSO4),
        TCPV6 => Some(feature::HOST_TSO6),
        _ => None,
    }
}

/// What of it the driver asks, in its header.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// `gso_type`.
    pub gso: u8,
    /// `gso_size`: bytes of data in a segment.
    pub size: u16,
    /// `csum_start` and `csum_offset`.
    pub checksum: (u16, u16),
}

/// The frames that go out. `None` where the request does not fit the frame: another protocol, no TCP header where the
/// checksum starts, no size, a checksum field without the pseudo header's sum for the whole.
pub fn cut(frame: &[u8], asked: Request) -> Option<Vec<Vec<u8>>> {
    let layers = Layers::of(frame).filter(|layers| layers.protocol == TCP && layers.end == frame.len())?;
    let start = usize::from(asked.checksum.0);
    let places = start == layers.transport && usize::from(asked.checksum.1) == layers.offset();
    let at = start + layers.offset();
    let headers = start + usize::from(*frame.get(start + 12)? >> 4) * 4;
    let v6 = asked.gso == TCPV6;
    if v6 != layers.v6 || !places || asked.size == 0 || headers < start + 20 || headers > frame.len() {
        return None;
    }
    let partial = fold(sum(&frame[at..at + 2]));
    if partial != fold(layers.pseudo(frame, frame.len() - start)) {
        return None;
    }
    let data = &frame[headers..];
    let mut pieces: Vec<&[u8]> = data.chunks(usize::from(asked.size)).collect();
    if pieces.is_empty() {
        pieces.push(&[]);
    }
    let last = pieces.len() - 1;
    let mut sent = 0;
    let segments = pieces.into_iter().enumerate().map(|(number, piece)| {
        let mut segment = [&frame[..headers], piece].concat();
        let first = if number == 0 { 0 } else { CWR };
        let more = first | if number == last { 0 } else { FIN_PSH };
        segment[start + 13] &= !more;
        finish(&mut segment, &layers, number as u16, sent);
        sent += piece.len() as u32;
        segment
    });
    Some(segments.collect())
}

fn add16(bytes: &mut [u8], at: usize, more: u16) {
    let value = u16::from_be_bytes([bytes[at], bytes[at + 1]]).wrapping_add(more);
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// Lengths, IP's identification, sequence number and checksums of a segment that `sent` bytes come before.
fn finish(segment: &mut [u8], layers: &Layers, number: u16, sent: u32) {
    let (ip, tcp) = (layers.ip, layers.transport);
    let counted = if layers.v6 { ip + 40 } else { ip };
    let len = (segment.len() - counted) as u16;
    let place = if layers.v6 { ip + 4 } else { ip + 2 };
    segment[place..place + 2].copy_from_slice(&len.to_be_bytes());
    if !layers.v6 {
        add16(segment, ip + 4, number);
        segment[ip + 10..ip + 12].fill(0);
        let header = !fold(sum(&segment[ip..tcp]));
        segment[ip + 10..ip + 12].copy_from_slice(&header.to_be_bytes());
    }
    let sequence = [4, 5, 6, 7].map(|at| segment[tcp + at]);
    let sequence = u32::from_be_bytes(sequence).wrapping_add(sent);
    segment[tcp + 4..tcp + 8].copy_from_slice(&sequence.to_be_bytes());
    let at = tcp + layers.offset();
    segment[at..at + 2].fill(0);
    let all = sum(&segment[tcp..]) + layers.pseudo(segment, segment.len() - tcp);
    segment[at..at + 2].copy_from_slice(&(!fold(all)).to_be_bytes());
}
