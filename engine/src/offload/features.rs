//! Offloads as feature bits of a virtio network device (virtio 1.2, 5.1.3), for drivers and for devices.

use super::Offloads;

/// Feature bits and what they are to a driver, one for one but for UDP on receive, which has two.
const PAIRS: [(u64, Offloads); 10] = [
    (1 << 0, Offloads::TX_CHECKSUM), // CSUM
    (1 << 1, Offloads::RX_CHECKSUM), // GUEST_CSUM
    (1 << 7, Offloads::RX_TCP4),     // GUEST_TSO4
    (1 << 8, Offloads::RX_TCP6),     // GUEST_TSO6
    (1 << 9, Offloads::RX_ECN),      // GUEST_ECN
    (1 << 11, Offloads::TX_TCP4),    // HOST_TSO4
    (1 << 12, Offloads::TX_TCP6),    // HOST_TSO6
    (1 << 13, Offloads::TX_ECN),     // HOST_ECN
    (0b11 << 54, Offloads::RX_UDP),  // GUEST_USO4, GUEST_USO6
    (1 << 56, Offloads::TX_UDP),     // HOST_USO
];

impl Offloads {
    /// What a device with these features does for its driver's packets, as far as it goes together; what a driver with them does for
    /// its device is [`Offloads::mirrored`].
    #[must_use]
    pub fn of_virtio(features: u64) -> Self {
        let have = PAIRS.iter().filter(|(bits, _)| features & bits == *bits);
        have.map(|(_, offload)| *offload).collect::<Self>().consistent()
    }

    /// The features that a driver needs for these.
    #[must_use]
    pub fn virtio(self) -> u64 {
        let wanted = PAIRS.iter().filter(|(_, offload)| self.contains(*offload));
        wanted.fold(0, |all, (bits, _)| all | bits)
    }

    /// The other side's view: what one sends the other receives.
    #[must_use]
    pub fn mirrored(self) -> Self {
        Self::from_bits_truncate(self.bits().swap_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_and_offloads_are_each_other() {
        assert_eq!(Offloads::of_virtio(u64::MAX), Offloads::all());
        assert_eq!(Offloads::of_virtio(0), Offloads::empty());
        for offload in Offloads::all().iter() {
            let needs = Offloads::RX_CHECKSUM | Offloads::TX_CHECKSUM | Offloads::RX_TCP4 | Offloads::TX_TCP4;
            let all = offload | needs;
            assert_eq!(Offloads::of_virtio(all.virtio()), all);
        }
        assert_eq!(Offloads::all().virtio().count_ones(), 11);
        // Cutting without summing up is nothing (5.1.3.1), nor is UDP over one of the two.
        assert_eq!(Offloads::of_virtio(1 << 11 | 1 << 8), Offloads::empty());
        assert_eq!(Offloads::of_virtio(1 << 1 | 1 << 54), Offloads::RX_CHECKSUM);
    }

    #[test]
    fn a_mirror_swaps_the_directions() {
        assert_eq!(Offloads::RX.mirrored(), Offloads::TX & Offloads::all());
        for (one, other) in [
            (Offloads::RX_CHECKSUM, Offloads::TX_CHECKSUM),
            (Offloads::RX_TCP4, Offloads::TX_TCP4),
            (Offloads::RX_TCP6, Offloads::TX_TCP6),
            (Offloads::RX_UDP, Offloads::TX_UDP),
            (Offloads::RX_ECN, Offloads::TX_ECN),
        ] {
            assert_eq!((one.mirrored(), other.mirrored()), (other, one));
        }
    }
}
