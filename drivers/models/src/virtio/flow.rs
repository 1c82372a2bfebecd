//! What the device finds in a frame to steer by (5.1.6.4.3).

/// VIRTIO_NET_HASH_TYPE_*.
mod types {
    pub const IPV4: u32 = 1 << 0;
    pub const TCPV4: u32 = 1 << 1;
    pub const UDPV4: u32 = 1 << 2;
    pub const IPV6: u32 = 1 << 3;
    pub const TCPV6: u32 = 1 << 4;
    pub const UDPV6: u32 = 1 << 5;
    pub const IP_EX: u32 = 1 << 6;
    pub const TCP_EX: u32 = 1 << 7;
    pub const UDP_EX: u32 = 1 << 8;
}

const VLAN: [u16; 2] = [0x8100, 0x88a8];
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// IPv6 extension headers: hop-by-hop, routing, fragment, destination options.
const HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const OPTIONS: u8 = 60;
const MOST_EXTENSIONS: usize = 8;
/// Destination option that holds the home address (RFC 6275, 6.3).
const HOME_ADDRESS: u8 = 0xc9;

/// A frame's flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flow<'a> {
    /// Source and destination address.
    addresses: Option<(&'a [u8], &'a [u8])>,
    /// What stands for them where extension headers say so (the same otherwise).
    extended: Option<(&'a [u8], &'a [u8])>,
    /// It has extension headers.
    has_extensions: bool,
    /// Protocol and both ports.
    ports: Option<(u8, &'a [u8])>,
}

/// A big-endian word.
pub fn be16(frame: &[u8], at: usize) -> Option<u16> {
    let pair = frame.get(at..at + 2)?;
    Some(u16::from_be_bytes([pair[0], pair[1]]))
}

/// VLAN id of a tagged frame.
pub fn vlan(frame: &[u8]) -> Option<u16> {
    let tagged = be16(frame, 12)? == VLAN[0];
    tagged.then(|| be16(frame, 14).map(|tag| tag & 0xfff)).flatten()
}

impl<'a> Flow<'a> {
    /// Parses as far as it goes.
    pub fn of(frame: &'a [u8]) -> Self {
        let (mut flow, mut at) = (Self::default(), 12);
        while be16(frame, at).is_some_and(|ether| VLAN.contains(&ether)) && at < 20 {
            at += 4;
        }
        match be16(frame, at) {
            Some(IPV4) => drop(flow.ipv4(frame, at + 2)),
            Some(IPV6) => drop(flow.ipv6(frame, at + 2)),
            _ => {}
        }
        flow
    }

    fn ipv4(&mut self, frame: &'a [u8], at: usize) -> Option<()> {
        let header = frame.get(at..at + 20)?;
        let len = usize::from(header[0] & 0xf) * 4;
        if header[0] >> 4 != 4 || len < 20 {
            return None;
        }
        self.addresses = Some((&header[12..16], &header[16..20]));
        self.extended = self.addresses;
        let whole = u16::from_be_bytes([header[6], header[7]]) & 0x3fff == 0;
        if whole {
            self.transport(frame, at + len, header[9]);
        }
        Some(())
    }

    fn ipv6(&mut self, frame: &'a [u8], at: usize) -> Option<()> {
        let header = frame.get(at..at + 40)?;
        if header[0] >> 4 != 6 {
            return None;
        }
        let (from, to) = (&header[8..24], &header[24..40]);
        self.addresses = Some((from, to));
        let (mut home, mut route) = (from, to);
        let (mut next, mut at) = (header[6], at + 40);
        for _ in 0..MOST_EXTENSIONS {
            if !matches!(next, HOP | ROUTING | FRAGMENT | OPTIONS) {
                break;
            }
            self.has_extensions = true;
            self.extended = Some((home, route));
            let kind = next;
            let first = frame.get(at..at + 8)?;
            if kind == FRAGMENT {
                // Ports are in the first fragment alone: none are looked for.
                return None;
            }
            let len = 8 + usize::from(first[1]) * 8;
            let extension = frame.get(at..at + len)?;
            (next, at) = (first[0], at + len);
            match kind {
                ROUTING if len == 24 && extension[2] == 2 => route = &extension[8..24],
                OPTIONS => home = home_address(&extension[2..]).unwrap_or(home),
                _ => {}
            }
        }
        self.extended = Some((home, route));
        self.transport(frame, at, next);
        Some(())
    }

    fn transport(&mut self, frame: &'a [u8], at: usize, protocol: u8) {
        let len = match protocol {
            TCP => 20,
            UDP => 8,
            _ => return,
        };
        if let Some(header) = frame.get(at..at + len) {
            self.ports = Some((protocol, &header[..4]));
        }
    }

    /// What is hashed, one behind the other, under these enabled types; `None`: no hash.
    pub fn hashed(&self, enabled: u32) -> Option<[&'a [u8]; 3]> {
        let (from, to) = self.addresses?;
        let four = from.len() == 4;
        let on = |kind: u32| enabled & kind != 0;
        let protocol = self.ports.map_or(0, |(protocol, _)| protocol);
        let ports = self.ports.map_or(&[][..], |(_, ports)| ports);
        let by_ports = |tcp, udp| (protocol == TCP && on(tcp)) || (protocol == UDP && on(udp));
        if self.has_extensions {
            let (home, route) = self.extended.unwrap_or((from, to));
            if by_ports(types::TCP_EX, types::UDP_EX) {
                return Some([home, route, ports]);
            }
            if on(types::IP_EX) {
                return Some([home, route, &[]]);
            }
        }
        let (tcp, udp, ip) = match four {
            true => (types::TCPV4, types::UDPV4, types::IPV4),
            false => (types::TCPV6, types::UDPV6, types::IPV6),
        };
        match () {
            () if by_ports(tcp, udp) => Some([from, to, ports]),
            () if on(ip) => Some([from, to, &[]]),
            () => None,
        }
    }

    /// A number that is the same for both directions of a flow (for automatic steering); 0 where there is none.
    pub fn both_ways(&self) -> u32 {
        let Some((from, to)) = self.addresses else {
            return 0;
        };
        let ports = self.ports.map_or(&[0; 4][..], |(_, ports)| ports);
        let end = |address: &[u8], port: &[u8]| {
            let bytes = address.iter().chain(port);
            bytes.fold(0x811c_9dc5u32, |hash, byte| {
                (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
            })
        };
        let sum = end(from, &ports[..2]).wrapping_add(end(to, &ports[2..]));
        // The low bits of the sum alone would follow the last byte.
        (sum ^ sum >> 15).wrapping_mul(0x2c1b_3c6d) >> 8
    }
}

/// The home address among destination options.
fn home_address(options: &[u8]) -> Option<&[u8]> {
    let mut at = 0;
    loop {
        let kind = *options.get(at)?;
        if kind == 0 {
            at += 1; // Pad1 has no length.
            continue;
        }
        let len = usize::from(*options.get(at + 1)?);
        let body = options.get(at + 2..at + 2 + len)?;
        if kind == HOME_ADDRESS && len == 16 {
            return Some(body);
        }
        at += 2 + len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv6(next: u8, body: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, next, 64]);
        frame.extend([1; 16]);
        frame.extend([2; 16]);
        frame.extend(body);
        frame
    }

    #[test]
    fn extension_headers_stand_for_the_addresses() {
        // Destination options with a home address, then a routing header of type 2, then UDP.
        let mut body = vec![ROUTING, 2, 1, 2, 0, 0, HOME_ADDRESS, 16];
        body.extend([3; 16]);
        body.extend([UDP, 2, 2, 1, 0, 0, 0, 0]);
        body.extend([4; 16]);
        body.extend([0, 7, 0, 9, 0, 8, 0, 0]);
        let frame = ipv6(OPTIONS, &body);
        let flow = Flow::of(&frame);
        let ports: &[u8] = &[0, 7, 0, 9];
        assert_eq!(flow.hashed(types::UDP_EX), Some([&[3; 16][..], &[4; 16], ports]));
        assert_eq!(flow.hashed(types::IP_EX), Some([&[3; 16][..], &[4; 16], &[]]));
        assert_eq!(flow.hashed(types::UDPV6), Some([&[1; 16][..], &[2; 16], ports]));
        assert_eq!(flow.hashed(types::TCPV6 | types::IPV4), None);
        let cut = &frame[..frame.len() - 12];
        assert_eq!(Flow::of(cut).ports, None);
    }

    #[test]
    fn both_directions_of_a_flow_are_one() {
        let udp = |from: u8, to: u8, ports: [u8; 4]| {
            let mut frame = vec![0; 12];
            frame.extend([8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, UDP, 0, 0]);
            frame.extend([10, 0, 0, from, 10, 0, 0, to]);
            frame.extend(ports);
            frame.extend([0, 8, 0, 0]);
            frame
        };
        let number = |frame: &[u8]| Flow::of(frame).both_ways();
        assert_eq!(number(&udp(1, 2, [0, 7, 0, 9])), number(&udp(2, 1, [0, 9, 0, 7])));
        let spread: std::collections::HashSet<_> =
            (0..64).map(|n| number(&udp(n, 200, [0, n, 0, 9])) % 4).collect();
        assert_eq!(spread.len(), 4);
        assert_eq!(number(&[0; 60]), 0);
    }
}
