//! What the fuzz targets do with their input: each is a function from bytes that must return, whatever the bytes are.
//!
//! `fuzz/` feeds them with cargo-fuzz (`cargo xtask fuzz`); the test of this crate replays the inputs kept in
//! `fuzz/corpus` on the stable compiler.
#![forbid(unsafe_code)]

mod bytes;
mod kernel;
mod pci;
mod rig;
mod rx;
mod text;
mod tx;
mod vhost;
mod virtio;

pub use kernel::{packet_block, pcap_port};
pub use pci::pci_config;
pub use rx::rx_ring;
pub use text::{config, pcap, port_spec};
pub use tx::tx_ring;
pub use vhost::{vhost_messages, vhost_rings};
pub use virtio::{virtio_rings, virtio_user_answers};

/// A target: its name, which is that of its corpus and of its program, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("pci_config", pci_config),
    ("rx_ring", rx_ring),
    ("tx_ring", tx_ring),
    ("pcap", pcap),
    ("pcap_port", pcap_port),
    ("packet_block", packet_block),
    ("config", config),
    ("port_spec", port_spec),
    ("vfio_info", vfio_info),
    ("vhost_messages", vhost_messages),
    ("vhost_rings", vhost_rings),
    ("virtio_rings", virtio_rings),
    ("virtio_user_answers", virtio_user_answers),
];

/// The kernel's answers to VFIO's info ioctls, with their chains of capabilities.
pub fn vfio_info(bytes: &[u8]) {
    barline::bus::vfio::decode_any(bytes);
}
