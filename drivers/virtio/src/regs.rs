//! Registers, feature bits and configuration of a virtio network device, as far as they are used. Sections are those of
//! "Virtual I/O Device (VIRTIO) Version 1.2".

use bitflags::bitflags;

/// A field of a structure that the device says the place of: name and offset in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Field<W> {
    /// Name in the specification.
    pub name: &'static str,
    /// Offset in the structure in bytes.
    pub offset: usize,
    width: std::marker::PhantomData<W>,
}

impl<W> Field<W> {
    const fn new(name: &'static str, offset: usize) -> Self {
        let width = std::marker::PhantomData;
        Self { name, offset, width }
    }
}

/// Types of the structures that capabilities point to (4.1.4, `VIRTIO_PCI_CAP_*`).
pub mod cap {
    /// Common configuration.
    pub const COMMON: u8 = 1;
    /// Notifications.
    pub const NOTIFY: u8 = 2;
    /// Device configuration.
    pub const DEVICE: u8 = 4;
    /// The vendor-specific capability id of PCI (`PCI_CAP_ID_VNDR`).
    pub const VENDOR: u16 = 0x09;
}

/// Common configuration structure (4.1.4.3).
pub mod common {
    use super::Field;

    /// Which 32 of the device's feature bits are shown.
    pub const DEVICE_FEATURE_SELECT: Field<u32> = Field::new("device_feature_select", 0x00);
    /// The device's feature bits.
    pub const DEVICE_FEATURE: Field<u32> = Field::new("device_feature", 0x04);
    /// Which 32 of the driver's feature bits are written.
    pub const DRIVER_FEATURE_SELECT: Field<u32> = Field::new("driver_feature_select", 0x08);
    /// The driver's feature bits.
    pub const DRIVER_FEATURE: Field<u32> = Field::new("driver_feature", 0x0c);
    /// Vector of configuration changes.
    pub const CONFIG_MSIX_VECTOR: Field<u16> = Field::new("config_msix_vector", 0x10);
    /// Queues that the device has.
    pub const NUM_QUEUES: Field<u16> = Field::new("num_queues", 0x12);
    /// Device status.
    pub const DEVICE_STATUS: Field<u8> = Field::new("device_status", 0x14);
    /// Changes whenever the configuration does.
    pub const CONFIG_GENERATION: Field<u8> = Field::new("config_generation", 0x15);
    /// Which queue the fields below are of.
    pub const QUEUE_SELECT: Field<u16> = Field::new("queue_select", 0x16);
    /// Positions of the ring: the most on reset, then what the driver wants.
    pub const QUEUE_SIZE: Field<u16> = Field::new("queue_size", 0x18);
    /// Vector of the queue.
    pub const QUEUE_MSIX_VECTOR: Field<u16> = Field::new("queue_msix_vector", 0x1a);
    /// Writing 1 switches the queue on.
    pub const QUEUE_ENABLE: Field<u16> = Field::new("queue_enable", 0x1c);
    /// Where its notification register is, in multiples of the notify capability's multiplier.
    pub const QUEUE_NOTIFY_OFF: Field<u16> = Field::new("queue_notify_off", 0x1e);
    /// Descriptor area, low half; the high half follows.
    pub const QUEUE_DESC: Field<u32> = Field::new("queue_desc", 0x20);
    /// Driver area.
    pub const QUEUE_DRIVER: Field<u32> = Field::new("queue_driver", 0x28);
    /// Device area.
    pub const QUEUE_DEVICE: Field<u32> = Field::new("queue_device", 0x30);
    /// Bytes of the structure that every device has.
    pub const LEN: usize = 0x38;
    /// No vector (4.1.5.1.2, `VIRTIO_MSI_NO_VECTOR`).
    pub const NO_VECTOR: u16 = 0xffff;
}

/// Network device configuration (5.1.4).
pub mod net {
    use super::Field;

    /// The address, six bytes, with [`super::Features::MAC`].
    pub const MAC: usize = 0;
    /// Link state, with [`super::Features::STATUS`].
    pub const STATUS: Field<u16> = Field::new("status", 6);
    /// Most pairs of queues, with [`super::Features::MQ`] or [`super::Features::RSS`].
    pub const MAX_PAIRS: Field<u16> = Field::new("max_virtqueue_pairs", 8);
    /// MTU, with [`super::Features::MTU`].
    pub const MTU: Field<u16> = Field::new("mtu", 10);
    /// Mbit/s, with [`super::Features::SPEED_DUPLEX`]; all ones when unknown.
    pub const SPEED: Field<u32> = Field::new("speed", 12);
    /// 1: both directions at once, likewise.
    pub const DUPLEX: Field<u8> = Field::new("duplex", 16);
    /// Longest key in bytes, with [`super::Features::RSS`].
    pub const RSS_MAX_KEY: Field<u8> = Field::new("rss_max_key_size", 17);
    /// Longest table in entries, likewise.
    pub const RSS_MAX_TABLE: Field<u16> = Field::new("rss_max_indirection_table_length", 18);
    /// Kinds of packets that it can spread, likewise.
    pub const RSS_TYPES: Field<u32> = Field::new("supported_hash_types", 20);
    /// In [`STATUS`]: the link is up.
    pub const LINK_UP: u16 = 1;
}

bitflags! {
    /// Device status (2.1).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Status: u8 {
        /// The driver has seen the device.
        const ACKNOWLEDGE = 1;
        /// It knows how to drive it.
        const DRIVER = 2;
        /// It is ready.
        const DRIVER_OK = 4;
        /// Features are agreed upon.
        const FEATURES_OK = 8;
        /// The device has met an error that only a reset ends.
        const NEEDS_RESET = 64;
        /// The driver gives up.
        const FAILED = 128;
        const _ = !0;
    }
}

bitflags! {
    /// Feature bits: of the network device (5.1.3), and of the transport (6).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Features: u64 {
        /// The device completes checksums.
        const CSUM = 1 << 0;
        /// The driver takes packets whose checksum is to be completed, or was verified.
        const GUEST_CSUM = 1 << 1;
        /// The device says its MTU.
        const MTU = 1 << 3;
        /// The device has an address.
        const MAC = 1 << 5;
        /// The driver takes long packets of TCP over IPv4.
        const GUEST_TSO4 = 1 << 7;
        /// Of TCP over IPv6.
        const GUEST_TSO6 = 1 << 8;
        /// Of these, with CWR too.
        const GUEST_ECN = 1 << 9;
        /// The device cuts long packets of TCP over IPv4.
        const HOST_TSO4 = 1 << 11;
        /// Of TCP over IPv6.
        const HOST_TSO6 = 1 << 12;
        /// Of these, with CWR too.
        const HOST_ECN = 1 << 13;
        /// A received frame may stand in several buffers.
        const MRG_RXBUF = 1 << 15;
        /// The device says whether its link is up.
        const STATUS = 1 << 16;
        /// There is a control queue.
        const CTRL_VQ = 1 << 17;
        /// It takes receive modes.
        const CTRL_RX = 1 << 18;
        /// It filters VLANs.
        const CTRL_VLAN = 1 << 19;
        /// There are several pairs of queues.
        const MQ = 1 << 22;
        /// The control queue takes the address.
        const CTRL_MAC_ADDR = 1 << 23;
        /// A descriptor may point to a table of descriptors.
        const INDIRECT_DESC = 1 << 28;
        /// Notifications and interrupts at a position.
        const EVENT_IDX = 1 << 29;
        /// This is no legacy device.
        const VERSION_1 = 1 << 32;
        /// Memory is reached through the platform's IOMMU.
        const ACCESS_PLATFORM = 1 << 33;
        /// Packed rings.
        const RING_PACKED = 1 << 34;
        /// Buffers come back in the order in which they were made available.
        const IN_ORDER = 1 << 35;
        /// Memory accesses are ordered as the platform orders those of devices.
        const ORDER_PLATFORM = 1 << 36;
        /// The control queue tells statistics (version 1.4).
        const DEVICE_STATS = 1 << 50;
        /// The driver takes long packets of UDP over IPv4.
        const GUEST_USO4 = 1 << 54;
        /// Of UDP over IPv6.
        const GUEST_USO6 = 1 << 55;
        /// The device cuts long packets of UDP.
        const HOST_USO = 1 << 56;
        /// Receive-side scaling.
        const RSS = 1 << 60;
        /// The device says the speed of its link.
        const SPEED_DUPLEX = 1 << 63;
        const _ = !0;
    }
}

/// Bytes of `struct virtio_net_hdr` in front of each frame; `num_buffers` is in it in any case (5.1.6).
pub const NET_HDR: usize = 12;

/// Commands of the control queue (5.1.6.5): class and command.
pub mod control {
    /// Receive frames for any address.
    pub const PROMISC: [u8; 2] = [0, 0];
    /// Receive all multicast frames.
    pub const ALLMULTI: [u8; 2] = [0, 1];
    /// The station's address.
    pub const MAC_ADDR_SET: [u8; 2] = [1, 1];
    /// Frames of a VLAN are received (5.1.6.5.3).
    pub const VLAN_ADD: [u8; 2] = [2, 0];
    /// They are not any more.
    pub const VLAN_DEL: [u8; 2] = [2, 1];
    /// Pairs of queues in use.
    pub const MQ_PAIRS_SET: [u8; 2] = [4, 0];
    /// Receive-side scaling.
    pub const MQ_RSS_CONFIG: [u8; 2] = [4, 1];
    /// Which statistics there are.
    pub const STATS_QUERY: [u8; 2] = [8, 0];
    /// Statistics of queues.
    pub const STATS_GET: [u8; 2] = [8, 1];
    /// The device's answer: done.
    pub const OK: u8 = 0;
}

/// Statistics of a queue, as the control queue tells them (version 1.4, 5.1.6.5, "Device Statistics").
pub mod stats {
    /// Basic statistics of a receive queue, as bit and as kind of a reply.
    pub const RX_BASIC: u8 = 0;
    /// Of a transmit queue.
    pub const TX_BASIC: u8 = 16;
    /// Bytes of either: a header of 8, then notifications, packets, bytes, interrupts, drops, overruns (receive) or malformed.
    pub const BASIC: usize = 56;
    /// Offsets in a reply.
    pub const PACKETS: usize = 16;
    /// All packets dropped.
    pub const DROPS: usize = 40;
    /// Of these, for want of a descriptor.
    pub const OVERRUNS: usize = 48;
}
