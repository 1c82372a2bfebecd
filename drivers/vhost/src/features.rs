//! Feature bits (virtio 1.2: 5.1.3 and 6; vhost-user, "Protocol features").

use barline::offload::Offloads;

/// Bits of the device's features.
pub(crate) mod virtio {
    pub const MTU: u64 = 1 << 3;
    pub const MRG_RXBUF: u64 = 1 << 15;
    pub const CTRL_VQ: u64 = 1 << 17;
    pub const GUEST_ANNOUNCE: u64 = 1 << 21;
    pub const MQ: u64 = 1 << 22;
    pub const LOG_ALL: u64 = 1 << 26;
    pub const INDIRECT_DESC: u64 = 1 << 28;
    pub const EVENT_IDX: u64 = 1 << 29;
    pub const PROTOCOL_FEATURES: u64 = 1 << 30;
    pub const VERSION_1: u64 = 1 << 32;
    pub const RING_PACKED: u64 = 1 << 34;
    pub const IN_ORDER: u64 = 1 << 35;
}

/// What the ring may be like, and what else is offered. Off is for peers that get something wrong, and for tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// Packed rings (VIRTIO_F_RING_PACKED).
    pub packed: bool,
    /// A frame may be spread over several buffers of the peer (VIRTIO_NET_F_MRG_RXBUF).
    pub mergeable: bool,
    /// The ring's buffers are used in order, which they always are (VIRTIO_F_IN_ORDER).
    pub in_order: bool,
    /// Descriptors in tables of their own (VIRTIO_F_INDIRECT_DESC).
    pub indirect: bool,
    /// Events by index (VIRTIO_F_EVENT_IDX).
    pub event_idx: bool,
}

impl Default for Features {
    fn default() -> Self {
        Self {
            packed: true,
            mergeable: true,
            in_order: true,
            indirect: true,
            event_idx: true,
        }
    }
}

impl Features {
    /// What is offered to a peer, without offloads ([`of_offloads`]).
    pub(crate) fn offered(self) -> u64 {
        use virtio::*;
        // The control queue is the front end's, and so are announcements: a guest that can make them has no need of ours.
        let always = VERSION_1 | MQ | CTRL_VQ | GUEST_ANNOUNCE | MTU | PROTOCOL_FEATURES | LOG_ALL;
        let chosen = [
            (self.packed, RING_PACKED),
            (self.mergeable, MRG_RXBUF),
            (self.in_order, IN_ORDER),
            (self.indirect, INDIRECT_DESC),
            (self.event_idx, EVENT_IDX),
        ];
        let chosen = chosen.into_iter().filter(|(on, _)| *on);
        chosen.fold(always, |all, (_, bit)| all | bit)
    }
}

/// The features that these offloads need of the peer's driver, whose device we are: what it sends we receive.
pub(crate) fn of_offloads(offloads: Offloads) -> u64 {
    offloads.mirrored().virtio()
}

/// What a peer with these features and we do for each other, as far as it goes together.
pub(crate) fn offloads(features: u64) -> Offloads {
    Offloads::of_virtio(features).mirrored()
}

/// Bytes of the header before a frame (5.1.6): without the count of buffers where a peer of before 1.0 has no
/// mergeable ones.
pub(crate) fn header_len(features: u64) -> u32 {
    let whole = features & (virtio::VERSION_1 | virtio::MRG_RXBUF) != 0;
    if whole { 12 } else { 10 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peer_s_host_is_our_receive() {
        assert_eq!(offloads(u64::MAX), Offloads::all());
        assert_eq!(offloads(of_offloads(Offloads::all())), Offloads::all());
        assert_eq!(Features::default().offered() & of_offloads(Offloads::all()), 0);
        // CSUM, HOST_TSO4; GUEST_CSUM.
        assert_eq!(
            of_offloads(Offloads::RX_CHECKSUM | Offloads::RX_TCP4),
            1 | 1 << 11
        );
        assert_eq!(offloads(1 << 1), Offloads::TX_CHECKSUM);
    }
}
