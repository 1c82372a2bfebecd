//! The devices of the machine that the kernel module is tested in.

use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// A port whose device stays, so that it can be reset with its link.
const FIXED: &str = ",hotplug=off";

/// Besides two 82576 (0000:01:00.0 and 0000:02:00.0): edu on the root bus, which nothing can reset, and behind a port; an
/// 82574 with a ROM; a BAR of 4 GiB; two 82576 that nothing keeps apart; two to be taken out; an edu that can be, too.
pub fn all(dir: &Path) -> Result<Vec<String>> {
    let rom = dir.join("option.rom");
    fs::write(&rom, option_rom()).with_context(|| format!("cannot write {}", rom.display()))?;
    let devices = [
        "edu,bus=pcie.0,addr=0x1c.0".to_owned(),
        port(10, FIXED),
        "edu,bus=port10".to_owned(),
        port(11, FIXED),
        format!("e1000e,bus=port11,romfile={}", rom.display()),
        port(12, FIXED),
        "ivshmem-plain,bus=port12,memdev=large".to_owned(),
        port(13, ",disable-acs=on"),
        "x3130-upstream,id=up,bus=port13".to_owned(),
        "xio3130-downstream,id=down1,bus=up,chassis=31,slot=31".to_owned(),
        "xio3130-downstream,id=down2,bus=up,chassis=32,slot=32".to_owned(),
        "igb,bus=down1,romfile=".to_owned(),
        "igb,bus=down2,romfile=".to_owned(),
        port(14, ""),
        "igb,bus=port14,romfile=,id=hot".to_owned(),
        port(15, ""),
        "igb,bus=port15,romfile=".to_owned(),
        port(16, ""),
        "edu,bus=port16,id=button".to_owned(),
    ];
    // Memory that nobody touches takes none. Slots are the kernel's own to power, not ACPI's.
    let mut arguments = [
        "-object",
        "memory-backend-memfd,id=large,size=4G,share=on",
        "-global",
        "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off",
    ]
    .map(str::to_owned)
    .to_vec();
    arguments.extend(device_arguments(&devices));
    Ok(arguments)
}

/// A port of the root complex that a device can hang on.
fn port(n: u32, more: &str) -> String {
    format!("pcie-root-port,id=port{n},chassis={n},slot={n},addr={n:#x}.0{more}")
}

fn device_arguments(devices: &[String]) -> Vec<String> {
    let pairs = devices
        .iter()
        .map(|device| ["-device".to_owned(), device.clone()]);
    pairs.flatten().collect()
}

/// An option ROM of one block, as the PCI Firmware Specification has it: signature, data structure, last image.
fn option_rom() -> Vec<u8> {
    let mut rom = vec![0; 512];
    rom[..3].copy_from_slice(&[0x55, 0xaa, 1]);
    // A far return, for a firmware that calls it.
    rom[3] = 0xcb;
    rom[0x18..0x1a].copy_from_slice(&0x1c_u16.to_le_bytes());
    rom[0x1c..0x20].copy_from_slice(b"PCIR");
    rom[0x20..0x24].copy_from_slice(&[0x86, 0x80, 0xd3, 0x10]);
    rom[0x26..0x28].copy_from_slice(&0x18_u16.to_le_bytes());
    rom[0x2c] = 1;
    rom[0x31] = 0x80;
    let sum = rom.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    rom[511] = sum.wrapping_neg();
    rom
}

/// An edu that can be reset, and nothing else.
pub fn one_edu() -> Vec<String> {
    device_arguments(&[port(10, FIXED), "edu,bus=port10".to_owned()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rom_is_one() {
        let rom = option_rom();
        assert_eq!(rom.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)), 0);
        assert_eq!(rom.len(), 512 * usize::from(rom[2]));
        assert_eq!(&rom[0x1c..0x20], b"PCIR");
    }
}
