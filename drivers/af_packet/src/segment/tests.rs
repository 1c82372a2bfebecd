use super::*;
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use proptest::prelude::*;

/// A frame with TCP or UDP in it, as a sender would leave it to its device.
fn long(v6: bool, tcp: bool, payload: &[u8]) -> (Vec<u8>, (usize, usize)) {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let builder = match v6 {
        true => builder.ipv6([1; 16], [2; 16], 9),
        false => builder.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9),
    };
    let mut frame = Vec::new();
    if tcp {
        let builder = builder.tcp(5, 6, u32::MAX - 100, 7).psh().fin().cwr().ack(9);
        builder.write(&mut frame, payload).unwrap();
    } else {
        builder.udp(5, 6).write(&mut frame, payload).unwrap();
    }
    let transport = if v6 { 54 } else { 34 };
    (frame, (transport, if tcp { 16 } else { 6 }))
}

fn whole(bytes: &[u8]) -> Frame<'_> {
    Frame {
        bytes,
        tag: None,
        cut: false,
        partial: None,
        segments: None,
    }
}

fn packets(frame: &Frame<'_>, most: usize) -> Option<Vec<Vec<u8>>> {
    let mut cursor = Cursor::new(frame, most)?;
    let (mut packets, mut out) = (Vec::new(), vec![0xee; 70_000]);
    while let Some(len) = cursor.next(frame, &mut out) {
        packets.push(out[..len].to_vec());
    }
    Some(packets)
}

/// What etherparse says of a packet: its payload, and for TCP its sequence number and FIN, PSH, CWR. Every checksum and
/// length is looked at.
fn read(packet: &[u8]) -> (Vec<u8>, Option<(u32, [bool; 3])>) {
    let sliced = SlicedPacket::from_ethernet(packet).unwrap();
    match sliced.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
        }
        NetSlice::Ipv6(ip) => {
            assert_eq!(usize::from(ip.header().payload_length()) + 40 + 14, packet.len());
        }
        _ => panic!("no IP"),
    }
    let (v4, v6) = match sliced.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => (Some(ip.header()), None),
        NetSlice::Ipv6(ip) => (None, Some(ip.header())),
        _ => (None, None),
    };
    match sliced.transport.unwrap() {
        TransportSlice::Tcp(tcp) => {
            let header = tcp.to_header();
            let sum = match (v4, v6) {
                (Some(ip), _) => header.calc_checksum_ipv4_raw(ip.source(), ip.destination(), tcp.payload()),
                (_, Some(ip)) => header.calc_checksum_ipv6_raw(ip.source(), ip.destination(), tcp.payload()),
                _ => panic!("no IP"),
            };
            assert_eq!(header.checksum, sum.unwrap());
            let flags = [header.fin, header.psh, header.cwr];
            (tcp.payload().to_vec(), Some((header.sequence_number, flags)))
        }
        TransportSlice::Udp(udp) => {
            let header = udp.to_header();
            let sum = match (v4, v6) {
                (Some(ip), _) => header.calc_checksum_ipv4_raw(ip.source(), ip.destination(), udp.payload()),
                (_, Some(ip)) => header.calc_checksum_ipv6_raw(ip.source(), ip.destination(), udp.payload()),
                _ => panic!("no IP"),
            };
            assert_eq!(header.checksum, sum.unwrap());
            assert_eq!(usize::from(header.length), udp.payload().len() + 8);
            (udp.payload().to_vec(), None)
        }
        _ => panic!("neither TCP nor UDP"),
    }
}

proptest! {
    /// The parts are right packets in order, none too long, and make up the whole.
    #[test]
    fn a_long_frame_is_cut_into_right_packets(v6: bool, tcp: bool, size in 1u16..2000, payload in proptest::collection::vec(any::<u8>(), 1..9000)) {
        let (bytes, partial) = long(v6, tcp, &payload);
        let kind = match (tcp, v6) {
            (true, false) => TCP4,
            (true, true) => TCP6,
            _ => UDP,
        };
        let frame = Frame { partial: Some(partial), segments: Some((kind, size)), ..whole(&bytes) };
        let headers = bytes.len() - payload.len();
        let packets = packets(&frame, headers + usize::from(size)).unwrap();
        prop_assert_eq!(packets.len(), payload.len().div_ceil(size.into()));
        let mut joined = Vec::new();
        for (index, packet) in packets.iter().enumerate() {
            let (part, of_tcp) = read(packet);
            let last = index + 1 == packets.len();
            if let Some((number, flags)) = of_tcp {
                prop_assert_eq!(number, (u32::MAX - 100).wrapping_add(joined.len() as u32));
                prop_assert_eq!(flags, [last, last, index == 0]);
            }
            prop_assert!(last || part.len() == usize::from(size));
            joined.extend(part);
        }
        prop_assert_eq!(joined, payload);
        // A part that would be too long for the port is not delivered.
        let most = headers + usize::from(size).min(joined_len(&packets, headers)) - 1;
        prop_assert!(Cursor::new(&frame, most).is_none());
    }

    #[test]
    fn anything_that_a_header_says_is_survived(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), start in 0usize..400, offset in 0usize..400, kind in 0u8..8, size in 0u16..400, tagged: bool, ip: bool) {
        if ip && bytes.len() > 15 {
            bytes[12..15].copy_from_slice(&[8, 0, 0x45]);
        }
        let frame = Frame {
            tag: tagged.then_some((0x8100, 5)),
            partial: Some((start, offset)),
            segments: (kind > 0).then_some((kind, size)),
            ..whole(&bytes)
        };
        if let Some(packets) = packets(&frame, 1518) {
            prop_assert!(packets.iter().all(|packet| packet.len() <= 1518));
        }
    }
}

fn joined_len(packets: &[Vec<u8>], headers: usize) -> usize {
    packets[0].len() - headers
}

#[test]
fn a_checksum_that_was_left_to_the_device_is_completed() {
    for (v6, tcp) in [(false, true), (false, false), (true, true), (true, false)] {
        let (right, (start, offset)) = long(v6, tcp, b"some payload");
        let mut bytes = right.clone();
        let (addresses, protocol) = match v6 {
            true => (22..54, if tcp { 6 } else { 17 }),
            false => (26..34, if tcp { 6 } else { 17 }),
        };
        let pseudo = Sum::default()
            .with(&bytes[addresses])
            .with_u16(protocol)
            .with_u16((bytes.len() - start) as u16);
        // The kernel leaves the sum of the pseudo header, not inverted.
        bytes[start + offset..][..2].copy_from_slice(&(!pseudo.finish()).to_be_bytes());
        let frame = Frame {
            partial: Some((start, offset)),
            ..whole(&bytes)
        };
        assert_eq!(packets(&frame, 1518).unwrap(), [right]);
    }
}

#[test]
fn a_tag_goes_back_to_its_place() {
    let bytes = [&[1; 12][..], &[8, 0], &[9; 50]].concat();
    let frame = Frame {
        tag: Some((0x88a8, 0x2007)),
        ..whole(&bytes)
    };
    let right = [&[1; 12][..], &[0x88, 0xa8, 0x20, 0x07, 8, 0], &[9; 50]].concat();
    assert_eq!(packets(&frame, 68).unwrap(), [right]);
    assert!(packets(&frame, 67).is_none(), "too long with it");
}
