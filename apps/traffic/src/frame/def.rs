//! The layers: their fields and what may follow what. Everything that reads, writes or varies a header goes by these
//! tables.

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number: decimal, or hexadecimal behind `0x`.
    Number,
    /// An Ethernet address.
    Mac,
    /// An IPv4 address.
    Ip4,
    /// An IPv6 address.
    Ip6,
    /// A number, or `good`, `wrong`, `zero`.
    Checksum,
}

/// A field of a header: network byte order, the first bit is bit 0.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Name, as in `ipv4.src`.
    pub name: &'static str,
    /// Bits before it in the header.
    pub at: usize,
    /// Its width in bits.
    pub bits: usize,
    /// How it is written.
    pub kind: Kind,
    /// Its value when nobody gives one.
    pub default: u128,
}

/// A header.
#[derive(Debug)]
pub struct Layer {
    /// Name, as in `ipv4(...)`.
    pub name: &'static str,
    /// Bytes.
    pub len: usize,
    /// Its fields.
    pub fields: &'static [Field],
    /// The field that tells what follows.
    pub next: Option<&'static str>,
    /// What that field is in front of each layer that may follow; a payload may follow any.
    pub followers: &'static [(&'static str, u128)],
}

impl Layer {
    /// The field of that name.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

const fn number(name: &'static str, at: usize, bits: usize, default: u128) -> Field {
    field(name, at, bits, Kind::Number, default)
}

const fn field(name: &'static str, at: usize, bits: usize, kind: Kind, default: u128) -> Field {
    Field {
        name,
        at,
        bits,
        kind,
        default,
    }
}

const ETHERTYPES: &[(&str, u128)] = &[
    ("vlan", 0x8100),
    ("qinq", 0x88a8),
    ("arp", 0x0806),
    ("ipv4", 0x0800),
    ("ipv6", 0x86dd),
];
const PROTOCOLS: &[(&str, u128)] = &[
    ("udp", 17),
    ("tcp", 6),
    ("icmp", 1),
    ("icmpv6", 58),
    ("gre", 47),
    ("gre-key", 47),
    ("ipv4", 4),
    ("ipv6", 41),
];
const GRE: &[(&str, u128)] = &[("ipv4", 0x0800), ("ipv6", 0x86dd), ("ethernet", 0x6558)];

const TAG: &[Field] = &[
    number("pcp", 0, 3, 0),
    number("dei", 3, 1, 0),
    number("id", 4, 12, 1),
    // Local experimental, IEEE 802 clause 9.2.3: for a payload that nobody names.
    number("type", 16, 16, 0x88b5),
];

const ICMP: [Field; 4] = [
    number("code", 8, 8, 0),
    field("checksum", 16, 16, Kind::Checksum, 0),
    number("id", 32, 16, 1),
    number("seq", 48, 16, 0),
];

/// All headers. A payload, `raw(hex=...)`, is none.
pub const LAYERS: &[Layer] = &[
    Layer {
        name: "ethernet",
        len: 14,
        fields: &[
            field("dst", 0, 48, Kind::Mac, 0x0200_0000_0002),
            field("src", 48, 48, Kind::Mac, 0x0200_0000_0001),
            number("type", 96, 16, 0x88b5),
        ],
        next: Some("type"),
        followers: ETHERTYPES,
    },
    Layer {
        name: "vlan",
        len: 4,
        fields: TAG,
        next: Some("type"),
        followers: ETHERTYPES,
    },
    Layer {
        name: "qinq",
        len: 4,
        fields: TAG,
        next: Some("type"),
        followers: ETHERTYPES,
    },
    // RFC 826.
    Layer {
        name: "arp",
        len: 28,
        fields: &[
            number("hardware", 0, 16, 1),
            number("protocol", 16, 16, 0x0800),
            number("hardware-len", 32, 8, 6),
            number("protocol-len", 40, 8, 4),
            number("op", 48, 16, 1),
            field("sender-mac", 64, 48, Kind::Mac, 0x0200_0000_0001),
            field("sender-ip", 112, 32, Kind::Ip4, 0xc612_0001),
            field("target-mac", 144, 48, Kind::Mac, 0),
            field("target-ip", 192, 32, Kind::Ip4, 0xc612_0002),
        ],
        next: None,
        followers: &[],
    },
    // RFC 791; addresses of RFC 2544's range.
    Layer {
        name: "ipv4",
        len: 20,
        fields: &[
            number("version", 0, 4, 4),
            number("header-len", 4, 4, 5),
            number("dscp", 8, 6, 0),
            number("ecn", 14, 2, 0),
            number("length", 16, 16, 0),
            number("id", 32, 16, 0),
            number("flags", 48, 3, 0),
            number("fragment", 51, 13, 0),
            number("ttl", 64, 8, 64),
            // For experiments, RFC 3692.
            number("protocol", 72, 8, 253),
            field("checksum", 80, 16, Kind::Checksum, 0),
            field("src", 96, 32, Kind::Ip4, 0xc612_0001),
            field("dst", 128, 32, Kind::Ip4, 0xc612_0002),
        ],
        next: Some("protocol"),
        followers: PROTOCOLS,
    },
    // RFC 8200; addresses of RFC 5180's range.
    Layer {
        name: "ipv6",
        len: 40,
        fields: &[
            number("version", 0, 4, 6),
            number("traffic-class", 4, 8, 0),
            number("flow-label", 12, 20, 0),
            number("length", 32, 16, 0),
            number("next", 48, 8, 253),
            number("hop-limit", 56, 8, 64),
            field(
                "src",
                64,
                128,
                Kind::Ip6,
                0x2001_0002_0000_0000_0000_0000_0000_0001,
            ),
            field(
                "dst",
                192,
                128,
                Kind::Ip6,
                0x2001_0002_0000_0000_0000_0000_0000_0002,
            ),
        ],
        next: Some("next"),
        followers: PROTOCOLS,
    },
    Layer {
        name: "udp",
        len: 8,
        fields: &[
            number("src", 0, 16, 49184),
            number("dst", 16, 16, 49184),
            number("length", 32, 16, 0),
            field("checksum", 48, 16, Kind::Checksum, 0),
        ],
        next: Some("dst"),
        followers: &[("vxlan", 4789)],
    },
    Layer {
        name: "tcp",
        len: 20,
        fields: &[
            number("src", 0, 16, 49184),
            number("dst", 16, 16, 49184),
            number("seq", 32, 32, 1),
            number("ack", 64, 32, 0),
            number("offset", 96, 4, 5),
            // ACK.
            number("flags", 104, 8, 0x10),
            number("window", 112, 16, 65535),
            field("checksum", 128, 16, Kind::Checksum, 0),
            number("urgent", 144, 16, 0),
        ],
        next: None,
        followers: &[],
    },
    Layer {
        name: "icmp",
        len: 8,
        fields: &[number("type", 0, 8, 8), ICMP[0], ICMP[1], ICMP[2], ICMP[3]],
        next: None,
        followers: &[],
    },
    Layer {
        name: "icmpv6",
        len: 8,
        fields: &[number("type", 0, 8, 128), ICMP[0], ICMP[1], ICMP[2], ICMP[3]],
        next: None,
        followers: &[],
    },
    // RFC 7348.
    Layer {
        name: "vxlan",
        len: 8,
        fields: &[number("flags", 0, 8, 8), number("vni", 32, 24, 1)],
        next: None,
        followers: &[("ethernet", 0)],
    },
    // RFC 2784.
    Layer {
        name: "gre",
        len: 4,
        fields: &[number("flags", 0, 16, 0), number("protocol", 16, 16, 0x88b5)],
        next: Some("protocol"),
        followers: GRE,
    },
    // RFC 2890.
    Layer {
        name: "gre-key",
        len: 8,
        fields: &[
            number("flags", 0, 16, 0x2000),
            number("protocol", 16, 16, 0x88b5),
            number("key", 32, 32, 1),
        ],
        next: Some("protocol"),
        followers: GRE,
    },
];

/// The header of that name.
pub fn layer(name: &str) -> Option<&'static Layer> {
    LAYERS.iter().find(|layer| layer.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_inside_and_beside_each_other_and_followers_exist() {
        for header in LAYERS {
            let mut end = 0;
            for field in header.fields {
                assert!(field.at >= end, "{}.{}", header.name, field.name);
                end = field.at + field.bits;
                assert!(end <= header.len * 8, "{}.{}", header.name, field.name);
                assert!(field.bits == 128 || field.default < 1 << field.bits);
            }
            assert!(header.next.is_none_or(|next| header.field(next).is_some()));
            assert!(header.followers.iter().all(|(name, _)| layer(name).is_some()));
        }
    }
}
