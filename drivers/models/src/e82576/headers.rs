//! What the device's parser finds in a frame: packet type (7.1.5.2) and the bytes that RSS hashes (7.1.1.7).

/// Packet type bits of the advanced write-back (7.1.5.2).
pub mod ptype {
    /// IPv4.
    pub const IPV4: u32 = 1 << 0;
    /// IPv4 with options.
    pub const IPV4_OPTIONS: u32 = 1 << 1;
    /// IPv6.
    pub const IPV6: u32 = 1 << 2;
    /// IPv6 with extension headers.
    pub const IPV6_EXTENSIONS: u32 = 1 << 3;
    /// TCP.
    pub const TCP: u32 = 1 << 4;
    /// UDP.
    pub const UDP: u32 = 1 << 5;
    /// SCTP.
    pub const SCTP: u32 = 1 << 6;
    /// VLAN tag.
    pub const VLAN: u32 = 1 << 12;
}

/// A parsed frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// [`ptype`] bits.
    pub ptype: u32,
    /// Where both IP addresses stand, source first: offset and length together.
    pub addresses: Option<(usize, usize)>,
    /// Where the ports stand, source first.
    pub ports: Option<usize>,
    /// VLAN tag control information.
    pub vlan: Option<u16>,
}

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// IPv6 extension headers that are skipped: hop-by-hop, routing, destination options.
const SKIPPED: [u8; 3] = [0, 43, 60];
const FRAGMENT: u8 = 44;
const MOST_EXTENSIONS: usize = 8;

fn be16(frame: &[u8], at: usize) -> Option<u16> {
    let pair = frame.get(at..at + 2)?;
    Some(u16::from_be_bytes([pair[0], pair[1]]))
}

impl Headers {
    /// Parses as far as it goes; `vlan_type` is the ether type of tags (VET).
    pub fn parse(frame: &[u8], vlan_type: u16) -> Self {
        let mut found = Self::default();
        let (mut at, mut ether) = (14, be16(frame, 12));
        if ether == Some(vlan_type) {
            found.vlan = be16(frame, 14);
            found.ptype |= ptype::VLAN;
            (at, ether) = (18, be16(frame, 16));
        }
        match ether {
            Some(IPV4) => drop(found.ipv4(frame, at)),
            Some(IPV6) => drop(found.ipv6(frame, at)),
            _ => {}
        }
        found
    }

    fn ipv4(&mut self, frame: &[u8], at: usize) -> Option<()> {
        let header = frame.get(at..at + 20)?;
        let len = usize::from(header[0] & 0xf) * 4;
        if header[0] >> 4 != 4 || len < 20 {
            return None;
        }
        self.ptype |= ptype::IPV4 | if len > 20 { ptype::IPV4_OPTIONS } else { 0 };
        self.addresses = Some((at + 12, 8));
        // A fragment has no ports to look at: any offset, or more to come.
        let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
        if !fragment {
            self.transport(frame, at + len, header[9]);
        }
        Some(())
    }

    fn ipv6(&mut self, frame: &[u8], at: usize) -> Option<()> {
        let header = frame.get(at..at + 40)?;
        if header[0] >> 4 != 6 {
            return None;
        }
        self.ptype |= ptype::IPV6;
        self.addresses = Some((at + 8, 32));
        let (mut next, mut at) = (header[6], at + 40);
        for _ in 0..MOST_EXTENSIONS {
            if next == FRAGMENT {
                self.ptype |= ptype::IPV6_EXTENSIONS;
                return None;
            }
            if !SKIPPED.contains(&next) {
                break;
            }
            self.ptype |= ptype::IPV6_EXTENSIONS;
            let extension = frame.get(at..at + 2)?;
            (next, at) = (extension[0], at + 8 + usize::from(extension[1]) * 8);
        }
        self.transport(frame, at, next);
        Some(())
    }

    fn transport(&mut self, frame: &[u8], at: usize, protocol: u8) {
        let (bit, len) = match protocol {
            6 => (ptype::TCP, 20),
            17 => (ptype::UDP, 8),
            132 => (ptype::SCTP, 12),
            _ => return,
        };
        if frame.len() >= at + len {
            self.ptype |= bit;
            self.ports = Some(at);
        }
    }
}
