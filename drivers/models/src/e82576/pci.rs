//! PCI configuration space (chapter 9).

use super::regs::{BAR0_LEN, BAR3_LEN, VECTORS};
use barline_sim::{ConfigSpace, Identity};

/// MSI-X table at the start of BAR 3, pending bits at 0x2000 (9.5.3).
const MSIX_TABLE: u32 = 3;
const MSIX_PENDING: u32 = 0x2000 | 3;

/// The function's configuration space: power management, MSI, MSI-X, PCI Express; AER and serial number.
pub fn config_space(mac: [u8; 6]) -> ConfigSpace {
    let mut space = ConfigSpace::new(Identity {
        vendor: 0x8086,
        device: 0x10c9,
        subsystem_vendor: 0x8086,
        subsystem_device: 0xa03c,
        revision: 1,
        class: 0x02_0000,
    });
    space.memory_bar(0, BAR0_LEN);
    space.memory_bar(3, BAR3_LEN);
    // Power management version 3, D3 only; the power state can be written.
    space.capability(0x40, 0x01, &[0x23, 0xc8, 0x08, 0x20, 0, 0], &[0, 0, 0x03, 0x01]);
    // MSI, 64-bit with mask: enable, address, data and mask can be written.
    let msi = [&[0xff, 0xff][..], &[0xff; 14]].concat();
    let mut msi_mask = msi;
    (msi_mask[0], msi_mask[1], msi_mask[2]) = (0x71, 0x00, 0xfc);
    space.capability(0x50, 0x05, &[0x80, 0x01], &msi_mask);
    let msix = [
        &(VECTORS - 1).to_le_bytes()[..],
        &MSIX_TABLE.to_le_bytes(),
        &MSIX_PENDING.to_le_bytes(),
    ]
    .concat();
    // Function mask and enable.
    space.capability(0x70, 0x11, &msix, &[0x00, 0xc0]);
    space.capability(
        0xa0,
        0x10,
        &express(),
        &[0, 0, 0, 0, 0, 0, 0xff, 0x7f, 0, 0, 0, 0, 0, 0, 0xc3, 0x01],
    );
    space.extended(0x100, 0x0001, 1, &[0; 0x28]);
    let [a, b, c, d, e, f] = mac;
    space.extended(0x140, 0x0003, 1, &[f, e, d, 0xff, 0xff, c, b, a]);
    space.finish()
}

/// PCI Express capability version 2 (9.5.5): an endpoint with function-level reset, 512-byte payloads, 4 lanes of
/// 2.5 GT/s.
fn express() -> Vec<u8> {
    let capabilities: u16 = 0x0002;
    let device: u32 = 1 << 28 | 1 << 15 | 2;
    let device_control: u16 = 0x2810;
    let link: u32 = 4 << 4 | 1;
    let link_status: u16 = 4 << 4 | 1;
    [
        &capabilities.to_le_bytes()[..],
        &device.to_le_bytes(),
        &device_control.to_le_bytes(),
        &[0, 0],
        &link.to_le_bytes(),
        &[0, 0],
        &link_status.to_le_bytes(),
    ]
    .concat()
}
