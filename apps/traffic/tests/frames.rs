//! Frames are those that etherparse and smoltcp make of the same template, and nothing in them is wrong by tshark's word.
//! `PROPTEST_CASES=1000000 cargo test --release -p barline-traffic --test frames etherparse` tries a million templates.

#![allow(clippy::print_stdout, reason = "a test that cannot run says so")]

use barline_traffic::{Frame, Template, Vary, Walk};
use etherparse::{
    ArpHardwareId, ArpOperation, ArpPacket, EtherType, IpNumber, PacketBuilder, PacketBuilderStep,
    SlicedPacket, TransportSlice, VlanId,
};
use proptest::prelude::*;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;

#[derive(Clone, Debug)]
struct Case {
    dst: [u8; 6],
    src: [u8; 6],
    tags: Vec<u16>,
    /// 0 IPv4, 1 IPv6, 2 ARP.
    network: u8,
    four: [[u8; 4]; 2],
    six: [[u8; 16]; 2],
    ttl: u8,
    /// 0 UDP, 1 TCP, 2 ICMP echo, 3 VXLAN, 4 GRE.
    transport: u8,
    ports: [u16; 2],
    seq: u32,
    ack: u32,
    window: u16,
    payload: Vec<u8>,
}

prop_compose! {
    fn case()(
        dst: [u8; 6], src: [u8; 6], tags in proptest::collection::vec(0u16..4096, 0..3), network in 0u8..3,
        four: [[u8; 4]; 2], six: [[u8; 16]; 2], ttl: u8, transport in 0u8..5,
        (ports, seq, ack, window) in any::<([u16; 2], u32, u32, u16)>(),
        payload in proptest::collection::vec(any::<u8>(), 1..200),
    ) -> Case {
        Case { dst, src, tags, network, four, six, ttl, transport, ports, seq, ack, window, payload }
    }
}

fn mac(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The case in our short form.
fn text(case: &Case) -> String {
    let mut text = format!("ethernet(dst={},src={})", mac(case.dst), mac(case.src));
    match case.tags[..] {
        [one] => _ = write!(text, "/vlan(id={one})"),
        [outer, inner] => _ = write!(text, "/qinq(id={outer})/vlan(id={inner})"),
        _ => (),
    }
    let [from, to] = case.four.map(Ipv4Addr::from);
    let [a, b] = case.ports;
    if case.network == 2 {
        let (from_mac, to_mac) = (mac(case.src), mac(case.dst));
        let _ = write!(
            text,
            "/arp(sender-mac={from_mac},sender-ip={from},target-mac={to_mac},target-ip={to})"
        );
        return text;
    }
    text += &match case.network {
        0 => format!("/ipv4(src={from},dst={to},ttl={},flags=2)", case.ttl),
        _ => {
            let [from, to] = case.six.map(Ipv6Addr::from);
            format!("/ipv6(src={from},dst={to},hop-limit={})", case.ttl)
        }
    };
    text += &match (case.transport, case.network) {
        (0, _) => format!("/udp(src={a},dst={b})"),
        (1, _) => format!(
            "/tcp(src={a},dst={b},seq={},ack={},window={})",
            case.seq, case.ack, case.window
        ),
        (2, 0) => format!("/icmp(id={a},seq={b})"),
        (2, _) => format!("/icmpv6(id={a},seq={b})"),
        (3, _) => format!(
            "/udp(src={a})/vxlan(vni={})/ethernet(dst={},src={})/ipv4(flags=2)/udp",
            case.seq >> 8,
            mac(case.src),
            mac(case.dst)
        ),
        _ => format!("/gre/ipv4(src={to},dst={from},flags=2)/udp(src={b},dst={a})"),
    };
    let _ = write!(text, "/raw(hex={})", hex(&case.payload));
    text
}

fn written<T>(step: PacketBuilderStep<T>, write: impl FnOnce(PacketBuilderStep<T>, &mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(step, &mut bytes);
    bytes
}

fn udp4(from: [u8; 4], to: [u8; 4], ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let step = PacketBuilder::ipv4(from, to, 64).udp(ports[0], ports[1]);
    written(step, |step, bytes| step.write(bytes, payload).unwrap())
}

/// The same frame by etherparse.
fn reference(case: &Case) -> Vec<u8> {
    let ethernet = || PacketBuilder::ethernet2(case.src, case.dst);
    let id = |id: u16| VlanId::try_new(id).unwrap();
    let [from, to] = case.four;
    if case.network == 2 {
        let (kind, ether) = (ArpHardwareId::ETHERNET, EtherType::IPV4);
        let arp = ArpPacket::new(
            kind,
            ether,
            ArpOperation::REQUEST,
            &case.src,
            &from,
            &case.dst,
            &to,
        )
        .unwrap();
        let write = |step: PacketBuilderStep<ArpPacket>, bytes: &mut Vec<u8>| step.write(bytes).unwrap();
        return match case.tags[..] {
            [one] => written(ethernet().single_vlan(id(one)).arp(arp), write),
            [outer, inner] => written(ethernet().double_vlan(id(outer), id(inner)).arp(arp), write),
            _ => written(ethernet().arp(arp), write),
        };
    }
    let [six_from, six_to] = case.six;
    let step = match (&case.tags[..], case.network) {
        ([one], 0) => ethernet().single_vlan(id(*one)).ipv4(from, to, case.ttl),
        ([outer, inner], 0) => ethernet()
            .double_vlan(id(*outer), id(*inner))
            .ipv4(from, to, case.ttl),
        (_, 0) => ethernet().ipv4(from, to, case.ttl),
        ([one], _) => ethernet().single_vlan(id(*one)).ipv6(six_from, six_to, case.ttl),
        ([outer, inner], _) => ethernet()
            .double_vlan(id(*outer), id(*inner))
            .ipv6(six_from, six_to, case.ttl),
        _ => ethernet().ipv6(six_from, six_to, case.ttl),
    };
    let ([a, b], payload) = (case.ports, &case.payload);
    let mut bytes = Vec::new();
    match (case.transport, case.network) {
        (0, _) => step.udp(a, b).write(&mut bytes, payload).unwrap(),
        (1, _) => {
            let step = step.tcp(a, b, case.seq, case.window).ack(case.ack);
            step.write(&mut bytes, payload).unwrap();
        }
        (2, 0) => step.icmpv4_echo_request(a, b).write(&mut bytes, payload).unwrap(),
        (2, _) => step.icmpv6_echo_request(a, b).write(&mut bytes, payload).unwrap(),
        (3, _) => {
            let inner = PacketBuilder::ethernet2(case.dst, case.src)
                .ipv4([198, 18, 0, 1], [198, 18, 0, 2], 64)
                .udp(49184, 49184);
            let inner = written(inner, |step, bytes| step.write(bytes, payload).unwrap());
            let mut vxlan = vec![8, 0, 0, 0];
            vxlan.extend((case.seq & 0xffff_ff00).to_be_bytes());
            vxlan.extend(inner);
            step.udp(a, 4789).write(&mut bytes, &vxlan).unwrap();
        }
        _ => {
            let mut gre = vec![0, 0, 8, 0];
            gre.extend(udp4(to, from, [b, a], payload));
            step.write(&mut bytes, IpNumber(47), &gre).unwrap();
        }
    }
    bytes
}

fn image(text: &str) -> Vec<u8> {
    let frame = Frame::new(&Template::parse(text).unwrap());
    frame.image(frame.least(), 0).unwrap()
}

proptest! {
    #[test]
    fn frames_are_those_of_etherparse(case in case()) {
        let (text, theirs) = (text(&case), reference(&case));
        let ours = image(&text);
        prop_assert_eq!(&ours, &theirs, "{}", text);
        // And back: what a parser finds in it is what was asked for.
        let sliced = SlicedPacket::from_ethernet(&ours).unwrap();
        prop_assert_eq!(sliced.vlan_ids().iter().map(|id| id.value()).collect::<Vec<_>>(), case.tags);
        if let (Some(TransportSlice::Udp(udp)), 0) = (&sliced.transport, case.transport) {
            prop_assert_eq!([udp.source_port(), udp.destination_port()], case.ports);
            prop_assert_eq!(udp.payload(), &case.payload[..]);
        }
    }

    /// What varies is what a template with these values has.
    #[test]
    fn a_program_makes_the_frames_of_templates(
        case in case(), number in 0u64..5000, drawn in 1u64..1000, more in 0usize..200, wrong: bool
    ) {
        let mut case = case;
        case.transport %= 4;
        case.network %= 2;
        let bad = |text: String| if wrong { text.replacen("/udp(", "/udp(checksum=wrong,", 1) } else { text };
        let frame = Frame::new(&Template::parse(&bad(text(&case))).unwrap());
        let fields = match (case.network, case.transport) {
            (0, 0 | 1) => vec!["ipv4.src=10.0.0.0..10.255.255.255..7".to_owned(), format!("ipv4.dst=random:{drawn}")],
            (0, 2) => vec!["icmp.seq=count".into(), "ipv4.ttl=1|3|5".into()],
            (0, _) => vec!["ipv4.id=count".into(), "ipv4#2.src=random".into(), "udp#2.src=count".into()],
            (_, 0) => vec!["ipv6.dst=2001:2::..2001:2::ffff..3".into(), "udp.dst=random(5..99)".into()],
            (_, 1) => vec!["ipv6.flow-label=count".into(), "tcp.seq=random".into(), "tcp.src=count".into()],
            _ => vec!["ethernet.src=02:00:00:00:00:00..02:00:00:ff:ff:ff".into(), "ipv6.src=random".into()],
        };
        let mut fields: Vec<Vary> = fields.iter().map(|text| Vary::parse(text, &frame).unwrap()).collect();
        barline_traffic::order(&mut fields);
        let len = frame.least() + more;
        let program = barline_traffic::Program::compile(&frame, len, 0x5a, &fields, None).unwrap();
        let mut values = [0; barline_traffic::MOST_FIELDS];
        let mut walks: Vec<Walk> = fields.iter().map(|vary| Walk::new(&vary.values, number, 1)).collect();
        let mut expected = frame.image(len, 0x5a).unwrap();
        for (vary, value) in fields.iter().zip(&mut values) {
            *value = Walk::new(&vary.values, number, 1).step();
            if let Some((at, high)) = vary.high {
                barline_traffic::frame::value::put(&mut expected, at, 64, high.into());
            }
            let (at, bits) = (vary.place.at, vary.place.field.bits);
            barline_traffic::frame::value::put(&mut expected, at, bits, (*value).into());
        }
        let mut made = vec![0xee; program.room()];
        program.write(&mut [&mut made[..]], walks.iter_mut().map(|walk| walk.steps::<1>()));
        summed(&frame, &mut expected);
        prop_assert_eq!(&made[..len], &expected[..], "{:?}", fields);
        // Several at once are those that come one after the other.
        let mut ahead = walks.clone();
        let mut four = vec![[0xee; 1024]; 4];
        let Ok(mut together) = <[_; 4]>::try_from(four.iter_mut().map(|frame| &mut frame[..]).collect::<Vec<_>>()) else {
            unreachable!()
        };
        program.write(&mut together, ahead.iter_mut().map(|walk| walk.steps::<4>()));
        for frame in &four {
            program.write(&mut [&mut made[..]], walks.iter_mut().map(|walk| walk.steps::<1>()));
            prop_assert_eq!(&made[..len], &frame[..len], "{:?}", fields);
        }
    }
}

/// Writes the checksums anew, each from all it covers.
fn summed(frame: &Frame, bytes: &mut [u8]) {
    let words = |bytes: &[u8]| -> u64 {
        bytes
            .chunks(2)
            .map(|two| u64::from(two[0]) << 8 | u64::from(*two.get(1).unwrap_or(&0)))
            .sum()
    };
    for site in frame.sites(bytes.len()) {
        bytes[site.at..site.at + 2].fill(0);
        let addresses = site.addresses.map_or(0, |(from, to)| words(&bytes[from..to]));
        let mut sum = words(&bytes[site.from..site.to]) + addresses + site.pseudo;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        let value = match (!(sum as u16), site.udp) {
            (0, true) => 0xffff,
            (value, _) => value,
        };
        let value = match site.sum {
            barline_traffic::frame::Sum::Wrong if value == 0x00ff => 0xff00 ^ value,
            barline_traffic::frame::Sum::Wrong => 0x00ff ^ value,
            _ => value,
        };
        bytes[site.at..site.at + 2].copy_from_slice(&value.to_be_bytes());
    }
}

mod smoltcp_makes_the_same {
    use super::*;
    use smoltcp::phy::ChecksumCapabilities;
    use smoltcp::wire::*;

    fn ethernet(case: &Case, kind: EthernetProtocol, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; 14 + len];
        let repr = EthernetRepr {
            src_addr: EthernetAddress(case.src),
            dst_addr: EthernetAddress(case.dst),
            ethertype: kind,
        };
        repr.emit(&mut EthernetFrame::new_unchecked(&mut bytes[..]));
        bytes
    }

    fn transport(case: &Case, bytes: &mut [u8], from: IpAddress, to: IpAddress) {
        let caps = ChecksumCapabilities::default();
        let [src_port, dst_port] = case.ports;
        match case.transport {
            0 => UdpRepr { src_port, dst_port }.emit(
                &mut UdpPacket::new_unchecked(bytes),
                &from,
                &to,
                case.payload.len(),
                |place| place.copy_from_slice(&case.payload),
                &caps,
            ),
            1 => TcpRepr {
                src_port,
                dst_port,
                control: TcpControl::None,
                seq_number: TcpSeqNumber(case.seq as i32),
                ack_number: Some(TcpSeqNumber(case.ack as i32)),
                window_len: case.window,
                window_scale: None,
                max_seg_size: None,
                sack_permitted: false,
                sack_ranges: [None; 3],
                timestamp: None,
                payload: &case.payload,
            }
            .emit(&mut TcpPacket::new_unchecked(bytes), &from, &to, &caps),
            _ => Icmpv4Repr::EchoRequest {
                ident: src_port,
                seq_no: dst_port,
                data: &case.payload,
            }
            .emit(&mut Icmpv4Packet::new_unchecked(bytes), &caps),
        }
    }

    fn frame(case: &Case) -> Vec<u8> {
        let header = [8, 20, 8][usize::from(case.transport)];
        let len = header + case.payload.len();
        let protocol = [IpProtocol::Udp, IpProtocol::Tcp, IpProtocol::Icmp][usize::from(case.transport)];
        let caps = ChecksumCapabilities::default();
        if case.network == 0 {
            let [src_addr, dst_addr] = case.four.map(Ipv4Addr::from);
            let repr = Ipv4Repr {
                src_addr,
                dst_addr,
                next_header: protocol,
                payload_len: len,
                hop_limit: case.ttl,
            };
            let mut bytes = ethernet(case, EthernetProtocol::Ipv4, 20 + len);
            repr.emit(&mut Ipv4Packet::new_unchecked(&mut bytes[14..]), &caps);
            transport(case, &mut bytes[34..], src_addr.into(), dst_addr.into());
            return bytes;
        }
        let [src_addr, dst_addr] = case.six.map(Ipv6Addr::from);
        let repr = Ipv6Repr {
            src_addr,
            dst_addr,
            next_header: protocol,
            payload_len: len,
            hop_limit: case.ttl,
        };
        let mut bytes = ethernet(case, EthernetProtocol::Ipv6, 40 + len);
        repr.emit(&mut Ipv6Packet::new_unchecked(&mut bytes[14..]));
        transport(case, &mut bytes[54..], src_addr.into(), dst_addr.into());
        bytes
    }

    proptest! {
        #[test]
        fn of_udp_tcp_and_icmp(case in case(), transport in 0u8..3, six: bool) {
            let mut case = case;
            (case.tags, case.transport, case.network) = (Vec::new(), transport, u8::from(six && transport < 2));
            // Port 0 is none to smoltcp.
            case.ports = case.ports.map(|port| port.max(1));
            let text = text(&case);
            prop_assert_eq!(image(&text), frame(&case), "{}", text);
        }
    }
}

/// One of each kind, and wrong ones, read by tshark.
#[test]
fn tshark_finds_nothing_wrong_where_nothing_is() {
    if Command::new("tshark").arg("--version").output().is_err() {
        println!("SKIPPED: there is no tshark; install it: apt-get install tshark");
        return;
    }
    let good = [
        "ethernet/arp",
        "ethernet/ipv4/udp",
        "ethernet/vlan(id=5,pcp=3)/ipv4/tcp",
        "ethernet/qinq(id=6)/vlan(id=7)/ipv6/udp",
        "ethernet/ipv4/icmp",
        "ethernet/ipv6/icmpv6",
        "ethernet/ipv6/tcp",
        "ethernet/ipv4/udp/vxlan(vni=9)/ethernet/ipv4/tcp",
        "ethernet/ipv4/gre/ipv6/udp",
        "ethernet/ipv4/gre-key(key=3)/ethernet/ipv4/icmp",
        "ethernet/ipv4/ipv4/udp",
    ];
    let bad = [
        "ethernet/ipv4(checksum=wrong)/udp",
        "ethernet/ipv4/udp(checksum=wrong)",
        "ethernet/ipv6/tcp(checksum=wrong)",
    ];
    let frames: Vec<Vec<u8>> = good
        .iter()
        .chain(&bad)
        .map(|text| {
            let frame = Frame::new(&Template::parse(text).unwrap());
            frame.image(frame.least().max(60) + 21, 0x61).unwrap()
        })
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("frames.pcap");
    let mut file = pcap_file::pcap::PcapWriter::new(std::fs::File::create(&path).unwrap()).unwrap();
    for frame in &frames {
        let packet = pcap_file::pcap::PcapPacket::new(std::time::Duration::ZERO, frame.len() as u32, frame);
        file.write_packet(&packet).unwrap();
    }
    drop(file);
    let check =
        ["ip.check_checksum", "tcp.check_checksum", "udp.check_checksum"].map(|name| format!("{name}:TRUE"));
    let output = Command::new("tshark")
        .arg("-r")
        .arg(&path)
        .args(check.iter().flat_map(|option| ["-o", option]))
        .args(["-T", "fields", "-e", "frame.number", "-e", "frame.protocols"])
        .args(["-Y", "_ws.malformed || _ws.expert.severity >= 8388608 || ip.checksum.status == 0 || udp.checksum.status == 0 || tcp.checksum.status == 0 || icmp.checksum.status == 0 || icmpv6.checksum.status == 0"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let found: Vec<usize> = said
        .lines()
        .filter_map(|line| line.split('\t').next()?.parse().ok())
        .collect();
    let wanted: Vec<usize> = (good.len() + 1..=frames.len()).collect();
    assert_eq!(found, wanted, "{said}{}", String::from_utf8_lossy(&output.stderr));
}
