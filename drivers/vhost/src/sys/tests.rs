//! The memory of a peer that is a file of the test's.

use super::bus::Guard;
use super::*;
use nix::sys::memfd::{MFdFlags, memfd_create};
use proptest::prelude::*;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

fn file(len: u64) -> File {
    let file = File::from(memfd_create(c"test", MFdFlags::MFD_CLOEXEC).unwrap());
    file.set_len(len).unwrap();
    file
}

/// Two regions that touch, and one apart.
fn memory(file: &File) -> Arc<GuestMemory> {
    let region = |offset, guest| Region::new(file, offset, 4096, guest, 0x7000_0000 + guest).unwrap();
    let memory = GuestMemory::default().with(region(0, 0x1000)).unwrap();
    let memory = memory.with(region(8192, 0x2000)).unwrap();
    assert!(memory.with(region(4096, 0x2fff)).is_none(), "it overlaps");
    Arc::new(memory.with(region(4096, 0x9000)).unwrap())
}

#[test]
fn only_what_the_file_has_is_mapped() {
    let file = file(8192);
    assert!(Region::new(&file, 4096, 4097, 0, 0).is_err());
    assert!(Region::new(&file, u64::MAX, 4096, 0, 0).is_err());
    assert!(Region::new(&file, 0, 0, 0, 0).is_err());
    assert!(Region::new(&file, 0, 4096, u64::MAX - 5, 0).is_err());
    // Not at a page: regions of a front end may start anywhere.
    file.write_at(&[7; 8], 100).unwrap();
    let region = Region::new(&file, 100, 200, 0, 0).unwrap();
    let memory = Arc::new(GuestMemory::default().with(region).unwrap());
    let (mut view, mut bytes) = (View::new(&memory), [0; 8]);
    assert!(view.copy_out(0, &mut bytes) && bytes == [7; 8]);
    assert!(!view.copy_out(193, &mut bytes));
}

#[test]
fn memory_that_can_be_sealed_stays_as_long_as_it_is() {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let file = File::from(memfd_create(c"test", flags).unwrap());
    file.set_len(8192).unwrap();
    let _region = Region::new(&file, 0, 8192, 0, 0).unwrap();
    file.set_len(4096).expect_err("sealed");
    file.set_len(12288).unwrap();
}

#[test]
fn memory_that_is_taken_away_reads_as_zeros_and_ends_nothing() {
    let file = file(16384);
    file.write_at(&[7; 16384], 0).unwrap();
    let region = Region::new(&file, 0, 16384, 0, 0).unwrap();
    let memory = Arc::new(GuestMemory::default().with(region).unwrap());
    let (mut view, mut bytes) = (View::new(&memory), [0; 16]);
    let area = Area::new(&memory, 12288, 16, 16).unwrap();
    let copy = |view: &mut View, at, bytes: &mut [u8; 16]| assert!(view.copy_out(at, bytes));
    copy(&mut view, 8184, &mut bytes);
    assert_eq!((bytes, area.u16(0).load(Ordering::Relaxed)), ([7; 16], 0x0707));
    file.set_len(4096).expect("not sealed");
    copy(&mut view, 4090, &mut bytes);
    assert_eq!(bytes, [7, 7, 7, 7, 7, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert!(view.copy_in(8184, &[1; 16]));
    copy(&mut view, 8184, &mut bytes);
    assert_eq!(bytes, [1; 16], "private pages from now on");
    assert_eq!(area.u16(0).load(Ordering::Relaxed), 0);
    let lost = |region: &Arc<Region>| region.mapping.guard.as_ref().map(Guard::lost);
    assert_eq!(memory.regions.iter().find_map(lost), Some(3));
}

#[test]
fn areas_are_whole_and_aligned() {
    let file = file(12288);
    let memory = memory(&file);
    let user = 0x7000_0000;
    assert!(Area::new(&memory, user + 0x1ff0, 32, 16).is_none(), "two regions");
    assert!(Area::new(&memory, user + 0x1002, 32, 4).is_none());
    assert!(Area::new(&memory, 0x1000, 32, 4).is_none());
    let area = Area::new(&memory, user + 0x9010, 16, 16).unwrap();
    assert_eq!(area.guest, 0x9010);
    area.u32(4).store(0x0102_0304, Ordering::Relaxed);
    let mut bytes = [0; 4];
    file.read_at(&mut bytes, 4096 + 0x14).unwrap();
    assert_eq!(bytes, [4, 3, 2, 1]);
}

#[test]
fn pages_are_marked() {
    let file = file(4096);
    let log = Log::new(&file, 0, 2).unwrap();
    log.mark(0x0fff, 2);
    log.mark(0xffff, 1);
    log.mark(0xffff, 0x10000);
    log.mark(u64::MAX - 1, 5);
    let mut bytes = [0; 3];
    file.read_at(&mut bytes, 0).unwrap();
    assert_eq!(bytes, [0b11, 0b1000_0000, 0]);
}

proptest! {
    #[test]
    fn what_is_copied_is_what_is_there(at in 0u64..0x4000, len in 0usize..5000) {
        let file = file(12288);
        let content: Vec<u8> = (0..12288u32).map(|n| (n * 7 + n / 256) as u8).collect();
        file.write_at(&content, 0).unwrap();
        let memory = memory(&file);
        let flat = [&content[..4096], &content[8192..]].concat();
        let (mut view, mut bytes) = (View::new(&memory), vec![0; len]);
        let inside = len == 0 || (at >= 0x1000 && at + len as u64 <= 0x3000);
        prop_assert_eq!(view.expect::<false>(at, len as u32), inside);
        prop_assert_eq!(view.copy_out(at, &mut bytes), inside);
        if inside && len > 0 {
            let from = at as usize - 0x1000;
            prop_assert_eq!(&bytes[..], &flat[from..from + len]);
            bytes.reverse();
            prop_assert!(view.copy_in(at, &bytes));
            let mut again = vec![0; len];
            prop_assert!(view.copy_out(at, &mut again));
            prop_assert_eq!(again, bytes);
        }
    }
}
