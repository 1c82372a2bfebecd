use super::super::{Segmentation, complete};
use super::*;
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use proptest::prelude::*;

/// A frame with TCP or UDP in it, as a sender would leave it to its device, and what it asks for.
pub(in crate::offload) fn long(
    v6: bool,
    tcp: bool,
    tagged: bool,
    payload: &[u8],
    size: u16,
) -> (Vec<u8>, Offload) {
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
    let mut transport: u16 = if v6 { 54 } else { 34 };
    if tagged {
        frame.splice(12..12, [0x81, 0x00, 0x20, 0x07]);
        transport += 4;
    }
    let kind = match (tcp, v6) {
        (true, false) => SegmentKind::Tcp4,
        (true, true) => SegmentKind::Tcp6,
        _ => SegmentKind::Udp,
    };
    let (offset, header) = if tcp { (16, 20) } else { (6, 8) };
    let offload = Offload {
        checksum: Checksum::Partial {
            start: transport,
            offset,
        },
        segmentation: Some(Segmentation {
            kind,
            ecn: tcp,
            size,
            header: transport + header,
        }),
    };
    (frame, offload)
}

/// Payload, IPv4 id, and of TCP the sequence number and FIN, PSH, CWR.
pub(in crate::offload) type Reading = (Vec<u8>, Option<u16>, Option<(u32, [bool; 3])>);

/// What etherparse says of a packet: its payload, its IPv4 id, and for TCP its sequence number and FIN, PSH, CWR. Every
/// checksum and length is looked at.
pub(in crate::offload) fn read(packet: &[u8]) -> Reading {
    let sliced = SlicedPacket::from_ethernet(packet).unwrap();
    let begin = if packet[12] == 0x81 { 18 } else { 14 };
    let (v4, v6) = match sliced.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => (Some(ip.header()), None),
        NetSlice::Ipv6(ip) => (None, Some(ip.header())),
        _ => panic!("no IP"),
    };
    if let Some(ip) = v4 {
        let header = ip.to_header();
        assert_eq!(header.header_checksum, header.calc_header_checksum());
        assert_eq!(usize::from(header.total_len) + begin, packet.len());
    }
    if let Some(ip) = v6 {
        assert_eq!(usize::from(ip.payload_length()) + 40 + begin, packet.len());
    }
    let id = v4.map(|ip| ip.identification());
    match sliced.transport.unwrap() {
        TransportSlice::Tcp(tcp) => {
            let header = tcp.to_header();
            let sum = match (v4, v6) {
                (Some(ip), _) => header.calc_checksum_ipv4_raw(ip.source(), ip.destination(), tcp.payload()),
                (_, Some(ip)) => header.calc_checksum_ipv6_raw(ip.source(), ip.destination(), tcp.payload()),
                _ => panic!("no IP"),
            };
            assert!(same_sum(header.checksum, sum.unwrap()));
            let flags = [header.fin, header.psh, header.cwr];
            (tcp.payload().to_vec(), id, Some((header.sequence_number, flags)))
        }
        TransportSlice::Udp(udp) => {
            let header = udp.to_header();
            let sum = match (v4, v6) {
                (Some(ip), _) => header.calc_checksum_ipv4_raw(ip.source(), ip.destination(), udp.payload()),
                (_, Some(ip)) => header.calc_checksum_ipv6_raw(ip.source(), ip.destination(), udp.payload()),
                _ => panic!("no IP"),
            };
            assert!(same_sum(header.checksum, sum.unwrap()) && header.checksum != 0);
            assert_eq!(usize::from(header.length), udp.payload().len() + 8);
            (udp.payload().to_vec(), id, None)
        }
        _ => panic!("neither TCP nor UDP"),
    }
}

/// 0 and 0xffff are the same number.
fn same_sum(a: u16, b: u16) -> bool {
    a % 0xffff == b % 0xffff
}

fn packets(bytes: &[u8], segments: &Segments) -> Vec<Vec<u8>> {
    let packet = |index| {
        let mut out = vec![0xee; segments.length(index)];
        assert!(segments.write(bytes, index, &mut out));
        out
    };
    (0..segments.count()).map(packet).collect()
}

/// Reads segments from number `first` on of a packet whose first sequence number and id are those of [`long`]; their
/// payload, joined.
fn join(packets: &[Vec<u8>], first: usize, size: usize, ends: bool) -> Vec<u8> {
    let mut joined = Vec::new();
    for (index, packet) in packets.iter().enumerate() {
        let (part, id, tcp) = read(packet);
        let last = ends && index + 1 == packets.len();
        if let Some((number, flags)) = tcp {
            let skip = (first * size + joined.len()) as u32;
            assert_eq!(number, (u32::MAX - 100).wrapping_add(skip));
            assert_eq!(flags, [last, last, first + index == 0]);
        }
        assert!(id.is_none_or(|id| id == (first + index) as u16));
        assert!(last || part.len() == size);
        joined.extend(part);
    }
    joined
}

proptest! {
    /// The parts are right packets in order, none too long, and make up the whole.
    #[test]
    fn a_long_packet_is_cut_into_right_ones(
        v6: bool, tcp: bool, tagged: bool, seeded: bool, size in 80u16..2000, payload in proptest::collection::vec(any::<u8>(), 1..9000)
    ) {
        let (bytes, mut offload) = long(v6, tcp, tagged, &payload, size);
        if !seeded {
            offload.checksum = Checksum::Valid;
        }
        let segments = Segments::new(&bytes, &offload).unwrap();
        let packets = packets(&bytes, &segments);
        prop_assert_eq!(segments.header(), bytes.len() - payload.len());
        prop_assert_eq!(packets.len(), payload.len().div_ceil(size.into()));
        prop_assert_eq!(join(&packets, 0, size.into(), true), payload);
        prop_assert_eq!(segments.length(packets.len()), 0);
    }

    /// What is left after some segments is a packet of the rest.
    #[test]
    fn what_is_left_is_the_rest(
        v6: bool, tcp: bool, tagged: bool, size in 40u16..500, done: prop::sample::Index, payload in proptest::collection::vec(any::<u8>(), 2..4000)
    ) {
        let (bytes, offload) = long(v6, tcp, tagged, &payload, size);
        let segments = Segments::new(&bytes, &offload).unwrap();
        let done = done.index(segments.count());
        let front: Vec<_> = packets(&bytes, &segments).drain(..done).collect();
        let mut rest = bytes.clone();
        let gone = segments.advance(&mut rest, done);
        prop_assert_eq!(gone, done * usize::from(size));
        let rest = &mut rest[gone..];
        let mut whole = rest.to_vec();
        if let Checksum::Partial { start, offset } = segments.partial() {
            prop_assert!(complete(&mut whole, start.into(), offset.into()));
        }
        let mut joined = join(&front, 0, size.into(), false);
        joined.extend(join(&[whole], done, size.into(), true));
        prop_assert_eq!(&joined, &payload);
        let segments = Segments::new(rest, &offload).unwrap();
        let tail = join(&packets(rest, &segments), done, size.into(), true);
        prop_assert_eq!(tail, &payload[gone..]);
    }

    #[test]
    fn anything_that_a_header_says_is_survived(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..300), offload in super::super::record::tests::offloads(),
        at in proptest::option::of(0u16..400), version in proptest::option::of(prop_oneof![Just([8, 0, 0x45]), Just([0x86, 0xdd, 0x60])])
    ) {
        if let Some(version) = version.filter(|_| bytes.len() > 15) {
            bytes[12..15].copy_from_slice(&version);
        }
        let checksum = at.map_or(offload.checksum, |start| Checksum::Partial { start, offset: 16 });
        if let Some(segments) = Segments::new(&bytes, &Offload { checksum, ..offload }) {
            prop_assert!(segments.count() > 0 && segments.header() < bytes.len());
            for index in 0..segments.count() {
                let mut out = vec![0; segments.length(index)];
                prop_assert!(segments.write(&bytes, index, &mut out));
            }
            let mut rest = bytes.clone();
            prop_assert!(segments.advance(&mut rest, segments.count() - 1) < bytes.len());
        }
    }
}

/// A sender that asks for segments of a byte would have one packet become thousands.
#[test]
fn more_segments_than_any_sender_means_are_refused() {
    for (v6, tcp, payload, size, good) in [
        (false, true, 9000, 8, true),
        (true, true, 9000, 7, false),
        (false, true, 2, 1, false),
        (false, true, 1, 1, true),
        (false, false, 1280, 10, true),
        (true, false, 1281, 10, false),
        (false, false, 128, 1, true),
        (false, false, 129, 1, false),
    ] {
        let (bytes, offload) = long(v6, tcp, false, &vec![7; payload], size);
        let cut = Segments::new(&bytes, &offload).is_some();
        assert_eq!(cut, good, "{payload} bytes in {size}, TCP {tcp}");
    }
}

#[test]
fn what_is_no_long_packet_of_its_kind_is_not_cut() {
    let (bytes, offload) = long(false, true, false, &[7; 100], 10);
    assert!(Segments::new(&bytes, &offload).is_some());
    let refused = |change: fn(&mut Vec<u8>, &mut Offload)| {
        let (mut bytes, mut offload) = (bytes.clone(), offload);
        change(&mut bytes, &mut offload);
        assert_eq!(Segments::new(&bytes, &offload), None);
    };
    refused(|_, offload| offload.segmentation = None);
    refused(|_, offload| offload.segmentation.as_mut().unwrap().size = 0);
    refused(|_, offload| offload.segmentation.as_mut().unwrap().kind = SegmentKind::Tcp6);
    refused(|_, offload| offload.segmentation.as_mut().unwrap().kind = SegmentKind::Udp);
    refused(|_, offload| {
        offload.checksum = Checksum::Partial {
            start: 35,
            offset: 16,
        }
    });
    refused(|bytes, _| bytes[13] = 6); // ARP
    refused(|bytes, _| bytes[14] = 0x55);
    refused(|bytes, _| bytes[14] = 0x46); // options that are not there
    refused(|bytes, _| bytes[20] = 0x20); // a fragment
    refused(|bytes, _| bytes[23] = 17);
    refused(|bytes, _| bytes[46] = 0x40); // TCP's header is too short
    refused(|bytes, _| bytes.truncate(54)); // no payload
}
