//! Statistics as the control queue tells them (5.1.6.5.10 of version 1.4).

use super::queue::QueueStats;

/// VIRTIO_NET_STATS_TYPE_*: bit numbers.
const RX_BASIC: u8 = 0;
const TX_BASIC: u8 = 16;
const CONTROL: u8 = 32;
/// What can be asked for.
pub const SUPPORTED: u64 = 1 << RX_BASIC | 1 << TX_BASIC | 1 << CONTROL;

/// The one kind that a queue has.
pub fn kind(queue: u16, is_control: bool) -> u8 {
    match (is_control, queue % 2) {
        (true, _) => CONTROL,
        (false, 0) => RX_BASIC,
        (false, _) => TX_BASIC,
    }
}

/// One reply with its header.
pub fn reply(queue: u16, kind: u8, stats: &QueueStats) -> Vec<u8> {
    let numbers = match kind {
        CONTROL => vec![stats.packets, stats.bytes],
        _ => vec![
            stats.notifications,
            stats.packets,
            stats.bytes,
            stats.interrupts,
            stats.drops,
            stats.overruns,
        ],
    };
    let size = 8 + numbers.len() as u16 * 8;
    let mut reply = vec![kind, 0];
    for word in [queue, 0, size] {
        reply.extend(word.to_le_bytes());
    }
    numbers
        .iter()
        .for_each(|number| reply.extend(number.to_le_bytes()));
    reply
}
