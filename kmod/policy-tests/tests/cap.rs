//! The capability walk on images that nobody made with care, and on ones that are right.

use kmod_policy_tests::ffi::{CAP_GAP, CapMap, DWORDS};
use kmod_policy_tests::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const ENODEV: i32 = 19;
const EINVAL: i32 = 22;
const ELOOP: i32 = 40;

/// An image with a vendor and the list bit; the first capability is at `first`.
fn image(size: usize, first: u8) -> Image {
    let mut image = Image::new(size);
    image.set(0, 4, 0x10c9_8086);
    image.set(6, 2, 0x0010);
    image.set(0x34, 1, first.into());
    image
}

/// What must hold for any map, whatever the device says.
fn check_map(map: &CapMap, image: &Image) {
    let dwords = image.bytes.len() / 4;
    assert_eq!(map.dwords as usize, dwords);
    assert_eq!(image.astray, None, "read outside of the image");
    for dword in 0..dwords {
        let start = map.start[dword];
        if dword < 16 {
            assert_eq!(start, 0);
        } else if start != CAP_GAP {
            // A capability is one run of dwords in its own part, and begins where it says.
            assert!((16..=dword).contains(&usize::from(start)));
            assert_eq!(start >= 64, dword >= 64);
            assert_eq!(map.start[usize::from(start)], start);
            assert!((usize::from(start)..=dword).all(|at| map.start[at] == start));
        }
    }
}

fn starts(map: &CapMap, dwords: std::ops::Range<usize>) -> Vec<usize> {
    dwords.filter(|d| usize::from(map.start[*d]) == *d).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    /// R28: any image; the walk ends after as many steps as there are places, and reads nothing else.
    #[test]
    fn random_images(mut bytes in prop::collection::vec(any::<u8>(), 4096), extended: bool, list: bool) {
        bytes.truncate(if extended { 4096 } else { 256 });
        bytes[6] = if list { bytes[6] | 0x10 } else { bytes[6] & !0x10 };
        walk_any(bytes);
    }

    /// The same with bytes that point to each other more often than random ones do.
    #[test]
    fn dense_images(words in prop::collection::vec(0_u8..64, 4096)) {
        let mut bytes: Vec<u8> = words.iter().map(|w| w * 4).collect();
        bytes[6] |= 0x10;
        walk_any(bytes);
    }

    /// Chains that are right come back as they were made.
    #[test]
    fn chains(std in chain(16, 64), ext in chain(64, 1024)) {
        let mut image = image(4096, std.first().map_or(0, |(at, _)| (at * 4) as u8));
        for (i, (at, id)) in std.iter().enumerate() {
            let next = std.get(i + 1).map_or(0, |(next, _)| next * 4);
            image.set(at * 4, 2, (next << 8) as u32 | u32::from(*id) & 0xff);
        }
        for (i, (at, id)) in ext.iter().enumerate() {
            let next = ext.get(i + 1).map_or(0, |(next, _)| next * 4);
            image.set(at * 4, 4, (next << 20) as u32 | 0x1_0000 | u32::from(*id));
        }
        let map = cap_walk(&mut image).expect("a map");
        check_map(&map, &image);
        let found = |part| starts(&map, part).into_iter().map(|at| (at, map.id[at])).collect::<BTreeMap<_, _>>();
        prop_assert_eq!(found(16..64), std.iter().map(|(at, id)| (*at, id & 0xff)).collect());
        prop_assert_eq!(found(64..1024), ext.iter().copied().collect());
        for (at, id) in &ext {
            let first = ext.iter().filter(|(_, other)| other == id).map(|(at, _)| at * 4).min();
            prop_assert_eq!(Some(cap_find(&map, true, *id) as usize), first, "{:#x}", at);
        }
    }
}

/// Capabilities of ids that no table knows, at places in any order, one dword each. The extended list starts at 0x100.
fn chain(from: usize, to: usize) -> impl Strategy<Value = Vec<(usize, u16)>> {
    let places = prop::sample::subsequence((from + 1..to).collect::<Vec<_>>(), 0..20).prop_shuffle();
    (places, prop::collection::vec(0x80_u16..0xff, 20)).prop_map(move |(mut places, ids)| {
        if from == 64 {
            places.insert(0, from);
        }
        places.into_iter().zip(ids).collect()
    })
}

fn walk_any(bytes: Vec<u8>) {
    let mut image = Image::of(bytes);
    let result = cap_walk(&mut image);
    assert_eq!(image.astray, None);
    // Two dwords of the header, a header a place, and once more each for its length with a second one for a vendor's.
    assert!(image.reads <= 3 + 3 * DWORDS as u32, "{} reads", image.reads);
    match result {
        Ok(map) => check_map(&map, &image),
        Err(code) => assert!([ENODEV, ELOOP].contains(&code), "{code}"),
    }
}

/// A first walk kept visited places by their id, 0xff for none: a capability with that id went round for ever.
#[test]
fn an_id_of_0xff_is_an_id() {
    let mut one = image(256, 0x40);
    one.set(0x40, 4, 0x0000_40ff);
    assert_eq!(cap_walk(&mut one).map(|_| ()), Err(ELOOP));
    let mut one = image(256, 0x40);
    one.set(0x40, 4, 0x0000_00ff);
    let map = cap_walk(&mut one).expect("a map");
    assert_eq!((map.start[16], map.id[16]), (16, 0xff));
}

#[test]
fn loops_of_every_length_are_found() {
    for length in 1..=48_usize {
        let mut one = image(256, 0x40);
        for at in 0..length {
            let next = 0x40 + (at + 1) % length * 4;
            one.set(0x40 + at * 4, 2, (next << 8) as u32 | 0x80);
        }
        assert_eq!(cap_walk(&mut one).map(|_| ()), Err(ELOOP), "{length}");
    }
    for length in [1, 2, 959, 960] {
        let mut one = image(4096, 0);
        for at in 0..length {
            let next = 0x100 + (at + 1) % length * 4;
            one.set(0x100 + at * 4, 4, (next << 20) as u32 | 0x1_00f0);
        }
        assert_eq!(cap_walk(&mut one).map(|_| ()), Err(ELOOP), "{length}");
    }
}

/// A device that is pulled out answers all ones, in the middle of a walk too.
#[test]
fn all_ones_are_no_device() {
    assert_eq!(
        cap_walk(&mut Image::of(vec![0xff; 4096])).map(|_| ()),
        Err(ENODEV)
    );
    let mut one = image(256, 0x40);
    one.set(0x40, 4, 0x0000_4480);
    one.set(0x44, 4, u32::MAX);
    assert_eq!(cap_walk(&mut one).map(|_| ()), Err(ENODEV));
    let mut one = image(4096, 0);
    one.set(0x100, 4, u32::MAX);
    assert_eq!(cap_walk(&mut one).map(|_| ()), Err(ENODEV));
}

#[test]
fn sizes_of_configuration_space_are_two() {
    for size in [0, 64, 252, 260, 1024, 4095] {
        assert_eq!(cap_walk(&mut Image::new(size)).map(|_| ()), Err(EINVAL), "{size}");
    }
}

/// B36: MSI is 10, 14, 20 or 24 bytes, by its own word; the seed did not know of 20.
#[test]
fn b36_msi_is_as_long_as_it_says() {
    for (control, bytes) in [(0, 10), (0x80, 14), (0x100, 20), (0x180, 24)] {
        let mut one = image(256, 0x50);
        one.set(0x50, 4, control << 16 | 0x05);
        let map = cap_walk(&mut one).expect("a map");
        let dwords = map.start.iter().filter(|start| **start == 0x14).count();
        assert_eq!(dwords, (bytes as usize).div_ceil(4), "control {control:#x}");
    }
}

/// Lengths of the others that tell it: PCI Express by version and kind, PCI-X by version, vendor-specific.
#[test]
fn other_lengths_follow_the_capability() {
    let cases = [
        (0x0001_0010, 20), // version 1 endpoint
        (0x0091_0010, 12), // version 1, integrated: no link
        (0x0002_0010, 52), // version 2 endpoint: up to Link Control 2
        (0x0092_0010, 44),
        (0x0000_0007, 8),
        (0x1000_0007, 24),
        (0x0014_0009, 20), // vendor-specific says 20
        (0x0001_0009, 4),  // and may not be shorter than its header
        (0x0000_0011, 12),
        (0x0000_0001, 8),
    ];
    for (header, bytes) in cases {
        let mut one = image(256, 0x60);
        one.set(0x60, 4, header);
        let map = cap_walk(&mut one).expect("a map");
        let dwords = map.start.iter().filter(|start| **start == 0x18).count();
        assert_eq!(dwords, bytes / 4, "{header:#x}");
    }
}

/// Two capabilities that claim a dword: refused, unless one is a vendor's, whose length is made up.
#[test]
fn overlaps() {
    let two = |first: u32, second: u32| {
        let mut one = image(256, 0x40);
        one.set(0x40, 4, first | 0x4800);
        one.set(0x48, 4, second);
        cap_walk(&mut one).map(|map| map.start[0x48 / 4])
    };
    // MSI-X of 12 bytes at 0x40 reaches to 0x4c.
    assert_eq!(two(0x0000_0011, 0x80), Err(ELOOP));
    assert_eq!(two(0x00ff_0009, 0x80), Ok(0x12));
    let mut one = image(256, 0xfc);
    one.set(0xfc, 4, 0x00ff_0009);
    let map = cap_walk(&mut one).expect("cut at the end of the list's part");
    assert_eq!(map.start[63], 63);
}
