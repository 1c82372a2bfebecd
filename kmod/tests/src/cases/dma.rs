//! Address spaces and DMA.

use crate::abi::*;
use crate::devices::{Attached, EDU, IGB, edu, edu_is_busy, edu_to_memory, moment, nth};
use crate::host;
use crate::sys::{Child, Dev, IOMMU_NODE, Ioas, Mapping, PAGE, ioctl};
use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use std::os::unix::fs::{PermissionsExt, chown};
use std::thread::sleep;
use std::time::Duration;

/// Where the tests map.
pub(super) const IOVA: u64 = 0x10_0000;
/// The last page of the narrowest IOMMU that VT-d has.
const HIGH: u64 = (1 << 39) - PAGE;

/// Lets edu write a page and waits until it has.
pub(super) fn write_page(at: &Attached, memory: &Mapping, iova: u64) -> Result<()> {
    let registers = at.bar0()?;
    memory.fill(0x55);
    edu_to_memory(&registers, iova);
    host::wait_until("the transfer ends", || !edu_is_busy(&registers))?;
    ensure!(memory.is(0), "the page was not written");
    Ok(())
}

/// R5: two devices in one address space; it lives as long as one of them.
pub fn r05_two_devices_in_one_address_space() -> Result<String> {
    let at = Attached::edu()?;
    let other = nth(IGB, 0)?;
    host::bind(&other)?;
    let second = Dev::open(&other)?;
    second.attach(&at.ioas)?;
    let memory = Mapping::memory(PAGE)?;
    at.ioas.map(memory.va(), IOVA, PAGE)?;
    at.dev.master(true)?;
    write_page(&at, &memory, IOVA)?;
    second.simple(DEV_DETACH)?;
    write_page(&at, &memory, IOVA)?;
    // Its descriptor is closed, the device is still in it.
    let Attached { dev, ioas } = at;
    drop(ioas);
    let at = Attached {
        dev,
        ioas: Ioas::new()?,
    };
    write_page(&at, &memory, IOVA)?;
    Ok(String::new())
}

/// R12, B33: the process is killed while the device writes: nothing arrives after the pages are its no more.
pub fn r12_killed_while_the_device_writes() -> Result<String> {
    let bdf = edu(true)?;
    host::bind(&bdf)?;
    let memory = Mapping::memory(PAGE)?;
    let faults = || {
        host::dmesg()
            .lines()
            .filter(|line| line.contains("DMAR") && line.contains("fault"))
            .count()
    };
    let before = faults();
    let rounds = host::rounds() / 4;
    for round in 0..rounds {
        memory.fill(0x55);
        let child = Child::run(|| {
            let work = || -> Result<()> {
                let at = Attached::new(&bdf)?;
                at.ioas.map(memory.va(), IOVA, PAGE)?;
                at.dev.master(true)?;
                let registers = at.bar0()?;
                loop {
                    if !edu_is_busy(&registers) {
                        edu_to_memory(&registers, IOVA);
                    }
                }
            };
            eprintln!("writer: {:?}", work());
            1
        })?;
        host::wait_until("the device writes", || memory.is(0))?;
        child.signal(libc::SIGKILL);
        let code = child.wait();
        ensure!(code == -libc::SIGKILL, "the writer ended with {code}");
        // Not by opening the device: that would stop what closing it has not stopped.
        host::wait_until("the page is given back", || {
            host::pinned_pages().is_ok_and(|pages| pages == 0)
        })?;
        memory.fill(0xa5);
        // Longer than a transfer takes.
        sleep(Duration::from_millis(150));
        ensure!(
            memory.is(0xa5),
            "written after it was given back, in round {round}"
        );
        ensure!(faults() == before, "DMA faults: {}", host::last_line("DMAR"));
        host::wait_until("the device is closed", || Dev::open(&bdf).is_ok())?;
    }
    Ok(format!("{rounds} times"))
}

/// R22: the aperture is told, and nothing outside of it or in a reserved range can be mapped.
pub fn r22_aperture() -> Result<String> {
    let at = Attached::edu()?;
    let memory = Mapping::memory(4 * PAGE)?;
    let (info, reserved) = at.ioas.info()?;
    ensure!(info.page_sizes & PAGE != 0 && info.last > info.first, "{info:?}");
    ensure!(
        reserved.iter().any(|range| range.first == 0xfee0_0000),
        "no interrupt window: {reserved:x?}"
    );
    for range in &reserved {
        if range.first > 0 {
            at.ioas
                .map(memory.va(), range.first - PAGE, PAGE)
                .context("right before a reserved range")?;
            at.ioas.unmap(range.first - PAGE, PAGE)?;
        }
        for iova in [
            range.first,
            (range.last & !(PAGE - 1)),
            range.first.saturating_sub(PAGE),
        ] {
            let refused = at.ioas.map(memory.va(), iova, 2 * PAGE);
            ensure!(refused == Err(Errno::ERANGE), "{iova:#x}: {refused:?}");
        }
    }
    let end = info.last & !(PAGE - 1);
    // VT-d of 6.12 tells 57 bits where the unit has 48: then the refusal is the same as that of an address outside.
    let last = at.ioas.map(memory.va(), end, PAGE);
    ensure!(
        matches!(last, Ok(()) | Err(Errno::ERANGE)),
        "the last page, {end:#x}: {last:?}"
    );
    let over = at.ioas.map(memory.va(), end, 2 * PAGE);
    ensure!(
        matches!(over, Err(Errno::ERANGE | Errno::EOVERFLOW)),
        "past the end: {over:?}"
    );
    at.ioas.map(memory.va(), HIGH, PAGE).context("39 bits")?;
    let twice = at.ioas.map(memory.va(), HIGH, PAGE);
    ensure!(twice == Err(Errno::EEXIST), "twice: {twice:?}");
    at.ioas.map(memory.va(), IOVA, 4 * PAGE)?;
    let cut = at.ioas.unmap(IOVA + PAGE, PAGE);
    ensure!(cut == Err(Errno::EINVAL), "cut in two: {cut:?}");
    ensure!(at.ioas.unmap(IOVA, 4 * PAGE) == Ok(4 * PAGE));
    ensure!(at.ioas.unmap(IOVA, 4 * PAGE) == Err(Errno::ENOENT));
    Ok(format!(
        "{:#x} to {:#x}, {} reserved",
        info.first,
        info.last,
        reserved.len()
    ))
}

/// R29, B26: who mapped is charged and given back to, whoever unmaps or closes.
pub fn r29_accounting_follows_the_mapper() -> Result<String> {
    const SIZE: u64 = 1 << 20;
    let at = Attached::edu()?;
    let ours = std::process::id() as i32;
    let memory = Mapping::memory(PAGE)?;
    for unmap in [true, false] {
        memory.write(0, 0_u32);
        let child = Child::run(|| {
            let Ok(own) = Mapping::memory(SIZE) else { return 1 };
            if at.ioas.map(own.va(), IOVA, SIZE).is_err() {
                return 2;
            }
            memory.write(0, 1_u32);
            while memory.read::<u32>(0) != 2 {
                sleep(Duration::from_millis(1));
            }
            0
        })?;
        host::wait_until("the child has mapped", || memory.read::<u32>(0) == 1)?;
        ensure!(
            host::locked_kib(child.pid())? == SIZE >> 10,
            "the child is charged {}",
            host::locked_kib(child.pid())?
        );
        ensure!(host::locked_kib(ours)? == 0, "we are charged for the child");
        if unmap {
            at.ioas.unmap(IOVA, SIZE)?;
            ensure!(host::locked_kib(child.pid())? == 0, "not given back to the child");
            memory.write(0, 2_u32);
            ensure!(child.wait() == 0);
        } else {
            // It goes without unmapping; its pages stay until the address space forgets them.
            child.signal(libc::SIGKILL);
            child.wait();
            ensure!(host::pinned_pages()? > 0, "released with the process");
            at.ioas.unmap(IOVA, SIZE)?;
        }
        ensure!(host::locked_kib(ours)? == 0, "we were given what is not ours");
    }
    Ok(String::new())
}

/// R30: what a mapping costs the kernel does not grow with its pages, and huge pages are mapped as they are.
pub fn r30_no_memory_a_page() -> Result<String> {
    const SIZE: u64 = 64 << 20;
    const TIMES: u64 = 16;
    let at = Attached::edu()?;
    let memory = Mapping::huge(SIZE)?;
    let before = host::slab_kib()?;
    for n in 0..TIMES {
        at.ioas.map(memory.va(), (n + 1) << 30, SIZE)?;
    }
    let grown = host::slab_kib()? - before;
    let stats = at.ioas.stats()?;
    ensure!(
        stats.maps == TIMES && stats.pages == TIMES * SIZE / PAGE,
        "{stats:?}"
    );
    ensure!(
        stats.iommu_map_calls <= TIMES * SIZE / (2 << 20),
        "{} calls of the IOMMU",
        stats.iommu_map_calls
    );
    ensure!(
        stats.largest_run >= 2 << 20,
        "runs of {} bytes",
        stats.largest_run
    );
    // A page's pointer alone would be 2 MiB, a record of 64 bytes 16 MiB.
    ensure!(grown < 1 << 10, "{grown} KiB of kernel memory for 1 GiB");
    let refused = at.ioas.unmap(1 << 30, TIMES << 30);
    ensure!(refused == Ok(TIMES * SIZE), "{refused:?}");
    Ok(format!("1 GiB: {} calls, {grown} KiB", stats.iommu_map_calls))
}

/// B24: sizes and addresses that wrap or were cut to 32 bits.
pub fn b24_sizes() -> Result<String> {
    let at = Attached::edu()?;
    let memory = Mapping::memory(2 * PAGE)?;
    let va = memory.va();
    let wrong = [
        (
            "2^44 + a page",
            va,
            IOVA,
            (1 << 44) + PAGE,
            vec![Errno::ENOMEM, Errno::EFAULT, Errno::ERANGE],
        ),
        ("no bytes", va, IOVA, 0, vec![Errno::EINVAL]),
        ("half a page", va, IOVA, PAGE / 2, vec![Errno::EINVAL]),
        ("odd memory", va + 1, IOVA, PAGE, vec![Errno::EINVAL]),
        ("odd address", va, IOVA + 8, PAGE, vec![Errno::EINVAL]),
        (
            "the address wraps",
            va,
            !(PAGE - 1),
            2 * PAGE,
            vec![Errno::EOVERFLOW],
        ),
        (
            "the memory wraps",
            !(PAGE - 1),
            IOVA,
            2 * PAGE,
            vec![Errno::EOVERFLOW, Errno::EFAULT],
        ),
        (
            "all there is",
            0,
            0,
            !(PAGE - 1),
            vec![Errno::ENOMEM, Errno::EFAULT, Errno::ERANGE],
        ),
    ];
    for (what, vaddr, iova, size, errors) in wrong {
        let refused = at.ioas.map(vaddr, iova, size);
        ensure!(
            refused.is_err_and(|error| errors.contains(&error)),
            "{what}: {refused:?}"
        );
    }
    ensure!(
        host::pinned_pages()? == 0 && at.ioas.stats()?.maps == 0,
        "something was kept"
    );
    let none = ioctl(
        at.ioas.fd(),
        IOAS_MAP,
        &mut IoasMap {
            vaddr: va,
            iova: IOVA,
            size: PAGE,
            ..IoasMap::new()
        },
    );
    ensure!(none == Err(Errno::EINVAL), "neither read nor write: {none:?}");
    Ok(String::new())
}

/// B25: a user with an unlimited RLIMIT_MEMLOCK may map, one with a limit up to the limit; the nodes are all it takes.
pub fn b25_unlimited_memlock_as_a_user() -> Result<String> {
    const USER: u32 = 1000;
    let bdf = edu(true)?;
    host::bind(&bdf)?;
    let node = format!("/dev/barline/{bdf}");
    let mode = std::fs::metadata(IOMMU_NODE)?.permissions();
    for path in [node.as_str(), IOMMU_NODE] {
        chown(path, Some(USER), None)?;
    }
    let attempt = |limit: u64, size: u64| -> Result<i32> {
        let child = Child::run(|| {
            // SAFETY: changes this child only.
            let dropped = unsafe {
                let limit = libc::rlimit {
                    rlim_cur: limit,
                    rlim_max: limit,
                };
                libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) == 0
                    && libc::setgid(USER) == 0
                    && libc::setuid(USER) == 0
            };
            let (true, Ok(ioas), Ok(dev), Ok(memory)) =
                (dropped, Ioas::new(), Dev::open(&bdf), Mapping::memory(size))
            else {
                return 1;
            };
            if dev.attach(&ioas).is_err() {
                return 2;
            }
            match ioas.map(memory.va(), IOVA, size) {
                Ok(()) => 0,
                Err(Errno::ENOMEM) => 12,
                Err(_) => 3,
            }
        })?;
        Ok(child.wait())
    };
    let results = [
        (attempt(libc::RLIM_INFINITY, 4 << 20)?, 0, "unlimited"),
        (attempt(4 << 20, 4 << 20)?, 0, "as much as the limit"),
        (attempt(4 << 20, (4 << 20) + PAGE)?, 12, "a page more"),
        (attempt(0, PAGE)?, 12, "no page"),
    ];
    for path in [node.as_str(), IOMMU_NODE] {
        chown(path, Some(0), None)?;
    }
    std::fs::set_permissions(IOMMU_NODE, std::fs::Permissions::from_mode(mode.mode()))?;
    for (code, expected, what) in results {
        ensure!(code == expected, "{what}: {code} instead of {expected}");
    }
    Ok(String::new())
}

/// B27, B28, B29: memory that ends in the middle of the request; what was pinned of it is released.
pub fn b27_partly_mapped_memory() -> Result<String> {
    let at = Attached::edu()?;
    let memory = Mapping::memory(1024 * PAGE)?;
    // SAFETY: takes one page out of our own mapping; nothing is kept there.
    unsafe {
        libc::munmap(
            memory.base.wrapping_add(700 * PAGE as usize).cast(),
            PAGE as usize,
        )
    };
    let refused = at.ioas.map(memory.va(), IOVA, 1024 * PAGE);
    ensure!(refused == Err(Errno::EFAULT), "a hole: {refused:?}");
    ensure!(
        host::pinned_pages()? == 0,
        "{} pages stay pinned",
        host::pinned_pages()?
    );
    ensure!(
        host::locked_kib(std::process::id() as i32)? == 0,
        "it stays charged"
    );
    // The addresses are free again.
    at.ioas.map(memory.va(), IOVA, 700 * PAGE)?;
    let read_only = Mapping::memory(PAGE)?;
    read_only.protect(libc::PROT_READ)?;
    let refused = at.ioas.map(read_only.va(), 1 << 30, PAGE);
    ensure!(
        refused == Err(Errno::EFAULT),
        "memory that may not be written: {refused:?}"
    );
    // Registers are no memory: no traffic from device to device.
    let registers = at.bar0()?;
    let refused = at.ioas.map(registers.va(), 1 << 30, PAGE);
    ensure!(refused == Err(Errno::EFAULT), "registers: {refused:?}");
    Ok(String::new())
}

/// B30: there is no notifier; memory that is unmapped stays where it is until the address space lets it go.
pub fn b30_unmapped_memory_stays_pinned() -> Result<String> {
    let at = Attached::edu()?;
    // Two views of one page.
    let memory = Mapping::memory(PAGE)?;
    // SAFETY: a second mapping of a shared one of our own (old size 0 duplicates it).
    let again = unsafe { libc::mremap(memory.base.cast(), 0, PAGE as usize, libc::MREMAP_MAYMOVE) };
    ensure!(again != libc::MAP_FAILED, "no second view: {}", Errno::last());
    let view = Mapping {
        base: again.cast(),
        len: PAGE,
    };
    at.ioas.map(view.va(), IOVA, PAGE)?;
    drop(view);
    at.dev.master(true)?;
    write_page(&at, &memory, IOVA)?;
    // With no view at all the device writes to a page that only the pin holds.
    drop(memory);
    let registers = at.bar0()?;
    edu_to_memory(&registers, IOVA);
    host::wait_until("the transfer ends", || !edu_is_busy(&registers))?;
    ensure!(at.ioas.unmap(IOVA, PAGE) == Ok(PAGE));
    ensure!(host::functions(EDU.0, EDU.1).contains(&at.dev.bdf));
    Ok(String::new())
}

/// B32: the argument cannot be written back: either the call fails and maps nothing, or it works.
pub fn b32_read_only_argument() -> Result<String> {
    let at = Attached::edu()?;
    let memory = Mapping::memory(PAGE)?;
    let page = Mapping::memory(PAGE)?;
    let argument = IoasMap {
        flags: MAP_READ | MAP_WRITE,
        vaddr: memory.va(),
        iova: IOVA,
        size: PAGE,
        ..IoasMap::new()
    };
    page.write(0, argument);
    page.protect(libc::PROT_READ)?;
    let result = crate::sys::raw_ioctl(at.ioas.fd(), IOAS_MAP, page.va() as usize);
    let maps = at.ioas.stats()?.maps;
    ensure!(
        maps == u64::from(result.is_ok()),
        "{result:?}, and {maps} mappings"
    );
    moment();
    Ok(format!("{result:?}"))
}
