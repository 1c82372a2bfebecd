//! Permissions of configuration space against an oracle that was written from the PCI specifications' register lists, with
//! their numbers: it shares neither names nor table with the code.

use kmod_policy_tests::*;
use proptest::prelude::*;

/// Where a capability is and what is wanted of it.
#[derive(Debug, Clone, Copy)]
struct Place {
    ext: bool,
    /// First byte.
    at: usize,
    id: u16,
    bytes: usize,
}

/// Standard capabilities: id, Message Control or the like, bytes.
const STD: [(u16, u32, usize); 12] = [
    (0x01, 0xc803, 8),  // power management
    (0x03, 0, 8),       // vital product data
    (0x05, 0x0080, 16), // MSI, 64 bits
    (0x05, 0x0100, 20), // MSI, 32 bits with masks
    (0x07, 0, 8),       // PCI-X
    (0x09, 16, 16),     // vendor-specific
    (0x10, 0x0002, 52), // PCI Express 2
    (0x11, 0x0009, 12), // MSI-X
    (0x13, 0x0306, 8),  // advanced features
    (0x14, 0, 4),       // enhanced allocation
    (0x08, 0, 4),       // HyperTransport: not known
    (0xff, 0, 4),
];

/// Extended ones: id, bytes.
const EXT: [(u16, usize); 11] = [
    (0x01, 44), // errors
    (0x02, 4),  // virtual channels
    (0x03, 12), // serial number
    (0x0b, 24), // vendor-specific
    (0x0e, 8),  // alternative routing ids
    (0x0f, 8),  // address translation services
    (0x10, 64), // single-root I/O virtualization
    (0x15, 4),  // resizable BARs
    (0x1b, 8),  // process address space ids
    (0x23, 24), // designated vendor-specific
    (0x2e, 4),  // data object exchange: not known
];

/// What the specification and the host's safety leave of a dword: bits that are a copy, bits that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rights {
    virt: u32,
    write: u32,
}

/// Bits that the module acts on instead of writing: decoding and bus master, power state, read request size, resets.
fn acted(place: Option<&Place>, offset: usize) -> u32 {
    match place.map(|p| (p.ext, p.id, offset - p.at)) {
        None if offset == 0x04 => 0x7,
        Some((false, 0x01, 4)) => 0x3,
        Some((false, 0x10, 8)) => 0xf000,
        Some((false, 0x13, 4)) => 0x1,
        _ => 0,
    }
}

const PASS: Rights = Rights { virt: 0, write: !0 };
const LOCK: Rights = Rights { virt: 0, write: 0 };
const HIDE: Rights = Rights { virt: !0, write: 0 };

fn header(offset: usize, host: &CfgHost, image: &Image) -> Rights {
    let bar = |len: u64, keep: u32, high: bool| Rights {
        virt: !0,
        write: if len == 0 {
            0
        } else {
            (!(len - 1) >> if high { 32 } else { 0 }) as u32 & keep
        },
    };
    match offset {
        // Palette snoop, parity, SERR, fast back-to-back and INTx disable stay the host's.
        0x04 => Rights {
            virt: 0,
            write: !(1 << 5 | 1 << 6 | 1 << 8 | 1 << 9 | 1 << 10),
        },
        0x10..0x28 => {
            let index = (offset - 0x10) / 4;
            let low = image.get(offset, 4);
            let below = index
                .checked_sub(1)
                .map_or((0, 0), |i| (host.bar_len[i], image.get(0x10 + 4 * i, 4)));
            match host.bar_len[index] {
                0 if below.0 != 0 && below.1 & 7 == 4 => bar(below.0, !0, true),
                len if low & 1 == 1 => bar(len, !3, false),
                len => bar(len, !15, false),
            }
        }
        0x30 if host.rom_len == 0 => Rights { virt: !0, write: 0 },
        0x30 => Rights {
            virt: !0,
            write: !(host.rom_len - 1) as u32 & !0x7ff | 1,
        },
        0x34 => Rights {
            virt: 0xff,
            write: !0xff,
        },
        0x3c => Rights {
            virt: 0xff,
            write: !0,
        },
        _ => PASS,
    }
}

fn standard(id: u16, relative: usize, snoop: bool) -> Rights {
    let low = |rights: Rights| match (relative, rights) {
        (0, HIDE) => HIDE,
        // Id and pointer.
        (0, _) => Rights {
            virt: rights.virt | 0xffff,
            write: rights.write & !0xffff,
        },
        _ => rights,
    };
    low(match (id, relative) {
        // PME enable and status read as zero.
        (0x01, 4) => Rights {
            virt: 1 << 8 | 1 << 15,
            write: !(1 << 8 | 1 << 15),
        },
        (0x07, 0) => Rights {
            virt: 0,
            write: !(1 << 16),
        },
        // Four error reports, payload size, phantom functions, auxiliary power; no-snoop by the IOMMU.
        (0x10, 0x08) => Rights {
            virt: 0,
            write: !(0x000f | 0x00e0 | 0x0200 | 0x0400 | if snoop { 0 } else { 0x0800 }),
        },
        // Link, slot, root and link 2 control.
        (0x10, 0x10 | 0x18 | 0x1c | 0x30) => Rights {
            virt: 0,
            write: !0xffff,
        },
        // Completion timeout and ID-based ordering are the device's.
        (0x10, 0x28) => Rights {
            virt: 0,
            write: !0xffff | 0x031f,
        },
        (0x01 | 0x07 | 0x09 | 0x10 | 0x13, _) => PASS,
        (0x05 | 0x11, _) => LOCK,
        _ => HIDE,
    })
}

fn extended(id: u16, relative: usize) -> Rights {
    match (id, relative) {
        (0x03 | 0x0b | 0x01 | 0x02 | 0x0e | 0x15 | 0x23, 0) => HIDE, // ids and pointers are copies
        (0x03 | 0x0b, _) => PASS,
        (0x01 | 0x02 | 0x0e | 0x15 | 0x23, _) => LOCK,
        _ => HIDE,
    }
}

#[derive(Debug)]
struct Function {
    host: CfgHost,
    image: Image,
    places: Vec<Place>,
}

impl Function {
    fn owner(&self, offset: usize) -> Option<&Place> {
        // The last dword of a capability may be half of one.
        self.places
            .iter()
            .find(|p| (p.at..p.at + p.bytes).contains(&(offset & !3)))
    }

    fn rights(&self, offset: usize) -> Rights {
        let offset = offset & !3;
        if offset < 0x40 {
            return header(offset, &self.host, &self.image);
        }
        match self.owner(offset) {
            None => LOCK,
            Some(p) if p.ext => extended(p.id, offset - p.at),
            Some(p) => standard(p.id, offset - p.at, self.host.snoop_enforced),
        }
    }

    fn is_hidden(place: &Place) -> bool {
        if place.ext {
            extended(place.id, 4) == HIDE
        } else {
            standard(place.id, 4, false) == HIDE
        }
    }

    fn visible(&self, ext: bool) -> Vec<(usize, u16)> {
        let shown = self.places.iter().filter(|p| p.ext == ext && !Self::is_hidden(p));
        shown.map(|p| (p.at, p.id)).collect()
    }
}

/// Writes the chain of one list into an image.
fn link(image: &mut Image, places: &[Place]) {
    for (i, place) in places.iter().enumerate() {
        let next = places.get(i + 1).map_or(0, |p| p.at as u32);
        if place.ext {
            image.set(place.at, 4, next << 20 | 0x1_0000 | u32::from(place.id));
        } else {
            image.set(place.at, 2, next << 8 | u32::from(place.id));
        }
    }
}

fn function() -> impl Strategy<Value = Function> {
    let std = prop::sample::subsequence((0..STD.len()).collect::<Vec<_>>(), 0..6);
    let ext = prop::sample::subsequence((0..EXT.len()).collect::<Vec<_>>(), 0..8).prop_shuffle();
    let bars = prop::array::uniform6(prop_oneof![Just(0_u32), 4_u32..36]);
    let noise = prop::collection::vec(any::<u8>(), 4096);
    (
        std,
        ext,
        bars,
        noise,
        any::<bool>(),
        any::<bool>(),
        0_u64..3,
        prop::collection::vec(0_usize..3, 20),
    )
        .prop_map(|(std, ext, bars, noise, snoop, large, rom, gaps)| {
            // Noise without a byte of ones: a dword of ones is a device that is gone.
            let mut image = Image::of(noise.into_iter().map(|byte| byte & 0x7f).collect());
            image.set(6, 1, 0x10);
            let mut places = Vec::new();
            let mut gap = gaps.into_iter();
            let mut at = 0x40;
            for (id, word, bytes) in std.into_iter().map(|i| STD[i]) {
                if at + bytes > 0x100 {
                    break;
                }
                image.set(at + 2, 2, word);
                places.push(Place {
                    ext: false,
                    at,
                    id,
                    bytes,
                });
                at = (at + bytes).next_multiple_of(4) + 4 * gap.next().unwrap_or(0);
            }
            image.set(0x34, 1, places.first().map_or(0, |p: &Place| p.at as u32));
            link(&mut image, &places);
            let mut more = Vec::new();
            at = 0x100;
            for (id, bytes) in ext.into_iter().map(|i| EXT[i]) {
                image.set(at + 4, 4, (bytes as u32) << 20 | 0x1234);
                more.push(Place {
                    ext: true,
                    at,
                    id,
                    bytes,
                });
                at += bytes + 4 * gap.next().unwrap_or(0);
            }
            if more.is_empty() {
                image.set(0x100, 4, 0);
                // What a device without a list has there belongs to nobody.
            }
            link(&mut image, &more);
            places.extend(more);
            let host = CfgHost {
                rom_len: [0, 0x800, 0x10000][rom as usize],
                size: 4096,
                snoop_enforced: snoop,
                ..bars_of(&mut image, bars, large)
            };
            Function { host, image, places }
        })
}

/// Lengths and registers of BARs that fit each other: I/O, 32 bits and 64 bits.
fn bars_of(image: &mut Image, shifts: [u32; 6], large: bool) -> CfgHost {
    let mut host = CfgHost::default();
    let mut index = 0;
    while index < 6 {
        let (offset, shift) = (0x10 + 4 * index, shifts[index]);
        let wide = large && index < 5 && shift != 0;
        let io = !wide && shift != 0 && shift < 9 && index % 2 == 1;
        let shift = if wide { shift } else { shift.min(31) };
        host.bar_len[index] = if shift == 0 { 0 } else { 1 << shift };
        image.set(
            offset,
            4,
            match (shift, io, wide) {
                (0, ..) => 0,
                (_, true, _) => 0xc001,
                (_, _, true) => 0x8000_0004,
                _ => 0x8000_0000,
            },
        );
        if wide {
            image.set(offset + 4, 4, 0x40);
        }
        index += if wide { 2 } else { 1 };
    }
    host
}

/// Three writes of a process at any place, and the contents of the hardware.
fn accesses() -> impl Strategy<Value = Vec<(u32, u32, u32)>> {
    let place = prop_oneof![0_u32..0x100, 0x100_u32..0x200, 0_u32..4096];
    prop::collection::vec((place, 0_u32..3, prop_oneof![any::<u32>(), Just(!0)]), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    /// Every access of any width does what the specification's list allows and nothing else.
    #[test]
    fn accesses_do_what_the_list_allows(mut function in function(), accesses in accesses()) {
        let mut cfg = Cfg::new(&function.host, &mut function.image).expect("a policy");
        prop_assert_eq!(function.image.astray, None);
        // Copies, as this side believes them to be.
        let mut copies: Vec<u8> = (0..4096).map(|at| cfg.read(at, 1, 0) as u8).collect();
        let mut hardware = Image::of(function.image.bytes.clone());
        for (place, shift, value) in accesses {
            let width = 1_u32 << shift;
            let offset = place & !(width - 1);
            let lanes = u32::MAX >> (32 - 8 * width);
            let rights = function.rights(offset as usize);
            let bits = 8 * (offset % 4);
            let (virt, write) = (rights.virt >> bits & lanes, rights.write >> bits & lanes);
            prop_assert_eq!(cfg.chunk(offset, u64::from(width)), width);
            prop_assert_eq!(cfg.needs_hw(offset, width), virt != lanes);

            let hw = hardware.get(offset as usize, width as usize);
            let copy = u32::from_le_bytes([0, 1, 2, 3].map(|i| copies.get(offset as usize + i).copied().unwrap_or(0))) & lanes;
            let seen = copy & virt | hw & !virt;
            prop_assert_eq!(cfg.read(offset, width, hw), seen, "read {} at {:#x}", width, offset);

            let out = cfg.write(offset, width, value);
            let acted = acted(function.owner(offset as usize), offset as usize & !3) >> bits & lanes;
            let wanted = write & !virt & !acted;
            prop_assert_eq!(out.mask, wanted, "write {} at {:#x}: {:x?}", width, offset, out);
            prop_assert!(acted != 0 || out.actions == 0);
            // What is not written is written back, but for bits that a 1 would clear: power management's status.
            prop_assert_eq!(out.keep & out.mask, 0);
            prop_assert_eq!((out.keep | out.mask) & !lanes, 0);
            let dropped = lanes & !(out.keep | out.mask);
            prop_assert!(dropped == 0 || dropped << bits == 1 << 15);
            let new_hw = hw & out.keep | value & out.mask;
            prop_assert_eq!((new_hw ^ hw) & !wanted & !dropped, 0);
            hardware.set(offset as usize, width as usize, new_hw);
            let new_copy = copy & !(virt & write) | value & virt & write;
            let bytes = new_copy.to_le_bytes();
            copies[offset as usize..(offset + width) as usize].copy_from_slice(&bytes[..width as usize]);
            let hw = hardware.get(offset as usize, width as usize);
            prop_assert_eq!(cfg.read(offset, width, hw), new_copy & virt | hw & !virt);
        }
    }

    /// A process that walks the lists meets exactly the capabilities that are not hidden, in their order.
    #[test]
    fn lists_have_only_what_is_shown(mut function in function()) {
        let cfg = Cfg::new(&function.host, &mut function.image).expect("a policy");
        let read = |at: usize, width: usize| cfg.read(at as u32, width as u32, function.image.get(at, width));
        let mut found = Vec::new();
        let mut at = read(0x34, 1) as usize;
        while at != 0 {
            found.push((at, read(at, 1) as u16));
            at = read(at + 1, 1) as usize;
        }
        prop_assert_eq!(found, function.visible(false));
        let mut found = Vec::new();
        at = 0x100;
        while at != 0 {
            let value = read(at, 4);
            // The list cannot begin elsewhere: a hidden first one has become the null capability.
            if value & 0xffff != 0 {
                found.push((at, value as u16));
            }
            at = (value >> 20) as usize;
        }
        prop_assert_eq!(found, function.visible(true));
    }

    /// The dump has every bit once, with the masks that reads and writes obey.
    #[test]
    fn the_dump_is_complete(mut function in function()) {
        let cfg = Cfg::new(&function.host, &mut function.image).expect("a policy");
        let mut covered = vec![0_u32; 1024];
        let mut last = 0;
        for row in cfg.rows() {
            prop_assert!(row.offset >= last & !3, "rows in order");
            last = row.offset;
            let shift = 8 * (row.offset % 4) as u32;
            for dword in row.offset / 4..(row.offset + row.size).div_ceil(4) {
                let bits = row.bits << shift;
                prop_assert_eq!(covered[dword as usize] & bits, 0, "{:x?}", row);
                covered[dword as usize] |= bits;
                let rights = function.rights(dword as usize * 4);
                prop_assert_eq!(row.virt << shift, rights.virt & bits, "{:x?}", row);
                prop_assert_eq!(row.write << shift, rights.write & bits, "{:x?}", row);
            }
            prop_assert!(row.why <= 10 && row.action <= 4);
            let protected = row.why != 0;
            let free = row.virt == 0 && row.write == row.bits && row.action == 0;
            // No-snoop passes where the IOMMU makes it harmless; it keeps its reason.
            prop_assert!(protected != free || row.bits == 0x800, "{:x?}", row);
        }
        prop_assert!(covered.iter().all(|bits| *bits == !0));
    }
}

/// A function with BARs 0, 2/3 (64 bits), 5, a ROM, and the given standard capability at 0x40.
fn plain(id: u32, word: u32) -> (CfgHost, Image) {
    let mut image = Image::new(256);
    image.set(0, 4, 0x10c9_8086);
    image.set(6, 2, 0x0010);
    image.set(0x0c, 4, 0x0000_4010);
    image.set(0x10, 4, 0xfe00_0000);
    image.set(0x18, 4, 0x0000_000c);
    image.set(0x1c, 4, 0x0000_0038);
    image.set(0x24, 4, 0xfe80_0000);
    image.set(0x2c, 4, 0x1234_8086);
    image.set(0x30, 4, 0xfe90_0000);
    image.set(0x34, 1, 0x40);
    image.set(0x40, 4, word << 16 | id);
    let host = CfgHost {
        bar_len: [0x2_0000, 0, 1 << 33, 0, 0, 0x4000],
        rom_len: 0x1_0000,
        size: 256,
        snoop_enforced: true,
    };
    (host, image)
}

/// B1: the seed's table was a dword off: BAR 5 could not be probed, the subsystem id was taken for the ROM's BAR, the ROM's BAR
/// was open, and the cache line size was taken for a BAR.
#[test]
fn b1_bar5_rom_and_subsystem_are_where_they_are() {
    let (host, mut image) = plain(0x09, 4);
    let mut cfg = Cfg::new(&host, &mut image).expect("a policy");
    assert_eq!(cfg.write(0x24, 4, !0).mask, 0, "BAR 5 reaches the hardware");
    assert_eq!(cfg.read(0x24, 4, 0), 0xffff_c000);
    cfg.write(0x30, 4, !0);
    assert_eq!(cfg.read(0x30, 4, 0), 0xffff_0001);
    assert_eq!(cfg.raw().virt[0x2c / 4], 0, "the subsystem id is the device's");
    assert_eq!(
        cfg.write(0x0c, 4, 0x10).mask,
        !0,
        "the cache line size is the device's"
    );
    // 64 bits: the size is in the upper half, and the address survives the probe.
    cfg.write(0x18, 4, !0);
    cfg.write(0x1c, 4, !0);
    assert_eq!(
        (cfg.read(0x18, 4, 0), cfg.read(0x1c, 4, 0)),
        (0x0000_000c, 0xffff_fffe)
    );
    cfg.write(0x1c, 4, 0x38);
    assert_eq!(cfg.read(0x1c, 4, 0), 0x38);
    // A BAR that is absent stays absent.
    cfg.write(0x14, 4, !0);
    assert_eq!(cfg.read(0x14, 4, 0), 0);
}

/// B36: mask bits of an MSI capability with 32 address bits are neither a copy nor writable, whatever the layout.
#[test]
fn b36_msi_layouts() {
    for (control, bytes) in [(0x0000, 12), (0x0080, 16), (0x0100, 20), (0x0180, 24)] {
        let (host, mut image) = plain(0x05, control);
        let mut cfg = Cfg::new(&host, &mut image).expect("a policy");
        for offset in (0x44..0x40 + bytes).step_by(4) {
            assert_eq!(
                (cfg.raw().virt[offset as usize / 4], cfg.write(offset, 4, !0).mask),
                (0, 0)
            );
        }
        assert_eq!(
            cfg.rows()
                .iter()
                .filter(|row| row.cap == 5 && row.why == 5)
                .map(|row| row.size)
                .sum::<u16>(),
            bytes as u16
        );
    }
}

/// B37: a reset through configuration space is an action of the module, never a write.
#[test]
fn b37_resets_are_the_modules() {
    let (host, mut image) = plain(0x10, 2);
    let mut cfg = Cfg::new(&host, &mut image).expect("a policy");
    let out = cfg.write(0x48, 2, 0x8000);
    assert_eq!((out.mask & 0x8000, out.actions & 1 << 4), (0, 1 << 4));
    // The bit as 0 asks for nothing; the read request size in the same word is looked at.
    let out = cfg.write(0x48, 2, 0x2010);
    assert_eq!((out.mask & 0xf000, out.actions), (0, 1 << 3));
    let (host, mut image) = plain(0x13, 0x0306);
    let mut cfg = Cfg::new(&host, &mut image).expect("a policy");
    assert_eq!(cfg.write(0x44, 1, 1).actions, 1 << 4);
    assert_eq!(cfg.write(0x44, 1, 0).actions, 0);
}

/// COMMAND and the power state are the module's to write; what else is in the word passes.
#[test]
fn actions_are_not_writes() {
    let (host, mut image) = plain(0x01, 0xc803);
    let mut cfg = Cfg::new(&host, &mut image).expect("a policy");
    let out = cfg.write(0x04, 2, 0x0417);
    assert_eq!((out.mask & 0x0407, out.actions), (0, 1 << 1));
    assert_eq!(out.mask & 0x0010, 0x0010);
    let out = cfg.write(0x44, 2, 0x8103);
    assert_eq!(
        (out.mask & 0x8103, out.actions, out.keep & 0x8000),
        (0, 1 << 2, 0)
    );
    // One byte of it asks for what is in that byte only.
    assert_eq!(cfg.write(0x45, 1, 0xff).actions, 0);
    assert_eq!(cfg.write(0x05, 1, 0xff).actions, 0);
}

/// Chunks never cross a dword and end with configuration space.
#[test]
fn chunks() {
    let (host, mut image) = plain(0x09, 4);
    let cfg = Cfg::new(&host, &mut image).expect("a policy");
    for offset in 0..260 {
        for count in 0..9_u64 {
            let width = cfg.chunk(offset, count);
            if offset >= 256 || count == 0 {
                assert_eq!(width, 0);
            } else {
                assert!([1, 2, 4].contains(&width) && offset % width == 0 && u64::from(width) <= count);
                assert!(width == 4 || offset % (2 * width) != 0 || count < u64::from(2 * width));
            }
        }
    }
    assert_eq!(cfg.chunk(255, u64::MAX), 1);
    assert_eq!(cfg.chunk(u32::MAX, 4), 0);
}
