//! Records as text.

use super::{Record, Sink, Way};
use barline::port::MacAddress;
use etherparse::{IpNumber, LaxLinkExtSlice, LaxNetSlice, LaxSlicedPacket, LinkSlice, TransportSlice};
use std::fmt::{self, Write as _};
use std::io::{self, BufWriter, Write};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Bytes a line.
const ROW: usize = 16;

pub(super) struct Text<W: Write> {
    out: BufWriter<W>,
    port: String,
}

impl<W: Write> Text<W> {
    pub(super) fn new(out: W, port: &str) -> Self {
        Self {
            out: BufWriter::new(out),
            port: port.to_owned(),
        }
    }
}

impl<W: Write + Send> Sink for Text<W> {
    fn write(&mut self, record: &Record) -> io::Result<()> {
        let way = match record.way {
            Way::In => "rx",
            Way::Out => "tx",
        };
        let time = record.time;
        let (hours, minutes, seconds) = (
            time.as_secs() / 3600 % 24,
            time.as_secs() / 60 % 60,
            time.as_secs() % 60,
        );
        writeln!(
            self.out,
            "{hours:02}:{minutes:02}:{seconds:02}.{:09} {} {way} {} {} bytes: {}",
            time.subsec_nanos(),
            self.port,
            record.queue,
            record.len,
            headers(&record.data)
        )?;
        if let Some(descriptor) = &record.descriptor {
            writeln!(self.out, "    {descriptor}")?;
        }
        for (row, bytes) in record.data.chunks(ROW).enumerate() {
            let hex: String = bytes.iter().fold(String::new(), |mut text, byte| {
                let _ = write!(text, " {byte:02x}");
                text
            });
            writeln!(self.out, "    {:04x} {hex}", row * ROW)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> fmt::Debug for Text<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Text")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// One line of what the headers say, as far as they make sense.
fn headers(frame: &[u8]) -> String {
    let Ok(packet) = LaxSlicedPacket::from_ethernet(frame) else {
        return "too short for an Ethernet header".to_owned();
    };
    let mut text = String::new();
    if let Some(LinkSlice::Ethernet2(ethernet)) = &packet.link {
        let (from, to) = (MacAddress(ethernet.source()), MacAddress(ethernet.destination()));
        let _ = write!(text, "{from} > {to}");
        if packet.net.is_none() && packet.link_exts.is_empty() {
            let _ = write!(text, ", type {:#06x}", ethernet.ether_type().0);
        }
    }
    for extension in &packet.link_exts {
        match extension {
            LaxLinkExtSlice::Vlan(tag) => {
                let _ = write!(text, ", VLAN {}", tag.vlan_identifier().value());
            }
            LaxLinkExtSlice::Macsec(_) => text.push_str(", MACsec"),
        }
    }
    packet
        .net
        .iter()
        .for_each(|net| network(&mut text, net, packet.transport.is_none()));
    packet
        .transport
        .iter()
        .for_each(|transport| transported(&mut text, transport));
    if let Some((error, layer)) = packet.stop_err {
        let _ = write!(text, " [{layer}: {error}]");
    }
    text
}

fn network(text: &mut String, net: &LaxNetSlice<'_>, last: bool) {
    let protocol = |text: &mut String, number: IpNumber| {
        if last {
            let _ = write!(text, ", protocol {}", number.0);
        }
    };
    match net {
        LaxNetSlice::Ipv4(ip) => {
            let header = ip.header();
            let (from, to) = (
                Ipv4Addr::from(header.source()),
                Ipv4Addr::from(header.destination()),
            );
            let _ = write!(text, ", IPv4 {from} > {to} ttl {}", header.ttl());
            protocol(text, ip.payload().ip_number);
        }
        LaxNetSlice::Ipv6(ip) => {
            let header = ip.header();
            let (from, to) = (
                Ipv6Addr::from(header.source()),
                Ipv6Addr::from(header.destination()),
            );
            let _ = write!(text, ", IPv6 {from} > {to} hops {}", header.hop_limit());
            protocol(text, ip.payload().ip_number);
        }
        LaxNetSlice::Arp(arp) => {
            let _ = write!(text, ", ARP operation {}", arp.operation().0);
        }
    }
}

fn transported(text: &mut String, transport: &TransportSlice<'_>) {
    let _ = match transport {
        TransportSlice::Udp(udp) => write!(
            text,
            ", UDP {} > {}, {} bytes",
            udp.source_port(),
            udp.destination_port(),
            udp.payload().len()
        ),
        TransportSlice::Tcp(tcp) => {
            let flags = [
                (tcp.syn(), 'S'),
                (tcp.ack(), 'A'),
                (tcp.fin(), 'F'),
                (tcp.rst(), 'R'),
                (tcp.psh(), 'P'),
            ];
            let flags: String = flags
                .iter()
                .filter(|(set, _)| *set)
                .map(|(_, name)| *name)
                .collect();
            write!(
                text,
                ", TCP {} > {} [{flags}] seq {} ack {}, {} bytes",
                tcp.source_port(),
                tcp.destination_port(),
                tcp.sequence_number(),
                tcp.acknowledgment_number(),
                tcp.payload().len()
            )
        }
        TransportSlice::Icmpv4(icmp) => {
            write!(text, ", ICMP type {} code {}", icmp.type_u8(), icmp.code_u8())
        }
        TransportSlice::Icmpv6(icmp) => {
            write!(text, ", ICMPv6 type {} code {}", icmp.type_u8(), icmp.code_u8())
        }
        TransportSlice::Igmp(_) => write!(text, ", IGMP"),
    };
}
