//! What of a back end's offers is taken.

use crate::Settings;
use crate::error::Refusal;
use barline::offload::Offloads;
use barline_virtio::{Features, Options, Traits};

/// There are protocol features (`VHOST_USER_F_PROTOCOL_FEATURES`): bit 30, which virtio itself leaves to the transport.
pub(crate) const PROTOCOL: Features = Features::from_bits_retain(1 << 30);

/// What of it is taken, but for offloads. No control queue (there is nobody who would answer it), no IOMMU.
///
/// # Errors
/// [`Refusal::Lacks`].
pub(crate) fn choose(offered: Features, settings: &Settings) -> Result<Features, Refusal> {
    if !offered.contains(Features::VERSION_1) {
        return Err(Refusal::Lacks("VIRTIO_F_VERSION_1"));
    }
    if settings.queues > 1 && !offered.contains(Features::MQ) {
        return Err(Refusal::Lacks("several queues (VIRTIO_NET_F_MQ); write queues=1"));
    }
    let Options {
        packed,
        merge,
        event_idx,
        in_order,
        bypass: _, // there is no IOMMU to go around
    } = settings.rings;
    let mut wanted = Features::VERSION_1 | Features::ORDER_PLATFORM | PROTOCOL;
    wanted.set(Features::MTU | Features::MAC, true);
    wanted.set(Features::MQ, settings.queues > 1);
    wanted.set(Features::RING_PACKED, packed);
    // With split rings only, as the PCI driver: a back end may be QEMU's.
    let packs = packed && offered.contains(Features::RING_PACKED);
    wanted.set(Features::EVENT_IDX, event_idx.unwrap_or(!packs));
    wanted.set(Features::MRG_RXBUF, merge);
    wanted.set(Features::IN_ORDER, in_order);
    Ok(offered & wanted)
}

/// The same with offloads, as far as they were offered.
pub(crate) fn with_offloads(features: Features, offered: Features, wanted: Offloads) -> Features {
    features | Features::of_offloads(offered.offloads() & wanted)
}

/// What of it matters to a ring.
pub(crate) fn traits(features: Features) -> Traits {
    Traits {
        event_idx: features.contains(Features::EVENT_IDX),
        in_order: features.contains(Features::IN_ORDER),
        merges: features.contains(Features::MRG_RXBUF),
        offloads: features.offloads(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_offered_or_not_wanted_is_not_taken() {
        let all = Features::from_bits_retain(u64::MAX);
        let taken = choose(all, &Settings::default()).unwrap();
        assert!(taken.contains(Features::RING_PACKED | Features::IN_ORDER | PROTOCOL));
        assert!(!taken.intersects(
            Features::EVENT_IDX
                | Features::MRG_RXBUF
                | Features::MQ
                | Features::CTRL_VQ
                | Features::ACCESS_PLATFORM
        ));
        let plain = Settings::parse("queues=2,packed=off,mrg=on,event-idx=off").unwrap();
        let taken = choose(all, &plain).unwrap();
        assert!(taken.contains(Features::MRG_RXBUF | Features::IN_ORDER | Features::MQ));
        assert!(!taken.intersects(Features::RING_PACKED | Features::EVENT_IDX));
        let split = choose(all - Features::RING_PACKED, &Settings::default()).unwrap();
        assert!(split.contains(Features::EVENT_IDX));
        assert_eq!(taken.offloads(), Offloads::empty());
        let some = Offloads::TX_CHECKSUM | Offloads::TX_TCP4 | Offloads::RX_CHECKSUM;
        assert_eq!(with_offloads(taken, all, some).offloads(), some);
        assert_eq!(with_offloads(taken, taken, some), taken);
        assert!(choose(all - Features::MQ, &plain).is_err());
        assert!(choose(all - Features::VERSION_1, &Settings::default()).is_err());
        let any_order = choose(all, &Settings::parse("in-order=off").unwrap()).unwrap();
        assert!(!any_order.contains(Features::IN_ORDER));
    }
}
