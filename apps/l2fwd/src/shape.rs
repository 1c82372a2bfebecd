//! What a forwarder needs of the machine, and how its ports are started.

use crate::{Failure, Settings};
use barline::offload::{LONG_ROOM, Offloads};
use barline::pool::{Pool, PoolBuilder};
use barline::port::{LinkRequest, PortConfig};
use barline_app::{CACHE, range};
use barline_drivers::{Opened, PortSpec};

/// Sizes that no pool could be made for are refused before one is tried; the port itself checks the rest.
pub fn fits(settings: &Settings, opened: &Opened) -> Result<(), Failure> {
    settings.sizes().fit(opened)?;
    range(opened, "mtu", settings.mtu, (68, opened.port.caps().mtu))
}

/// Enough packets that no ring ever starves: all rings full, all caches full, a burst in every worker's hands.
pub fn shape(settings: &Settings) -> PoolBuilder {
    let rings = settings.sizes().descriptors(settings.ports.len());
    let hands = (CACHE + settings.burst) * settings.workers.len();
    // Header and a VLAN tag; NICs count buffers in KiB.
    let room = match settings.offloads.intersects(Offloads::RX_LONG) {
        true => LONG_ROOM,
        false => (settings.mtu as usize + 18).next_multiple_of(1024).max(2048),
    };
    let headroom = PortSpec::pool_headroom(&settings.ports).min(usize::from(u16::MAX).saturating_sub(room));
    Pool::builder()
        .packets(rings + hands)
        .data_room(room)
        .headroom(headroom)
        .source(settings.huge.pool)
}

/// For any of the ports: each takes of the offloads what it has.
pub fn config(settings: &Settings, pool: &Pool) -> PortConfig {
    PortConfig {
        rx_queues: settings.queues,
        tx_queues: settings.queues,
        rx_ring: settings.rx_ring,
        tx_ring: settings.tx_ring,
        mtu: settings.mtu,
        promiscuous: settings.promiscuous,
        vlans: settings.vlans.clone(),
        // All links come up at once, and a signal can end the wait.
        link: LinkRequest::DoNotWait,
        ring_memory: settings.huge.rings,
        interrupts: !settings.busy,
        offloads: settings.offloads,
        ..PortConfig::new(pool)
    }
}
