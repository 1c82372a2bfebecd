//! Statistics (8.18). All count bytes with FCS, and all but the octet counters stick at their end.

use super::filter::Cast;
use super::regs::stat;
use barline_sim::RegFile;

/// The octet counters: 64 bits in two registers, cleared when the upper half is read.
const OCTETS: [u32; 4] = [stat::GORC, stat::GOTC, stat::TOR, stat::TOT];

/// Adds to a 64-bit counter.
pub fn add_octets(regs: &mut RegFile, at: u32, bytes: u64) {
    let sum = (u64::from(regs.get(at + 4)) << 32 | u64::from(regs.get(at))).wrapping_add(bytes);
    regs.set(at, sum as u32);
    regs.set(at + 4, (sum >> 32) as u32);
}

/// A read of a 64-bit counter; `None` for other registers.
pub fn read(regs: &mut RegFile, offset: u32) -> Option<u32> {
    let at = offset & !7;
    if !OCTETS.contains(&at) {
        return None;
    }
    let value = regs.get(offset);
    if offset != at {
        regs.set(at, 0);
        regs.set(at + 4, 0);
    }
    Some(value)
}

/// The size bin: 64, 65 to 127, to 255, to 511, to 1023, above; `wire` includes the FCS.
fn bin(wire: usize) -> u32 {
    match wire {
        0..=64 => 0,
        65..=127 => 1,
        128..=255 => 2,
        256..=511 => 3,
        512..=1023 => 4,
        _ => 5,
    }
}

/// Everything that reaches the port, good or not, for us or not.
pub fn seen(regs: &mut RegFile, wire: usize) {
    regs.add(stat::TPR, 1);
    add_octets(regs, stat::TOR, wire as u64);
}

/// A good packet that passed the filters.
pub fn received(regs: &mut RegFile, cast: Cast, wire: usize) {
    regs.add(stat::GPRC, 1);
    add_octets(regs, stat::GORC, wire as u64);
    regs.add(stat::PRC64 + bin(wire) * 4, 1);
    match cast {
        Cast::Unicast => {}
        Cast::Multicast => regs.add(stat::MPRC, 1),
        Cast::Broadcast => regs.add(stat::BPRC, 1),
    }
}

/// A packet sent.
pub fn sent(regs: &mut RegFile, cast: Cast, wire: usize) {
    regs.add(stat::GPTC, 1);
    regs.add(stat::TPT, 1);
    add_octets(regs, stat::GOTC, wire as u64);
    add_octets(regs, stat::TOT, wire as u64);
    regs.add(stat::PTC64 + bin(wire) * 4, 1);
    match cast {
        Cast::Unicast => {}
        Cast::Multicast => regs.add(stat::MPTC, 1),
        Cast::Broadcast => regs.add(stat::BPTC, 1),
    }
}
