//! Which frames a port takes (7.1.1.1 to 7.1.1.3).

use super::regs::{MTA, RAL, RAL_HIGH, RCTL, VFTA, rctl};
use barline_sim::RegFile;

/// RAH: address valid; 17:16 say whether the source is compared instead.
const RAH_VALID: u32 = 1 << 31;
const RAH_SELECT: u32 = 3 << 16;
/// Exact filters: 16 from RAL on, 8 more from 0x54E0 on.
const EXACT: u32 = 24;

/// What kind of address a frame goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cast {
    /// One station.
    Unicast,
    /// A group.
    Multicast,
    /// All.
    Broadcast,
}

impl Cast {
    /// From the destination address.
    pub fn of(frame: &[u8]) -> Self {
        match frame {
            [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, ..] => Self::Broadcast,
            [first, ..] if first & 1 != 0 => Self::Multicast,
            _ => Self::Unicast,
        }
    }
}

/// Offset of RAL `n`.
pub fn receive_address(n: u32) -> u32 {
    if n < 16 {
        RAL + n * 8
    } else {
        RAL_HIGH + (n - 16) * 8
    }
}

/// Whether the destination address passes.
pub fn takes(regs: &RegFile, frame: &[u8], cast: Cast) -> bool {
    let control = regs.get(RCTL);
    let Some(&[a, b, c, d, e, f]) = frame.first_chunk() else {
        return false;
    };
    let exact = || {
        let (low, high) = (
            u32::from_le_bytes([a, b, c, d]),
            u32::from(u16::from_le_bytes([e, f])),
        );
        (0..EXACT).map(receive_address).any(|at| {
            let rah = regs.get(at + 4);
            rah & (RAH_VALID | RAH_SELECT) == RAH_VALID && rah & 0xffff == high && regs.get(at) == low
        })
    };
    match cast {
        Cast::Broadcast => control & rctl::BAM != 0,
        Cast::Unicast => control & rctl::UPE != 0 || exact(),
        Cast::Multicast => control & rctl::MPE != 0 || exact() || in_table(regs, control, [e, f]),
    }
}

/// The multicast table: 12 bits of the address, from bit 36, 35, 34 or 32 on (RCTL.MO), name one of 4,096 bits.
fn in_table(regs: &RegFile, control: u32, [e, f]: [u8; 2]) -> bool {
    let shift = [4, 3, 2, 0][(control >> rctl::MO_SHIFT & 3) as usize];
    let hash = (u32::from(u16::from_le_bytes([e, f])) >> shift) & 0xfff;
    regs.get(MTA + (hash >> 5) * 4) >> (hash & 0x1f) & 1 != 0
}

/// Whether the VLAN filter lets a tag pass; untagged frames always do.
pub fn vlan_takes(regs: &RegFile, tag: Option<u16>) -> bool {
    let Some(tag) = tag else { return true };
    if regs.get(RCTL) & rctl::VFE == 0 {
        return true;
    }
    let id = u32::from(tag & 0xfff);
    regs.get(VFTA + (id >> 5) * 4) >> (id & 0x1f) & 1 != 0
}
