//! What a virtio-net device is built with.

use super::feature;
use super::inbound::Inbound;
use barline::mem::LocalDomain;
use barline_sim::{Mode, Peer};
use std::sync::Arc;

/// What a virtio-net device is built with.
#[derive(Debug)]
pub struct Options {
    /// MAC address.
    pub mac: [u8; 6],
    /// The other end of its cable.
    pub peer: Box<dyn Peer>,
    /// The address space its DMA lands in.
    pub domain: Arc<LocalDomain>,
    /// Whose time it runs on.
    pub mode: Mode,
    /// What it offers.
    pub offer: Offer,
}

/// Whether ACCESS_PLATFORM (bit 33) is offered, and must be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// Not offered. (The model's DMA goes through the simulated IOMMU all the same.)
    Silent,
    /// Offered.
    Offered,
    /// Offered, and FEATURES_OK does not stay without it (chapter 6).
    Required,
}

/// What RSS is offered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RssOffer {
    /// `rss_max_indirection_table_length`, 128 at least.
    pub table: u16,
    /// `rss_max_key_size` in bytes, 40 at least.
    pub key: u8,
    /// `supported_hash_types`, of the nine that 5.1.6.4.3 defines.
    pub types: u32,
}

impl Default for RssOffer {
    /// 128 entries, 40 bytes, every hash type.
    fn default() -> Self {
        Self {
            table: 128,
            key: 40,
            types: 0x1ff,
        }
    }
}

/// What the device offers and how it behaves where the specification leaves a choice. What requires something that is
/// not offered is left out ([`Offer::features`]).
#[derive(Clone, Debug)]
pub struct Offer {
    /// PCI device 1af4:1000 instead of 1af4:1041. The legacy interface is not there all the same: nothing answers
    /// behind its I/O BAR, and FEATURES_OK does not stay without VERSION_1.
    pub transitional: bool,
    /// Packed rings may be chosen.
    pub packed: bool,
    /// MRG_RXBUF.
    pub mergeable: bool,
    /// IN_ORDER.
    pub in_order: bool,
    /// EVENT_IDX.
    pub event_idx: bool,
    /// INDIRECT_DESC.
    pub indirect: bool,
    /// RING_RESET.
    pub ring_reset: bool,
    /// ACCESS_PLATFORM.
    pub platform: Platform,
    /// CSUM: partial checksums of transmitted packets are completed.
    pub checksum: bool,
    /// HOST_TSO4 and HOST_TSO6, which require CSUM: TCP is cut into segments.
    pub segmentation: bool,
    /// GUEST_CSUM: received packets may have partial checksums, or be said to be right.
    pub guest_checksum: bool,
    /// GUEST_TSO4 and GUEST_TSO6, which require GUEST_CSUM.
    pub guest_segmentation: bool,
    /// What headers of received packets say, where the driver has accepted that they may.
    pub inbound: Inbound,
    /// MTU.
    pub mtu: Option<u16>,
    /// STATUS: link state.
    pub status: bool,
    /// SPEED_DUPLEX in Mb/s.
    pub speed: Option<u32>,
    /// CTRL_VQ with CTRL_RX, CTRL_RX_EXTRA and CTRL_MAC_ADDR.
    pub control: bool,
    /// CTRL_VLAN.
    pub vlan: bool,
    /// Queue pairs, 1 to 16; MQ where there are more than one.
    pub pairs: u16,
    /// RSS.
    pub rss: Option<RssOffer>,
    /// DEVICE_STATS (version 1.4).
    pub statistics: bool,
    /// Bits that are offered although the model does not do them: a driver that accepts one has misread them.
    pub more: u64,
    /// Largest queue size, a power of two up to 32,768.
    pub queue_size: u16,
    /// MSI-X vectors, 1 to 64.
    pub vectors: u16,
    /// `notify_off_multiplier`: 0, or a power of two from 2 to 4,096.
    pub multiplier: u32,
    /// Buffers that one used entry may stand for where IN_ORDER was accepted; 1: no batches.
    pub batch: u16,
    /// Transmit buffers of a burst come back last first, where IN_ORDER was not accepted.
    pub backwards: bool,
    /// The device polls and asks for no notification ever.
    pub polls: bool,
}

impl Default for Offer {
    /// Everything that the model does, but batches, one queue pair, offloads beyond CSUM, and statistics, which are young.
    fn default() -> Self {
        Self {
            transitional: false,
            packed: true,
            mergeable: true,
            in_order: true,
            event_idx: true,
            indirect: true,
            ring_reset: true,
            platform: Platform::Offered,
            checksum: true,
            segmentation: false,
            guest_checksum: false,
            guest_segmentation: false,
            inbound: Inbound::Silent,
            mtu: None,
            status: true,
            speed: Some(10_000),
            control: true,
            vlan: true,
            pairs: 1,
            rss: None,
            statistics: false,
            more: 0,
            queue_size: 256,
            vectors: 4,
            multiplier: 4,
            batch: 1,
            backwards: false,
            polls: false,
        }
    }
}

impl Offer {
    /// Nothing beyond VERSION_1 and MAC, over split rings: the least a driver has to work with.
    pub fn bare() -> Self {
        Self {
            packed: false,
            mergeable: false,
            in_order: false,
            event_idx: false,
            indirect: false,
            ring_reset: false,
            platform: Platform::Silent,
            checksum: false,
            status: false,
            speed: None,
            control: false,
            vlan: false,
            ..Self::default()
        }
    }

    /// The feature bits offered.
    pub fn features(&self) -> u64 {
        let bits = [
            (self.packed, feature::RING_PACKED),
            (self.mergeable, feature::MRG_RXBUF),
            (self.in_order, feature::IN_ORDER),
            (self.event_idx, feature::EVENT_IDX),
            (self.indirect, feature::INDIRECT_DESC),
            (self.ring_reset, feature::RING_RESET),
            (self.platform != Platform::Silent, feature::ACCESS_PLATFORM),
            (self.checksum, feature::CSUM),
            (self.segmentation, feature::HOST_TSO4 | feature::HOST_TSO6),
            (self.guest_checksum, feature::GUEST_CSUM),
            (self.guest_segmentation, feature::GUEST_TSO4 | feature::GUEST_TSO6),
            (self.mtu.is_some(), feature::MTU),
            (self.status, feature::STATUS),
            (self.speed.is_some(), feature::SPEED_DUPLEX),
            (self.control, feature::CTRL_VQ | feature::CTRL_RX),
            (self.control, feature::CTRL_RX_EXTRA | feature::CTRL_MAC_ADDR),
            (self.vlan, feature::CTRL_VLAN),
            (self.pairs > 1, feature::MQ),
            (self.rss.is_some(), feature::RSS),
            (self.statistics, feature::DEVICE_STATS),
        ];
        let chosen = bits
            .iter()
            .filter(|(on, _)| *on)
            .fold(0, |set, (_, bit)| set | bit);
        feature::closed(chosen | feature::VERSION_1 | feature::MAC | feature::ORDER_PLATFORM | self.more)
    }

    /// With what a device cannot be built with put right.
    pub(super) fn sane(mut self) -> Self {
        self.pairs = self.pairs.clamp(1, 16);
        self.vectors = self.vectors.clamp(1, 64);
        self.queue_size = match self.queue_size {
            32_769.. => 32_768,
            size => size.max(2).next_power_of_two(),
        };
        if self.multiplier != 0 {
            self.multiplier = self.multiplier.clamp(2, 4096).next_power_of_two();
        }
        if let Some(rss) = &mut self.rss {
            (rss.table, rss.key) = (rss.table.max(128).next_power_of_two(), rss.key.max(40));
        }
        self.mtu = self.mtu.map(|mtu| mtu.max(68));
        self.batch = self.batch.max(1);
        self
    }
}
