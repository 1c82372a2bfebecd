//! Offloads as features (5.1.3.1), and as the header in front of a packet (5.1.6).

use crate::regs::Features;
use barline::offload::{Offload, Offloads, VNET_LEN};

/// Feature and offload, one for one but for UDP on receive, which has two features.
const PAIRS: [(Features, Offloads); 9] = [
    (Features::CSUM, Offloads::TX_CHECKSUM),
    (Features::HOST_TSO4, Offloads::TX_TCP4),
    (Features::HOST_TSO6, Offloads::TX_TCP6),
    (Features::HOST_ECN, Offloads::TX_ECN),
    (Features::HOST_USO, Offloads::TX_UDP),
    (Features::GUEST_CSUM, Offloads::RX_CHECKSUM),
    (Features::GUEST_TSO4, Offloads::RX_TCP4),
    (Features::GUEST_TSO6, Offloads::RX_TCP6),
    (Features::GUEST_ECN, Offloads::RX_ECN),
];
const GUEST_USO: Features = Features::GUEST_USO4.union(Features::GUEST_USO6);

impl Features {
    /// What a device with these features does for packets, as far as it goes together.
    pub fn offloads(self) -> Offloads {
        let have = PAIRS.iter().filter(|(feature, _)| self.contains(*feature));
        let mut offloads: Offloads = have.map(|(_, offload)| *offload).collect();
        offloads.set(Offloads::RX_UDP, self.contains(GUEST_USO));
        offloads.consistent()
    }

    /// The features that these offloads need.
    pub fn of_offloads(offloads: Offloads) -> Self {
        let wanted = PAIRS.iter().filter(|(_, offload)| offloads.contains(*offload));
        let mut features: Self = wanted.map(|(feature, _)| *feature).collect();
        features.set(GUEST_USO, offloads.contains(Offloads::RX_UDP));
        features
    }
}

/// Writes what a packet asks for to the header in front of it, which is zeros.
pub(crate) fn request(offload: &Offload, header: &mut [u8]) {
    if let Some(header) = header.first_chunk_mut::<VNET_LEN>() {
        *header = offload.to_vnet();
    }
}

/// What the header of a received packet of `len` bytes says; `None` for nonsense.
pub(crate) fn received(header: &[u8], len: usize) -> Option<Offload> {
    Offload::from_vnet(header.first_chunk()?, len).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_and_offloads_are_each_other() {
        assert_eq!(Features::all().offloads(), Offloads::all());
        assert_eq!(Features::empty().offloads(), Offloads::empty());
        for offload in Offloads::all().iter() {
            let all = offload
                | Offloads::RX_CHECKSUM
                | Offloads::TX_CHECKSUM
                | Offloads::RX_TCP4
                | Offloads::TX_TCP4;
            assert_eq!(Features::of_offloads(all).offloads(), all);
        }
        // Cutting without summing up is nothing (5.1.3.1), nor is UDP over one of the two.
        assert_eq!(
            (Features::HOST_TSO4 | Features::GUEST_TSO6).offloads(),
            Offloads::empty()
        );
        assert_eq!(
            (Features::GUEST_CSUM | Features::GUEST_USO4).offloads(),
            Offloads::RX_CHECKSUM
        );
    }
}
