use super::*;
use proptest::prelude::*;

fn answer(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), caps in 0u8..2) {
        let mut bytes = bytes;
        if let Some(flags) = bytes.get_mut(4) {
            *flags |= caps * 0xf;
        }
        decode_any(&bytes);
    }
}

#[test]
fn what_a_vtd_machine_answers_is_decoded() {
    // argsz, flags, page sizes, cap_offset, pad; then IOVA ranges at 24 and DMA_AVAIL at 72.
    let mut words = vec![84, 3, 0x4020_1000, 0, 24, 0];
    words.extend([
        0x0001_0001,
        72,
        2,
        0,
        0,
        0,
        0xfedf_ffff,
        0,
        0xfef0_0000,
        0,
        u32::MAX,
        0x7f,
    ]);
    words.extend([0x0001_0003, 0, 65535]);
    let info = IommuInfo::parse(&answer(&words)).unwrap();
    assert_eq!((info.page_sizes, info.entries_left), (0x4020_1000, Some(65535)));
    let second = Window {
        first: 0xfef0_0000,
        last: 0x7f_ffff_ffff,
    };
    assert_eq!(
        info.windows.unwrap(),
        [
            Window {
                first: 0,
                last: 0xfedf_ffff
            },
            second
        ]
    );
}

#[test]
fn sparse_areas_are_decoded_and_checked() {
    let region = |end: u32| {
        let mut words = vec![80, 0xf, 0, 32, 0x4000, 0, 0, 1];
        words.extend([
            0x0001_0003,
            40,
            0x0001_0001,
            0,
            2,
            0,
            0,
            0,
            0x1000,
            0,
            0x3000,
            0,
            end - 0x3000,
            0,
        ]);
        RegionInfo::parse(&answer(&words))
    };
    let info = region(0x4000).unwrap();
    assert_eq!(
        (info.size, info.offset, info.msix_mappable),
        (0x4000, 1 << 32, true)
    );
    let areas = [
        Area {
            offset: 0,
            size: 0x1000,
        },
        Area {
            offset: 0x3000,
            size: 0x1000,
        },
    ];
    assert_eq!(info.sparse.unwrap(), areas);
    assert!(region(0x4001).is_err());
}
