//! PCI configuration space and where the structures lie (4.1.2, 4.1.4).

use super::offer::Offer;
use barline_sim::{ConfigSpace, Identity};

/// BAR of the MSI-X table, and offset of its pending bits.
pub const TABLE_BAR: u8 = 1;
const PENDING: u32 = 0x800;
/// Length of that BAR.
pub const TABLE_LEN: u32 = 0x1000;
/// BAR of the structures: 64 bits wide, prefetchable.
pub const BAR: u8 = 4;
/// The structures in it. Another order than that of the best-known implementation, on purpose.
pub const DEVICE: u32 = 0x0000;
/// `virtio_net_config`, up to `supported_hash_types`.
pub const DEVICE_LEN: u32 = 24;
/// ISR status, one byte.
pub const ISR: u32 = 0x0800;
/// Common configuration.
pub const COMMON: u32 = 0x1000;
/// Up to `queue_reset` and the two fields of administration queues.
pub const COMMON_LEN: u32 = 64;
/// Notifications, to the end of the BAR.
pub const NOTIFY: u32 = 0x2000;

/// Places of capabilities in configuration space.
const POWER: u8 = 0x40;
const EXPRESS: u8 = 0x48;
const MSIX: u8 = 0x84;
const STRUCTURES: u8 = 0x90;
const NOTIFY_CAP: u8 = 0xc0;
/// VIRTIO_PCI_CAP_PCI_CFG (4.1.4.9).
pub const WINDOW: u8 = 0xd4;
/// Its fields: BAR, offset, length, data.
pub const WINDOW_BAR: u16 = WINDOW as u16 + 4;
/// Offset within the BAR.
pub const WINDOW_OFFSET: u16 = WINDOW as u16 + 8;
/// Bytes of the access.
pub const WINDOW_LENGTH: u16 = WINDOW as u16 + 12;
/// The bytes.
pub const WINDOW_DATA: u16 = WINDOW as u16 + 16;
/// PCI Express: device control, whose bit 15 asks for a function-level reset.
pub const DEVICE_CONTROL: u16 = EXPRESS as u16 + 8;
/// Initiate function-level reset.
pub const FLR: u16 = 1 << 15;
/// MSI-X message control; bit 15 enables.
pub const MSIX_CONTROL: u16 = MSIX as u16 + 2;

const VENDOR_SPECIFIC: u8 = 0x09;

/// Queues with the control queue.
pub fn queues(offer: &Offer) -> u16 {
    offer.pairs * 2 + u16::from(offer.control)
}

/// `queue_notify_off`: the last queue comes first, so that nobody takes the index for it.
pub fn notify_off(offer: &Offer, queue: u16) -> u32 {
    u32::from(queues(offer) - 1 - queue)
}

/// Bytes of the notification structure.
pub fn notify_len(offer: &Offer) -> u32 {
    (u32::from(queues(offer)) * offer.multiplier).max(4)
}

/// Length of the BAR with the structures.
pub fn bar_len(offer: &Offer) -> u32 {
    (NOTIFY + notify_len(offer)).next_power_of_two()
}

/// The function's configuration space.
pub fn config_space(offer: &Offer) -> ConfigSpace {
    let mut space = ConfigSpace::new(identity(offer));
    if offer.transitional {
        space.io_bar(0, 32);
    }
    space.memory_bar(usize::from(TABLE_BAR), TABLE_LEN);
    space.memory_bar64(usize::from(BAR), bar_len(offer));
    // Version 3; state D3hot keeps what is set (No_Soft_Reset).
    space.capability(POWER, 0x01, &[0x03, 0x00, 0x08, 0x00, 0, 0], &[0, 0, 0x03, 0x01]);
    space.capability(EXPRESS, 0x10, &express(), &[0, 0, 0, 0, 0, 0, 0xff, 0xff]);
    let msix = [
        &(offer.vectors - 1).to_le_bytes()[..],
        &u32::from(TABLE_BAR).to_le_bytes(),
        &(PENDING | u32::from(TABLE_BAR)).to_le_bytes(),
    ];
    space.capability(MSIX, 0x11, &msix.concat(), &[0x00, 0xc0]);
    let structure = |kind: u8, len: u8, offset: u32, length: u32| {
        let place = [offset.to_le_bytes(), length.to_le_bytes()].concat();
        [&[len, kind, BAR, 0, 0, 0][..], &place].concat()
    };
    for (at, (kind, offset, length)) in [(1, COMMON, COMMON_LEN), (3, ISR, 1), (4, DEVICE, DEVICE_LEN)]
        .into_iter()
        .enumerate()
    {
        let body = structure(kind, 16, offset, length);
        space.capability(STRUCTURES + at as u8 * 16, VENDOR_SPECIFIC, &body, &[]);
    }
    let mut notify = structure(2, 20, NOTIFY, notify_len(offer));
    notify.extend(offer.multiplier.to_le_bytes());
    space.capability(NOTIFY_CAP, VENDOR_SPECIFIC, &notify, &[]);
    let mut window = structure(5, 20, 0, 0);
    (window[2], window[0]) = (0, 20);
    window.extend([0; 4]);
    let mut writable = [0xff; 18];
    // Length, kind, id and padding stay.
    for at in [0, 1, 3, 4, 5] {
        writable[at] = 0;
    }
    space.capability(WINDOW, VENDOR_SPECIFIC, &window, &writable);
    space.finish()
}

fn identity(offer: &Offer) -> Identity {
    let (device, revision, subsystem) = match offer.transitional {
        // 4.1.2.3: revision 0, and the device type as subsystem.
        true => (0x1000, 0, 0x0001),
        // 4.1.2: 0x1040 + device type 1; revision and subsystem at least 1 and 0x40.
        false => (0x1041, 1, 0x1100),
    };
    Identity {
        vendor: 0x1af4,
        device,
        subsystem_vendor: 0x1af4,
        subsystem_device: subsystem,
        revision,
        class: 0x02_0000,
    }
}

/// PCI Express capability version 2: an endpoint with function-level reset, one lane of 2.5 GT/s, in the 60 bytes it
/// always has.
fn express() -> Vec<u8> {
    let device: u32 = 1 << 28 | 1 << 15;
    let link: u32 = 1 << 4 | 1;
    let fields = [
        &[0x02, 0x00][..],
        &device.to_le_bytes(),
        &[0, 0, 0, 0],
        &link.to_le_bytes(),
        &[0, 0, 0x11, 0],
    ];
    let mut body = fields.concat();
    body.resize(58, 0);
    body
}
