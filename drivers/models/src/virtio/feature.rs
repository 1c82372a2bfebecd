//! Feature bits (2.2, 5.1.3, chapter 6) and which sets of them may be accepted.

/// Device handles packets with a partial checksum.
pub const CSUM: u64 = 1 << 0;
/// Driver handles packets with a partial checksum.
pub const GUEST_CSUM: u64 = 1 << 1;
/// The device says its MTU.
pub const MTU: u64 = 1 << 3;
/// The device has a MAC address.
pub const MAC: u64 = 1 << 5;
/// Driver handles TCP over IPv4 that was never cut into segments.
pub const GUEST_TSO4: u64 = 1 << 7;
/// Likewise over IPv6.
pub const GUEST_TSO6: u64 = 1 << 8;
const GUEST_ECN: u64 = 1 << 9;
const GUEST_UFO: u64 = 1 << 10;
/// Device cuts TCP over IPv4 into segments.
pub const HOST_TSO4: u64 = 1 << 11;
/// Likewise over IPv6.
pub const HOST_TSO6: u64 = 1 << 12;
const HOST_ECN: u64 = 1 << 13;
const HOST_UFO: u64 = 1 << 14;
/// A packet may be spread over receive buffers.
pub const MRG_RXBUF: u64 = 1 << 15;
/// The device says whether it has link.
pub const STATUS: u64 = 1 << 16;
/// There is a control queue.
pub const CTRL_VQ: u64 = 1 << 17;
/// Receive modes and the table of addresses.
pub const CTRL_RX: u64 = 1 << 18;
/// VLAN filter.
pub const CTRL_VLAN: u64 = 1 << 19;
/// More receive modes.
pub const CTRL_RX_EXTRA: u64 = 1 << 20;
const GUEST_ANNOUNCE: u64 = 1 << 21;
/// Queue pairs with automatic steering.
pub const MQ: u64 = 1 << 22;
/// The MAC address can be set.
pub const CTRL_MAC_ADDR: u64 = 1 << 23;
/// Tables of descriptors.
pub const INDIRECT_DESC: u64 = 1 << 28;
/// Notifications by index.
pub const EVENT_IDX: u64 = 1 << 29;
/// Not legacy.
pub const VERSION_1: u64 = 1 << 32;
/// DMA goes through the platform's IOMMU.
pub const ACCESS_PLATFORM: u64 = 1 << 33;
/// Packed rings.
pub const RING_PACKED: u64 = 1 << 34;
/// Buffers are used in order.
pub const IN_ORDER: u64 = 1 << 35;
/// Barriers as for hardware.
pub const ORDER_PLATFORM: u64 = 1 << 36;
/// Queues can be reset one by one.
pub const RING_RESET: u64 = 1 << 40;
/// Statistics over the control queue (version 1.4).
pub const DEVICE_STATS: u64 = 1 << 50;
const VQ_NOTF_COAL: u64 = 1 << 52;
const NOTF_COAL: u64 = 1 << 53;
const HOST_USO: u64 = 1 << 56;
/// Hash steering with a table of the driver's.
pub const RSS: u64 = 1 << 60;
const RSC_EXT: u64 = 1 << 61;
/// The device says how fast it is.
pub const SPEED_DUPLEX: u64 = 1 << 63;

/// What the model does.
pub const KNOWN: u64 = CSUM
    | GUEST_CSUM
    | GUEST_TSO4
    | GUEST_TSO6
    | HOST_TSO4
    | HOST_TSO6
    | MTU
    | MAC
    | MRG_RXBUF
    | STATUS
    | CTRL_VQ
    | CTRL_RX
    | CTRL_VLAN
    | CTRL_RX_EXTRA
    | MQ
    | CTRL_MAC_ADDR
    | INDIRECT_DESC
    | EVENT_IDX
    | VERSION_1
    | ACCESS_PLATFORM
    | RING_PACKED
    | IN_ORDER
    | ORDER_PLATFORM
    | RING_RESET
    | DEVICE_STATS
    | RSS
    | SPEED_DUPLEX;

/// Which bit requires one of which (5.1.3.1).
const REQUIRES: [(u64, u64); 22] = [
    (GUEST_TSO4, GUEST_CSUM),
    (GUEST_TSO6, GUEST_CSUM),
    (GUEST_ECN, GUEST_TSO4 | GUEST_TSO6),
    (GUEST_UFO, GUEST_CSUM),
    (HOST_TSO4, CSUM),
    (HOST_TSO6, CSUM),
    (HOST_ECN, HOST_TSO4 | HOST_TSO6),
    (HOST_UFO, CSUM),
    (HOST_USO, CSUM),
    (RSC_EXT, HOST_TSO4 | HOST_TSO6),
    (CTRL_RX, CTRL_VQ),
    // A "should not" in 5.1.4.2; without the queue it means nothing.
    (CTRL_RX_EXTRA, CTRL_VQ),
    (CTRL_VLAN, CTRL_VQ),
    (GUEST_ANNOUNCE, CTRL_VQ),
    (MQ, CTRL_VQ),
    (CTRL_MAC_ADDR, CTRL_VQ),
    (RSS, CTRL_VQ),
    (NOTF_COAL, CTRL_VQ),
    (VQ_NOTF_COAL, CTRL_VQ),
    (DEVICE_STATS, CTRL_VQ),
    (RING_PACKED, VERSION_1),
    (IN_ORDER, VERSION_1),
];

/// Names of the bits this file knows, for messages.
const NAMES: [(u64, &str); 27] = [
    (CSUM, "CSUM"),
    (GUEST_CSUM, "GUEST_CSUM"),
    (GUEST_TSO4, "GUEST_TSO4"),
    (GUEST_TSO6, "GUEST_TSO6"),
    (HOST_TSO4, "HOST_TSO4"),
    (HOST_TSO6, "HOST_TSO6"),
    (MTU, "MTU"),
    (MAC, "MAC"),
    (MRG_RXBUF, "MRG_RXBUF"),
    (STATUS, "STATUS"),
    (CTRL_VQ, "CTRL_VQ"),
    (CTRL_RX, "CTRL_RX"),
    (CTRL_VLAN, "CTRL_VLAN"),
    (CTRL_RX_EXTRA, "CTRL_RX_EXTRA"),
    (MQ, "MQ"),
    (CTRL_MAC_ADDR, "CTRL_MAC_ADDR"),
    (INDIRECT_DESC, "INDIRECT_DESC"),
    (EVENT_IDX, "EVENT_IDX"),
    (VERSION_1, "VERSION_1"),
    (ACCESS_PLATFORM, "ACCESS_PLATFORM"),
    (RING_PACKED, "RING_PACKED"),
    (IN_ORDER, "IN_ORDER"),
    (ORDER_PLATFORM, "ORDER_PLATFORM"),
    (RING_RESET, "RING_RESET"),
    (DEVICE_STATS, "DEVICE_STATS"),
    (RSS, "RSS"),
    (SPEED_DUPLEX, "SPEED_DUPLEX"),
];

/// The lowest bit of `set` that lacks what it requires.
pub fn lacking(set: u64) -> Option<u64> {
    let lacks = |(bit, needs): &&(u64, u64)| set & bit != 0 && set & needs == 0;
    REQUIRES.iter().filter(lacks).map(|(bit, _)| *bit).min()
}

/// `set` less what lacks what it requires: what a device may offer (2.2.2).
pub fn closed(mut set: u64) -> u64 {
    while let Some(bit) = lacking(set) {
        set &= !bit;
    }
    set
}

/// A set of features in words; bits without a name by number.
pub fn words(set: u64) -> String {
    let name = |bit: u32| {
        let known = NAMES.iter().find(|(known, _)| *known == 1 << bit);
        known.map_or_else(|| format!("bit {bit}"), |(_, name)| (*name).to_owned())
    };
    let bits: Vec<_> = (0..64).filter(|bit| set >> bit & 1 != 0).map(name).collect();
    bits.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_closed_under_what_it_requires() {
        assert_eq!(lacking(KNOWN), None);
        assert_eq!(lacking(MQ | CTRL_RX | VERSION_1), Some(CTRL_RX));
        assert_eq!(closed(MQ | CTRL_RX | MAC), MAC);
        // One of two is enough, and what it requires counts too.
        assert_eq!(lacking(HOST_ECN | HOST_TSO6 | CSUM), None);
        assert_eq!(closed(HOST_ECN | HOST_TSO6), 0);
        assert_eq!(words(MAC | 1 << 44 | RSS), "MAC bit 44 RSS");
    }
}
