//! What is in a frame.

use super::Plan;

/// Length of frame number `n`: all of them, again and again, far apart ones next to each other.
pub fn len(plan: &Plan, n: u64) -> usize {
    (plan.least + n.wrapping_mul(0x9e37_79b9) % (plan.most - plan.least + 1)) as usize
}

/// Fills a frame: addresses, a local experimental Ethertype, number, session, and bytes that follow from them and from the
/// queue.
pub fn write(bytes: &mut [u8], queue: usize, n: u64, session: u64) {
    bytes[..14].copy_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    let seed = (n << 8 | queue as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bytes[14..22].copy_from_slice(&n.to_le_bytes());
    bytes[22..30].copy_from_slice(&session.to_le_bytes());
    for (at, word) in bytes[30..].chunks_mut(8).enumerate() {
        // Eight numbers in a row, none of which is above 255.
        let numbers = 0x0706_0504_0302_0100 + 0x0101_0101_0101_0101 * (at as u64 * 8 % 256);
        word.copy_from_slice(&(seed ^ numbers).to_le_bytes()[..word.len()]);
    }
}

/// Whether it is, whole, a frame of another process's or attempt's.
pub fn is_foreign(plan: &Plan, packet: &[u8], queue: usize) -> bool {
    let word = |at: usize| {
        packet
            .get(at..at + 8)
            .map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap_or_default()))
    };
    let (Some(n), Some(other)) = (word(14), word(22)) else {
        return false;
    };
    if other == plan.session {
        return false;
    }
    let mut wanted = vec![0; packet.len()];
    write(&mut wanted, queue, n, other);
    packet.len() == len(plan, n) && wanted == packet
}
