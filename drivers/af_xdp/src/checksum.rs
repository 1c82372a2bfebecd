//! Checksums that the sender has left to a device that there is none of.
//!
//! Frames of this machine's own stack that come through a veth pair have in their TCP and UDP checksums only the sum of the
//! pseudo-header (`CHECKSUM_PARTIAL`), and the mark that says so does not come through an AF_XDP socket. But they are
//! known by it: a checksum that is the sum of its pseudo-header is taken for an unfinished one and computed. In a good
//! frame whose checksum is that by chance, the same comes out again.

use barline_netif::Sum;

const TCP: u8 = 6;
const UDP: u8 = 17;
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
const TAGS: [[u8; 2]; 2] = [[0x81, 0x00], [0x88, 0xa8]];

/// Where the transport's part is, and the sum of its pseudo-header.
struct Transport {
    start: usize,
    end: usize,
    protocol: u8,
    pseudo: u16,
}

fn transport(frame: &[u8]) -> Option<Transport> {
    let mut at = 12;
    while TAGS.contains(frame.get(at..at + 2)?.try_into().ok()?) {
        at += 4;
    }
    let kind: [u8; 2] = frame.get(at..at + 2)?.try_into().ok()?;
    let ip = at + 2;
    let half = |at: usize| {
        frame
            .get(at..at + 2)
            .and_then(|half| half.try_into().ok())
            .map(u16::from_be_bytes)
    };
    let (start, end, protocol, addresses) = match kind {
        IPV4 => {
            let first = *frame.get(ip)?;
            // Fragments: more to come, or an offset.
            if first >> 4 != 4 || half(ip + 6)? & 0x3fff != 0 {
                return None;
            }
            let header = usize::from(first & 15) * 4;
            (
                ip + header,
                ip + usize::from(half(ip + 2)?),
                *frame.get(ip + 9)?,
                frame.get(ip + 12..ip + 20)?,
            )
        }
        IPV6 => {
            let (header, len) = (40, usize::from(half(ip + 4)?));
            (
                ip + header,
                ip + header + len,
                *frame.get(ip + 6)?,
                frame.get(ip + 8..ip + 40)?,
            )
        }
        _ => return None,
    };
    let len = u16::try_from(end.checked_sub(start)?)
        .ok()
        .filter(|_| end <= frame.len())?;
    let sum = Sum::default()
        .with(addresses)
        .with_u16(protocol.into())
        .with_u16(len);
    let pseudo = !sum.finish();
    Some(Transport {
        start,
        end,
        protocol,
        pseudo,
    })
}

/// Computes the checksum of a frame that has an unfinished one; whether it had.
pub(crate) fn complete(frame: &mut [u8]) -> bool {
    let Some(Transport {
        start,
        end,
        protocol,
        pseudo,
    }) = transport(frame)
    else {
        return false;
    };
    let field = match protocol {
        TCP => start + 16,
        UDP => start + 6,
        _ => return false,
    };
    let Some(found) = frame.get(field..field + 2).filter(|_| field + 2 <= end) else {
        return false;
    };
    if found != pseudo.to_be_bytes() {
        return false;
    }
    barline_netif::complete(&mut frame[..end], start, field - start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// By the book: 16 bits at a time, in network order.
    fn slow(bytes: &[u8]) -> u16 {
        let halves = bytes
            .chunks(2)
            .map(|half| u32::from(half[0]) << 8 | u32::from(*half.get(1).unwrap_or(&0)));
        let mut sum = 0;
        for half in halves {
            sum += half;
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    /// A frame, where its transport starts, and the pseudo-header.
    fn frame(
        six: bool,
        tags: usize,
        protocol: u8,
        body: &[u8],
        addresses: &[u8; 32],
    ) -> (Vec<u8>, usize, Vec<u8>) {
        let mut frame = vec![2; 12];
        (0..tags).for_each(|_| frame.extend([0x81, 0, 0, 5]));
        let len = (body.len() as u16).to_be_bytes();
        let mut pseudo = Vec::new();
        if six {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, len[0], len[1], protocol, 64]);
            frame.extend(addresses);
            pseudo.extend(addresses);
        } else {
            let total = (body.len() as u16 + 20).to_be_bytes();
            frame.extend([
                8, 0, 0x45, 0, total[0], total[1], 0, 1, 0x40, 0, 64, protocol, 0, 0,
            ]);
            frame.extend(&addresses[..8]);
            pseudo.extend(&addresses[..8]);
        }
        pseudo.extend([0, protocol, len[0], len[1]]);
        let start = frame.len();
        frame.extend(body);
        (frame, start, pseudo)
    }

    proptest! {
        #[test]
        fn what_is_completed_sums_up(
            six: bool, tags in 0usize..3, udp: bool, body in proptest::collection::vec(any::<u8>(), 20..1500), addresses: [u8; 32], padding in 0usize..20,
        ) {
            let (protocol, field) = if udp { (UDP, 6) } else { (TCP, 16) };
            let (mut frame, start, pseudo) = frame(six, tags, protocol, &body, &addresses);
            let end = frame.len();
            frame[start + field..start + field + 2].copy_from_slice(&slow(&pseudo).to_be_bytes());
            frame.extend(vec![0xee; padding]);
            prop_assert!(complete(&mut frame));
            let whole = [&pseudo[..], &frame[start..end]].concat();
            prop_assert_eq!(slow(&whole), 0xffff);
            // A good one stays as it is.
            let before = frame.clone();
            complete(&mut frame);
            prop_assert_eq!(&before, &frame);
        }

        #[test]
        fn any_bytes_are_survived(mut bytes in proptest::collection::vec(any::<u8>(), 0..120), kind in 0usize..3) {
            if bytes.len() > 14 {
                bytes[12..14].copy_from_slice(&[IPV4, IPV6, TAGS[0]][kind]);
            }
            complete(&mut bytes);
        }
    }

    #[test]
    fn other_frames_stay_as_they_are() {
        let body = [0; 40];
        let addresses = [7; 32];
        let (mut icmp, ..) = frame(false, 0, 1, &body, &addresses);
        let (mut fragment, start, pseudo) = frame(false, 0, UDP, &body, &addresses);
        fragment[start + 6..start + 8].copy_from_slice(&slow(&pseudo).to_be_bytes());
        fragment[20] |= 0x20;
        assert!(!complete(&mut icmp) && !complete(&mut fragment));
    }
}
