//! Memory sources, what they leave behind (nothing), and what a plan says before anything is touched.
//!
//! Tests that need huge pages print `SKIP` and the reason where none are free. Run as root they reserve a few
//! themselves and put the number back.
#![allow(unsafe_code, reason = "address spaces that refuse")]

use barline::mem::{
    Access, DmaDomain, DmaError, DmaLimits, Iova, LocalDomain, Mapping, Memory, MemoryError, Numa, PageSize,
    Plan, PlanError, Source, Window, free_huge_pages,
};
use barline::pool::Pool;
use std::fs;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::Arc;

const RESERVED: &str = "/proc/sys/vm/nr_hugepages";
const HUGE: usize = 2 << 20;

/// More huge pages while it lives, where we may reserve some: the number there was, and the number there is.
struct Reservation(Option<(usize, usize)>);

impl Reservation {
    fn number() -> Option<usize> {
        fs::read_to_string(RESERVED).ok()?.trim().parse().ok()
    }

    fn more(pages: usize) -> Self {
        let Some(old) = Self::number() else {
            return Self(None);
        };
        let wrote = fs::write(RESERVED, (old + pages).to_string()).is_ok();
        Self(wrote.then_some((old, old + pages)))
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // Only what is still ours to undo: somebody else may have changed the number meanwhile.
        if let Some((old, new)) = self.0
            && Self::number() == Some(new)
        {
            let _ = fs::write(RESERVED, old.to_string());
        }
    }
}

/// Runs `check` with `pages` free huge pages of 2 MiB. The machine is shared: other processes may take and free
/// huge pages meanwhile, so a check that saw the count move (`None`) is repeated.
fn with_huge_pages(pages: usize, mut check: impl FnMut() -> Option<()>) {
    let _more = (free_huge_pages(PageSize::Huge2M).free < pages).then(|| Reservation::more(pages));
    for _ in 0..50 {
        let free = free_huge_pages(PageSize::Huge2M).free;
        if free < pages {
            eprintln!("SKIP: {pages} free huge pages of 2 MiB are needed, {free} are free");
            return;
        }
        if check().is_some() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("the number of free huge pages is never what it was before: they leak");
}

/// The line with the flags of the mapping that an address lies in.
fn vm_flags(at: NonNull<u8>) -> String {
    let at = at.as_ptr() as usize;
    let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
    let mut inside = false;
    for line in smaps.lines() {
        let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
        if let Some((first, last)) = range
            && let (Ok(first), Ok(last)) = (usize::from_str_radix(first, 16), usize::from_str_radix(last, 16))
        {
            inside = (first..last).contains(&at);
        }
        if inside && line.starts_with("VmFlags:") {
            return line.to_owned();
        }
    }
    panic!("{at:#x} is not mapped");
}

fn is_mapped(at: usize) -> bool {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().any(|line| {
        let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
        range.is_some_and(|(first, last)| {
            let number = |text| usize::from_str_radix(text, 16).unwrap();
            (number(first)..number(last)).contains(&at)
        })
    })
}

fn kept_out_of_forks(at: NonNull<u8>) {
    let flags = vm_flags(at);
    assert!(flags.split_whitespace().any(|flag| flag == "dc"), "{flags}");
}

#[test]
fn base_pages_are_whole_zeroed_shareable_and_gone_afterwards() {
    for (asked, got) in [(1, 4096), (4096, 4096), (4097, 8192), (1_000_001, 1_003_520)] {
        let memory = Memory::new(asked, Source::MemFd(PageSize::Base4K), Numa::Any).unwrap();
        assert_eq!((memory.len(), memory.page_size()), (got, PageSize::Base4K));
        let fd = memory.fd().unwrap().as_raw_fd();
        let file = fs::metadata(format!("/proc/self/fd/{fd}")).unwrap();
        assert_eq!(file.len(), got as u64);
        kept_out_of_forks(memory.as_ptr());
        let domain: Arc<dyn DmaDomain> = Arc::new(LocalDomain::new());
        drop(Mapping::new(&memory, &domain, Access::Read).unwrap());
        let at = memory.as_ptr().as_ptr() as usize;
        drop(memory);
        assert!(!is_mapped(at) && !is_mapped(at + got - 1));
    }
}

#[test]
fn a_pool_gives_back_its_memory_and_its_address_space() {
    let pool = Pool::builder()
        .packets(100)
        .source(Source::MemFd(PageSize::Base4K))
        .build()
        .unwrap();
    kept_out_of_forks(pool.memory().as_ptr());
    let at = pool.memory().as_ptr().as_ptr() as usize;
    drop(pool);
    assert!(!is_mapped(at) && !is_mapped(at - 4096), "memory and header");
}

#[test]
fn auto_runs_on_any_machine() {
    let memory = Memory::new(100_000, Source::Auto, Numa::Any).unwrap();
    assert!(memory.len().is_multiple_of(memory.page_size().bytes()) && memory.len() >= 100_000);
    kept_out_of_forks(memory.as_ptr());
    let too_much = free_huge_pages(PageSize::Huge2M).free * HUGE + 8 * HUGE;
    let memory = Memory::new(too_much, Source::Auto, Numa::Any).unwrap();
    assert_eq!(memory.page_size(), PageSize::Base4K, "the loud fallback");
}

#[test]
fn auto_takes_huge_pages_where_there_are_some() {
    with_huge_pages(2, || {
        let memory = Memory::new(HUGE + 1, Source::Auto, Numa::Any).ok()?;
        (memory.page_size() == PageSize::Huge2M && memory.len() == 2 * HUGE).then_some(())
    });
}

#[test]
fn huge_pages_come_back_whatever_the_length() {
    for source in [Source::MemFd(PageSize::Huge2M), Source::Private] {
        for len in [1, HUGE, HUGE + 1, 2 * HUGE - 5] {
            with_huge_pages(2, || {
                let before = free_huge_pages(PageSize::Huge2M).free;
                let memory = Memory::new(len, source, Numa::Any).ok()?;
                let pages = len.div_ceil(HUGE);
                assert_eq!(
                    (memory.len(), memory.page_size()),
                    (pages * HUGE, PageSize::Huge2M)
                );
                assert_eq!(memory.fd().is_some(), source != Source::Private);
                kept_out_of_forks(memory.as_ptr());
                let during = free_huge_pages(PageSize::Huge2M).free;
                drop(memory);
                let after = free_huge_pages(PageSize::Huge2M).free;
                (during + pages == before && after == before).then_some(())
            });
        }
    }
}

#[test]
fn a_pool_on_huge_pages_gives_them_back() {
    for source in [Source::MemFd(PageSize::Huge2M), Source::Private] {
        with_huge_pages(2, || {
            let before = free_huge_pages(PageSize::Huge2M).free;
            let pool = Pool::builder().packets(1200).source(source).build().ok()?;
            let during = free_huge_pages(PageSize::Huge2M).free;
            kept_out_of_forks(pool.memory().as_ptr());
            let mut packet = pool.alloc().unwrap();
            assert!(packet.set(&[7; 1514]));
            drop(pool);
            assert_eq!(packet[..], [7; 1514]);
            drop(packet);
            let after = free_huge_pages(PageSize::Huge2M).free;
            (during + 2 == before && after == before).then_some(())
        });
    }
}

#[test]
fn too_few_huge_pages_is_an_error_with_the_command() {
    for source in [
        Source::MemFd(PageSize::Huge2M),
        Source::MemFd(PageSize::Huge1G),
        Source::Private,
    ] {
        let error = Memory::new(1 << 50, source, Numa::Any).unwrap_err();
        let MemoryError::TooFewHugePages { remedy, .. } = &error else {
            panic!("{error:?}");
        };
        assert!(remedy.starts_with("echo ") && remedy.contains("| sudo tee /sys/kernel/mm/hugepages/"));
        assert!(error.to_string().contains(remedy));
    }
}

#[test]
fn lengths_that_no_memory_has_are_errors() {
    let base = Source::MemFd(PageSize::Base4K);
    for (len, source) in [
        (0, base),
        (usize::MAX, base),
        (usize::MAX - 4096, base),
        (1 << 50, base),
        (usize::MAX, Source::Auto),
    ] {
        let result = Memory::new(len, source, Numa::Any);
        assert!(result.is_err(), "{len}: {result:?}");
    }
    for source in [Source::MemFd(PageSize::Huge2M), Source::Private] {
        assert!(Memory::new(usize::MAX, source, Numa::Any).is_err());
    }
}

#[test]
fn memory_is_bound_to_a_node_that_exists_and_refused_on_others() {
    let base = Source::MemFd(PageSize::Base4K);
    match Memory::new(1 << 20, base, Numa::Node(0)) {
        Ok(memory) => {
            let maps = fs::read_to_string("/proc/self/numa_maps").unwrap_or_default();
            let at = format!("{:x} ", memory.as_ptr().as_ptr() as usize);
            if let Some(line) = maps.lines().find(|line| line.starts_with(&at)) {
                assert!(line.contains("bind:0"), "{line}");
            }
        }
        Err(MemoryError::Os { source, .. }) if source.raw_os_error() == Some(38) => {
            eprintln!("SKIP: this kernel has no mbind");
            return;
        }
        Err(error) => panic!("{error}"),
    }
    for node in [900, 1023, 1024, 5000, u32::MAX] {
        let error = Memory::new(4096, base, Numa::Node(node)).unwrap_err().to_string();
        assert!(error.contains("node"), "node {node}: {error}");
    }
}

/// An address space whose limits a test makes up.
#[derive(Debug)]
struct Limited(DmaLimits);

impl DmaDomain for Limited {
    unsafe fn map(&self, _va: NonNull<u8>, len: usize, _access: Access) -> Result<Iova, DmaError> {
        Err(DmaError::NoWindow { len })
    }

    fn unmap(&self, iova: Iova, len: usize) -> Result<(), DmaError> {
        Err(DmaError::NotMapped { iova, len })
    }

    fn limits(&self) -> DmaLimits {
        self.0.clone()
    }
}

fn limited(entries_left: Option<u32>, last: u64) -> Limited {
    Limited(DmaLimits {
        windows: vec![Window { first: 0, last }],
        page_sizes: !0xfff,
        entries_left,
        counts_memlock: false,
    })
}

#[test]
fn a_plan_names_what_is_missing() {
    let base = Source::MemFd(PageSize::Base4K);
    let two = Plan::new().with(5000, base).with(1, base);
    assert_eq!(two.bytes(), 8192 + 4096);
    two.check(&limited(Some(2), 1 << 40)).unwrap();
    two.check(&limited(None, 1 << 40)).unwrap();
    let error = two.check(&limited(Some(1), 1 << 40)).unwrap_err();
    assert!(
        matches!(error, PlanError::Entries { need: 2, left: 1 }),
        "{error}"
    );
    let error = two.check(&limited(None, 8191)).unwrap_err();
    assert!(matches!(error, PlanError::Windows { need: 12288 }), "{error}");
    for size in [PageSize::Huge2M, PageSize::Huge1G] {
        let plan = Plan::new().with(1 << 52, Source::MemFd(size));
        let error = plan.check(&limited(None, u64::MAX)).unwrap_err();
        let PlanError::HugePages { need, free, want, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(*need, (1 << 52) / size.bytes());
        assert!(*want >= need - free);
        assert!(error.to_string().contains("nr_hugepages"));
    }
    for bytes in [usize::MAX, usize::MAX - 4095] {
        let plan = Plan::new().with(bytes, base).with(bytes, base);
        assert!(plan.check(&limited(None, 1 << 47)).is_err());
    }
}

#[test]
fn a_refused_mapping_keeps_nothing() {
    let memory = Memory::new(4096, Source::MemFd(PageSize::Base4K), Numa::Any).unwrap();
    let none: Arc<dyn DmaDomain> = Arc::new(limited(None, 0));
    assert!(Mapping::new(&memory, &none, Access::ReadWrite).is_err());
    let pool = Pool::builder()
        .packets(4)
        .source(Source::MemFd(PageSize::Base4K))
        .build()
        .unwrap();
    assert!(pool.map(&none).is_err());
    assert_eq!((Arc::strong_count(&memory), Arc::strong_count(&none)), (1, 1));
    assert_eq!(Arc::strong_count(pool.memory()), 1);
}

/// An address space that maps but cannot unmap: the memory must be kept for ever.
#[derive(Debug)]
struct Sticky;

impl DmaDomain for Sticky {
    unsafe fn map(&self, _va: NonNull<u8>, _len: usize, _access: Access) -> Result<Iova, DmaError> {
        Ok(Iova::new(1 << 32))
    }

    fn unmap(&self, iova: Iova, len: usize) -> Result<(), DmaError> {
        Err(DmaError::ShortUnmap {
            iova,
            len,
            unmapped: 0,
        })
    }

    fn limits(&self) -> DmaLimits {
        limited(None, u64::MAX).0
    }
}

#[test]
fn memory_that_cannot_be_unmapped_is_never_freed() {
    let memory = Memory::new(4096, Source::MemFd(PageSize::Base4K), Numa::Any).unwrap();
    let sticky: Arc<dyn DmaDomain> = Arc::new(Sticky);
    let at = memory.as_ptr().as_ptr() as usize;
    drop(Mapping::new(&memory, &sticky, Access::ReadWrite).unwrap());
    drop(memory);
    assert!(is_mapped(at), "a device may still reach it");
}
