//! Range arithmetic against arithmetic in 128 bits, where nothing wraps.

use kmod_policy_tests::*;
use proptest::prelude::*;

const EINVAL: i32 = 22;
const EOVERFLOW: i32 = 75;
const ERANGE: i32 = 34;
const TOP: u128 = 1 << 64;

/// Numbers near the places where arithmetic goes wrong, and any.
fn edge() -> impl Strategy<Value = u64> {
    let near = (0_u32..=64, -2_i64..=2)
        .prop_map(|(bit, off)| (1_u128 << bit).wrapping_add_signed(off.into()) as u64);
    prop_oneof![near, any::<u64>(), 0_u64..64]
}

fn page_shift() -> impl Strategy<Value = u32> {
    prop_oneof![Just(12_u32), Just(14), Just(16)]
}

/// Mostly whole pages, so that checks behind the first one are reached.
fn paged() -> impl Strategy<Value = (u64, u64, u64, u64)> {
    (edge(), edge(), edge(), page_shift(), 0_u32..16).prop_map(|(a, b, c, shift, odd)| {
        let page = 1_u64 << shift;
        let cut = |value: u64, bit: u32| {
            if odd >> bit & 1 == 1 && odd > 7 {
                value
            } else {
                value & !(page - 1)
            }
        };
        (cut(a, 0), cut(b, 1), cut(c, 2), page)
    })
}

fn span() -> impl Strategy<Value = Span> {
    (edge(), edge()).prop_map(|(a, b)| Span {
        first: a.min(b),
        last: a.max(b),
    })
}

/// `blp_dma_check` written anew, in 128 bits.
fn dma(span: Span, reserved: &[Span], vaddr: u64, iova: u64, size: u64, page: u64) -> Result<Span> {
    if [vaddr, iova, size].iter().any(|value| value % page != 0) || size == 0 {
        return Err(EINVAL);
    }
    if [vaddr, iova]
        .iter()
        .any(|start| u128::from(*start) + u128::from(size) > TOP)
    {
        return Err(EOVERFLOW);
    }
    let last = (u128::from(iova) + u128::from(size) - 1) as u64;
    let inside = span.first <= iova && last <= span.last;
    if !inside || reserved.iter().any(|r| r.first <= last && iova <= r.last) {
        return Err(ERANGE);
    }
    Ok(Span { first: iova, last })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn spans(start in edge(), size in edge()) {
        let end = u128::from(start) + u128::from(size);
        let expected = if size == 0 {
            Err(EINVAL)
        } else if end > TOP {
            Err(EOVERFLOW)
        } else {
            Ok(Span { first: start, last: (end - 1) as u64 })
        };
        prop_assert_eq!(span_of(start, size), expected);
    }

    #[test]
    fn overlap_and_cover(a in span(), b in span()) {
        prop_assert_eq!(spans_overlap(a, b), a.first.max(b.first) <= a.last.min(b.last));
        prop_assert_eq!(span_covers(a, b), b.first >= a.first && b.last <= a.last);
        prop_assert_eq!(unmap_check(a, b), if b.first >= a.first && b.last <= a.last { Ok(()) } else { Err(EINVAL) });
    }

    #[test]
    fn fits(start in edge(), size in edge(), limit in edge()) {
        let expected = size != 0 && u128::from(start) + u128::from(size) <= u128::from(limit);
        prop_assert_eq!(range_fits(start, size, limit), expected);
    }

    #[test]
    fn alignment(value in edge(), shift in 0_u32..63) {
        let align = 1_u128 << shift;
        let down = u128::from(value) / align * align;
        let up = u128::from(value).div_ceil(align) * align;
        prop_assert_eq!(u128::from(align_down(value, align as u64)), down);
        let expected = u64::try_from(up).map_err(|_| EOVERFLOW);
        prop_assert_eq!(align_up(value, align as u64), expected);
    }

    #[test]
    fn dma_requests((vaddr, iova, size, page) in paged(), aperture in span(), reserved in prop::collection::vec(span(), 0..4)) {
        let expected = dma(aperture, &reserved, vaddr, iova, size, page);
        prop_assert_eq!(dma_check(aperture, &reserved, vaddr, iova, size, page), expected);
    }

    #[test]
    fn access_widths(offset in edge(), count in edge(), shift in 0_u32..4) {
        let max = 1_u32 << shift;
        // The largest power of two that satisfies all three, by search.
        let expected = (0..=shift).rev().map(|s| 1_u32 << s)
            .find(|w| u64::from(*w) <= count && offset % u64::from(*w) == 0);
        prop_assert_eq!(access_width(offset, count, max), expected.unwrap_or(0));
    }

    /// Runs: the pieces that are mapped are the pages in order, and no two of them could have been one.
    #[test]
    fn runs(steps in prop::collection::vec((any::<bool>(), 0_u64..8), 1..60), iova in 0_u64..1 << 40) {
        let page = 4096;
        let mut phys = 1 << 20;
        let pages: Vec<u64> = steps.iter().map(|(next, jump)| {
            phys = if *next { phys + page } else { (phys + 2 * page + jump * page) & ((1 << 40) - 1) };
            phys
        }).collect();
        let mut run = Run { iova, phys: 0, size: 0 };
        let mut pieces: Vec<Run> = Vec::new();
        for at in &pages {
            if !run_add(&mut run, *at, page) {
                pieces.push(run);
                run_next(&mut run);
                prop_assert!(run_add(&mut run, *at, page));
            }
        }
        pieces.push(run);
        let mut expected = iova;
        let mut flat = Vec::new();
        for piece in &pieces {
            prop_assert_eq!(piece.iova, expected);
            expected += piece.size;
            flat.extend((0..piece.size / page).map(|i| piece.phys + i * page));
        }
        prop_assert_eq!(flat, pages);
        for pair in pieces.windows(2) {
            prop_assert_ne!(pair[0].phys + pair[0].size, pair[1].phys);
        }
    }
}

/// B24: 2^44 + 4096 bytes are 2^32 + 1 pages, which 32 bits took for one. All boundary pairs, too.
#[test]
fn b24_sizes_do_not_truncate_and_ends_do_not_wrap() {
    let aperture = Span {
        first: 0,
        last: (1 << 48) - 1,
    };
    let size = (1 << 44) + 4096;
    let span = dma_check(aperture, &[], 0x1000, 0x1000, size, 4096).expect("fits");
    assert_eq!(span.last - span.first + 1, size);
    let narrow = Span {
        first: 0,
        last: (1 << 44) - 1,
    };
    assert_eq!(dma_check(narrow, &[], 0x1000, 0x1000, size, 4096), Err(ERANGE));
    // The ends wrap, whichever it is.
    let all = Span {
        first: 0,
        last: u64::MAX,
    };
    assert_eq!(
        dma_check(all, &[], 0_u64.wrapping_sub(4096), 0x1000, 8192, 4096),
        Err(EOVERFLOW)
    );
    assert_eq!(
        dma_check(all, &[], 0x1000, 0_u64.wrapping_sub(4096), 8192, 4096),
        Err(EOVERFLOW)
    );
    assert_eq!(dma_check(all, &[], 0x1000, 0x1800, 4096, 4096), Err(EINVAL));
    // The last page of all is a page like any other.
    assert!(dma_check(all, &[], 0x1000, 0_u64.wrapping_sub(4096), 4096, 4096).is_ok());
}

/// The window that the processor takes interrupts at is never mapped, however it is approached.
#[test]
fn the_msi_window_is_reserved() {
    let all = Span {
        first: 0,
        last: (1 << 39) - 1,
    };
    let msi = [Span {
        first: 0xfee0_0000,
        last: 0xfeef_ffff,
    }];
    let refused = |iova, size| dma_check(all, &msi, 0x1000, iova, size, 4096) == Err(ERANGE);
    assert!(refused(0xfee0_0000, 4096));
    assert!(refused(0xfedf_f000, 8192));
    assert!(refused(0xfeef_f000, 4096));
    assert!(refused(0, 1 << 33));
    assert!(!refused(0xfedf_f000, 4096));
    assert!(!refused(0xfef0_0000, 4096));
}
