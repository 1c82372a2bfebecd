//! MSI-X geometry and the parts of a BAR that may be mapped, against a byte map of the BAR.

use kmod_policy_tests::*;
use proptest::prelude::*;

const EINVAL: i32 = 22;
const PAGES: [u64; 3] = [4 << 10, 16 << 10, 64 << 10];
const UNIT: u64 = 256;

/// A function with MSI-X whose structures lie in its BARs, on multiples of 8 as the specification has them.
fn function() -> impl Strategy<Value = ([u64; 6], u16, u32, u32)> {
    let len = prop_oneof![Just(0_u64), (8_u32..20).prop_map(|shift| 1_u64 << shift)];
    (
        prop::array::uniform6(len),
        0_u16..2048,
        any::<u32>(),
        any::<u32>(),
    )
        .prop_map(|(lens, count, t, p)| {
            let place = |word: u32| {
                let bar = word % 6;
                let len = lens[bar as usize].max(1);
                (u64::from(word >> 3) % len) as u32 & !7 | bar
            };
            (lens, count, place(t), place(p))
        })
}

/// Whether a unit of the BAR holds a byte of the table or of the pending bits; the specification's sizes.
fn guarded(flags: u16, table: u32, pba: u32, bar: u32, from: u64, to: u64) -> bool {
    let vectors = u64::from(flags & 0x7ff) + 1;
    let hits = |word: u32, size: u64| {
        let start = u64::from(word & !7);
        word & 7 == bar && start < to && from < start + size
    };
    hits(table, vectors * 16) || hits(pba, vectors.div_ceil(64) * 8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn geometry((lens, flags, table, pba) in function(), bir in 0_u32..8) {
        let table = if bir > 5 { table & !7 | bir } else { table };
        let vectors = u64::from(flags) + 1;
        let inside = |word: u32, size: u64| {
            let bar = (word & 7) as usize;
            bar < 6 && u64::from(word & !7) + size <= lens[bar]
        };
        let expected = inside(table, vectors * 16) && inside(pba, vectors.div_ceil(64) * 8);
        // The enable and mask bits of Message Control say nothing about the size.
        let result = msix_geometry(flags | 0xc000, table, pba, &lens);
        prop_assert_eq!(result.is_ok(), expected);
        if let Ok(msix) = result {
            prop_assert_eq!(u64::from(msix.count), vectors);
            prop_assert_eq!((msix.table_bar, msix.table_offset), (table & 7, u64::from(table & !7)));
            prop_assert_eq!((msix.pba_bar, msix.pba_offset), (pba & 7, u64::from(pba & !7)));
        }
    }

    /// R16: with any page size, no area has a guarded byte, and every page without one is in an area.
    #[test]
    fn areas((lens, flags, table, pba) in function(), page in prop::sample::select(PAGES.to_vec())) {
        let Ok(msix) = msix_geometry(flags, table, pba, &lens) else { return Ok(()) };
        for bar in 0..6_u32 {
            let len = lens[bar as usize];
            let areas = msix_carve(Some(&msix), bar, len, page);
            let mut last = 0;
            for area in &areas {
                prop_assert!(area.size > 0 && area.offset >= last);
                prop_assert!(area.offset % page == 0 && area.size % page == 0);
                prop_assert!(area.offset + area.size <= len);
                last = area.offset + area.size;
            }
            let mut start = 0;
            while start + page <= len {
                let free = !guarded(flags, table, pba, bar, start, start + page);
                prop_assert_eq!(mmap_check(&areas, start, page, page).is_ok(), free, "page {:#x}", start);
                start += page;
            }
            // What cannot be mapped is still reached with read and write, but for the guarded bytes themselves.
            for unit in 0..len / UNIT {
                let (from, to) = (unit * UNIT, (unit + 1) * UNIT);
                prop_assert_eq!(msix_touches(&msix, bar, from, UNIT), guarded(flags, table, pba, bar, from, to));
            }
        }
    }

    /// With isolated interrupts the guard is not needed (R15): one area, all whole pages.
    #[test]
    fn isolated(len in (0_u32..30).prop_map(|shift| 1_u64 << shift), page in prop::sample::select(PAGES.to_vec())) {
        let areas = msix_carve(None, 0, len, page);
        if len < page {
            prop_assert!(areas.is_empty());
        } else {
            prop_assert_eq!(areas, vec![Area { offset: 0, size: len }]);
        }
    }

    #[test]
    fn mappings(areas in prop::collection::vec((0_u64..64, 1_u64..16), 0..3), off in 0_u64..80, len in 0_u64..20, odd in 0_u64..16) {
        let page = 4096;
        let areas: Vec<Area> = areas.iter().map(|(o, s)| Area { offset: o * page, size: s * page }).collect();
        let off = off * page + u64::from(odd == 1);
        let len = len * page + u64::from(odd == 2);
        let expected = odd != 1 && odd != 2 && len > 0
            && areas.iter().any(|a| a.offset <= off && off + len <= a.offset + a.size);
        prop_assert_eq!(mmap_check(&areas, off, len, page).is_ok(), expected);
    }
}

/// B2: the seed compared the length with the BAR's and forgot the offset.
#[test]
fn b2_the_offset_counts() {
    let areas = [Area {
        offset: 0,
        size: 0x4000,
    }];
    assert_eq!(mmap_check(&areas, 0, 0x4000, 4096), Ok(()));
    assert_eq!(mmap_check(&areas, 0x1000, 0x4000, 4096), Err(EINVAL));
    assert_eq!(mmap_check(&areas, 0x4000, 0x1000, 4096), Err(EINVAL));
    assert_eq!(mmap_check(&areas, u64::MAX - 4095, 0x1000, 4096), Err(EINVAL));
    assert_eq!(mmap_check(&areas, 0x1000, u64::MAX - 4095, 4096), Err(EINVAL));
}

/// B4: offsets above 4 GiB, and the pending bits, which the seed did not guard; the register's BAR bits are no offset.
#[test]
fn b4_nothing_is_cut_to_32_bits_and_pending_bits_are_guarded() {
    let lens = [0x4000, 0, 1 << 34, 0, 0, 0];
    let msix = msix_geometry(9, 0x2000, 0x3002, &lens).expect("geometry");
    assert_eq!(
        (msix.table_offset, msix.pba_bar, msix.pba_offset),
        (0x2000, 2, 0x3000)
    );
    assert!(msix_touches(&msix, 0, 0x2000, 4));
    assert!(!msix_touches(&msix, 0, (1 << 32) + 0x2000, 4));
    assert!(msix_touches(&msix, 2, 0x3004, 1));
    assert!(!msix_touches(&msix, 2, 0x3008, 1));
    // A range that wraps is refused like one that hits.
    assert!(msix_touches(&msix, 0, u64::MAX, 2));
    assert!(!msix_touches(&msix, 1, 0, 0x1000));
    let areas = msix_carve(Some(&msix), 2, 1 << 34, 4096);
    assert_eq!(areas.len(), 2);
    assert_eq!(mmap_check(&areas, 1 << 33, 1 << 33, 4096), Ok(()));
}
