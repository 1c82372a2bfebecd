use super::*;
use proptest::prelude::*;
use proptest::sample::subsequence;

/// An image with the capabilities (offset, id) chained in the given order.
fn chained(caps: &[(u16, u8)]) -> Vec<u8> {
    let mut image = vec![0; 256];
    image[6] = 0x10; // PCI_STATUS_CAP_LIST
    let mut link = CAPABILITY_LIST;
    for (offset, id) in caps {
        image[link] = *offset as u8;
        image[usize::from(*offset)] = *id;
        link = usize::from(*offset) + 1;
    }
    image
}

fn extended(caps: &[(u16, u16, u8)]) -> Vec<u8> {
    let mut image = vec![0; 4096];
    for (n, (offset, id, version)) in caps.iter().enumerate() {
        let next = caps.get(n + 1).map_or(0, |cap| u32::from(cap.0));
        let dword = u32::from(*id) | u32::from(*version) << 16 | next << 20;
        image[usize::from(*offset)..][..4].copy_from_slice(&dword.to_le_bytes());
    }
    image
}

fn order(first: u16, end: u16, most: usize) -> impl Strategy<Value = Vec<u16>> {
    let dwords: Vec<u16> = (first..end).step_by(4).collect();
    subsequence(dwords, 1..most).prop_shuffle()
}

proptest! {
    #[test]
    fn walks_end_and_stay_inside(mut bytes in proptest::collection::vec(any::<u8>(), 64..4097), list: bool) {
        bytes[6] |= if list { 0x10 } else { 0 };
        let Ok(image) = ConfigImage::new(&bytes) else { return Ok(()) };
        prop_assert!(image.capabilities().count() <= 49);
        prop_assert!(image.extended_capabilities().count() <= 961);
        for cap in image.capabilities().chain(image.extended_capabilities()).flatten() {
            prop_assert!(usize::from(cap.offset) + 4 <= bytes.len() && cap.offset % 4 == 0);
        }
    }

    #[test]
    fn small_pointers_make_loops_and_still_end(next in proptest::collection::vec(0u8..=255, 192)) {
        let mut bytes = chained(&[(0x40, 1)]);
        bytes[0x40..].copy_from_slice(&next);
        let walked = ConfigImage::new(&bytes).unwrap().capabilities().count();
        prop_assert!(walked <= 49);
    }

    #[test]
    fn chains_round_trip(offsets in order(0x40, 0x100, 48), seed: u8) {
        let caps: Vec<(u16, u8)> =
            offsets.iter().enumerate().map(|(n, at)| (*at, (n as u8 ^ seed).min(0xfe))).collect();
        let bytes = chained(&caps);
        let walked: Result<Vec<_>, _> = ConfigImage::new(&bytes).unwrap().capabilities().collect();
        let walked: Vec<_> = walked.unwrap().iter().map(|cap| (cap.offset, cap.id as u8)).collect();
        prop_assert_eq!(walked, caps);
    }

    #[test]
    fn extended_chains_round_trip(offsets in order(0x104, 0x1000, 200), id in 1u16..0xfffe, version in 0u8..16) {
        let offsets = std::iter::once(0x100).chain(offsets);
        let caps: Vec<(u16, u16, u8)> = offsets.map(|at| (at, id, version)).collect();
        let bytes = extended(&caps);
        let walked: Result<Vec<_>, _> = ConfigImage::new(&bytes).unwrap().extended_capabilities().collect();
        let walked: Vec<_> = walked.unwrap().iter().map(|cap| (cap.offset, cap.id, cap.version)).collect();
        prop_assert_eq!(walked, caps);
    }
}

fn walk(bytes: &[u8]) -> Vec<Result<Capability, CapError>> {
    ConfigImage::new(bytes).unwrap().capabilities().collect()
}

#[test]
fn a_loop_is_an_error_and_the_last_item() {
    let mut bytes = chained(&[(0x40, 1), (0x50, 5)]);
    bytes[0x51] = 0x40;
    let walked = walk(&bytes);
    assert_eq!(walked.len(), 3);
    assert_eq!(walked[2], Err(CapError::Loop { at: 0x40 }));
}

#[test]
fn a_pointer_into_the_header_or_past_a_short_image_is_an_error() {
    assert_eq!(
        walk(&chained(&[(0x0c, 1)])),
        [Err(CapError::OutOfRange { at: 0x0c })]
    );
    assert_eq!(
        walk(&chained(&[(0x80, 1)])[..0x80]),
        [Err(CapError::OutOfRange { at: 0x80 })]
    );
}

#[test]
fn all_ones_end_the_walk() {
    // What a device that is removed during the walk returns: id 0xff, next 0xff.
    let mut bytes = chained(&[(0x40, 1), (0x50, 5)]);
    bytes[0x50..0x54].fill(0xff);
    assert_eq!(walk(&bytes).last(), Some(&Err(CapError::Gone { at: 0x50 })));
}

#[test]
fn msix_is_decoded() {
    let mut bytes = chained(&[
        (0x40, id::PM),
        (0x70, id::MSIX),
        (0xa0, id::EXP),
        (0xf4, id::VNDR),
    ]);
    bytes[0x72..0x7c].copy_from_slice(&[0x09, 0xc0, 0x03, 0, 0, 0, 0x03, 0x20, 0, 0]); // igb: 10 vectors, BAR3
    bytes[0xa2..0xa8].copy_from_slice(&[0x02, 0, 0x02, 0, 0, 0x10]);
    bytes[0xf6] = 8;
    let image = ConfigImage::new(&bytes).unwrap();
    let msix = image.msix().unwrap().unwrap();
    assert_eq!((msix.vectors, msix.enabled, msix.masked), (10, true, true));
    assert_eq!((msix.table_bar, msix.table_offset), (3, 0));
    assert_eq!((msix.pending_bar, msix.pending_offset), (3, 0x2000));
    let express = image.pci_express().unwrap().unwrap();
    assert_eq!(
        express,
        PciExpress {
            version: 2,
            port_type: 0,
            max_payload: 512,
            function_reset: true
        }
    );
    assert_eq!(image.power_management().unwrap().unwrap().state, 0);
    assert_eq!(image.vendor_specific().unwrap(), [&bytes[0xf4..0xfc]]);
}

#[test]
fn a_capability_cut_off_by_the_image_is_an_error() {
    let bytes = chained(&[(0xfc, id::MSIX)]);
    let image = ConfigImage::new(&bytes).unwrap();
    assert_eq!(image.msix(), Err(CapError::OutOfRange { at: 0xfc }));
    let mut bytes = chained(&[(0xf8, id::VNDR)]);
    bytes[0xfa] = 9;
    let image = ConfigImage::new(&bytes).unwrap();
    assert_eq!(image.vendor_specific(), Err(CapError::OutOfRange { at: 0xf8 }));
}
