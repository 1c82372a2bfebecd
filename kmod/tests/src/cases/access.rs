//! ioctls and mappings: what is allowed, what the errors are.

use crate::abi::*;
use crate::devices::{Attached, E1000E, EDU_ID, IGB, IVSHMEM, edu, edu_reg, nth};
use crate::host;
use crate::sys::{Dev, Ioas, Mapping, PAGE, ioctl, raw_ioctl};
use anyhow::{Result, ensure};
use nix::errno::Errno;
use std::os::fd::RawFd;
use std::ptr;

/// Calls that take a structure: descriptor, request, size of its first version.
fn calls(ioas: RawFd, dev: RawFd) -> [(RawFd, u32, usize); 14] {
    [
        (ioas, IOAS_INFO, 64),
        (ioas, IOAS_MAP, 32),
        (ioas, IOAS_UNMAP, 32),
        (ioas, IOAS_STATS, 48),
        (dev, DEV_INFO, 64),
        (dev, DEV_REGION_INFO, 48),
        (dev, DEV_IRQ_INFO, 16),
        (dev, DEV_SET_IRQS, 32),
        (dev, DEV_ATTACH, 16),
        (dev, DEV_DETACH, 8),
        (dev, DEV_RESET, 8),
        (dev, DEV_BUS_MASTER, 16),
        (dev, DEV_PM_ACK, 16),
        (dev, DEV_CFG_POLICY, 24),
    ]
}

/// A structure of 256 bytes with argsz and flags.
fn words(argsz: u32, flags: u32) -> [u32; 64] {
    let mut words = [0; 64];
    (words[0], words[1]) = (argsz, flags);
    words
}

/// R3, B35, B38: sizes, unknown flags, what the kernel does not know yet, bad pointers, unknown requests.
pub fn r03_argument_sizes_and_flags() -> Result<String> {
    let at = Attached::edu()?;
    for (fd, request, size) in calls(at.ioas.fd(), at.dev.fd()) {
        let name = format!("request {request:#x}");
        let short = ioctl(fd, request, &mut words(size as u32 - 4, 0));
        ensure!(short == Err(Errno::EINVAL), "{name}, too short: {short:?}");
        let none = ioctl(fd, request, &mut words(0, 0));
        ensure!(none == Err(Errno::EINVAL), "{name}, argsz 0: {none:?}");
        let mut more = words(size as u32 + 8, 0);
        more[size / 4] = 1;
        let more = ioctl(fd, request, &mut more);
        ensure!(more == Err(Errno::E2BIG), "{name}, something newer: {more:?}");
        let huge = ioctl(fd, request, &mut words(u32::MAX, 0));
        ensure!(
            matches!(huge, Err(Errno::E2BIG | Errno::EFAULT | Errno::EINVAL)),
            "{name}, 4 GiB: {huge:?}"
        );
        // Where flags only come back, what was in them does not matter.
        if ![DEV_INFO, DEV_REGION_INFO, DEV_IRQ_INFO].contains(&request) {
            let flags = ioctl(fd, request, &mut words(size as u32, 1 << 31));
            ensure!(
                flags == Err(Errno::EINVAL),
                "{name}, unknown flag (B38): {flags:?}"
            );
        }
        let bad = raw_ioctl(fd, request, 16);
        ensure!(bad == Err(Errno::EFAULT), "{name}, bad pointer: {bad:?}");
    }
    for fd in [at.ioas.fd(), at.dev.fd()] {
        for request in [0, 0xba7f, 0xba1f, 0x3b64, u32::MAX] {
            let unknown = raw_ioctl(fd, request, 0);
            ensure!(
                unknown == Err(Errno::ENOTTY),
                "request {request:#x} (B35): {unknown:?}"
            );
        }
    }
    // A larger structure is fine as long as the rest is zero.
    let mut info = words(128, 0);
    ioctl(at.dev.fd(), DEV_INFO, &mut info)?;
    ensure!(info[0] == 64, "argsz is {} afterwards", info[0]);
    Ok("14 calls".to_owned())
}

/// R3: anything at all; the console must stay clean and the machine whole.
pub fn r03_random_ioctls() -> Result<String> {
    let at = Attached::edu()?;
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let (mut passed, rounds) = (0, 100_000);
    let calls = calls(at.ioas.fd(), at.dev.fd());
    for _ in 0..rounds {
        let (fd, request, size) = calls[random() as usize % calls.len()];
        // A reset takes a tenth of a second: once in a while is enough.
        if [DEV_RESET, DEV_DETACH].contains(&request) && random() % 512 != 0 {
            continue;
        }
        let mut argument: [u32; 64] = std::array::from_fn(|_| match random() % 4 {
            0 => 0,
            1 => random() as u32,
            2 => 1 << (random() % 32),
            _ => random() as u32 % 8,
        });
        if random() % 8 != 0 {
            argument[0] = size as u32;
            argument[size / 4..].fill(0);
        }
        passed += u32::from(ioctl(fd, request, &mut argument).is_ok());
    }
    ensure!(passed > 0 && passed < rounds, "{passed} of {rounds} calls passed");
    ioctl(
        at.ioas.fd(),
        IOAS_UNMAP,
        &mut IoasUnmap {
            flags: UNMAP_ALL,
            ..IoasUnmap::new()
        },
    )?;
    // It still works.
    at.dev.simple(DEV_DETACH).ok();
    at.dev.attach(&at.ioas)?;
    ensure!(at.bar0()?.read::<u32>(edu_reg::ID) == EDU_ID);
    Ok(format!("{passed} of {rounds} were valid"))
}

/// R5: MAP belongs to the address space, and the device's calls to the device.
pub fn r05_map_is_not_the_devices() -> Result<String> {
    let at = Attached::edu()?;
    for request in [IOAS_INFO, IOAS_MAP, IOAS_UNMAP, IOAS_STATS] {
        let wrong = ioctl(at.dev.fd(), request, &mut IoasMap::new());
        ensure!(wrong == Err(Errno::ENOTTY), "{request:#x} on a device: {wrong:?}");
    }
    for request in [DEV_INFO, DEV_ATTACH, DEV_RESET] {
        let wrong = ioctl(at.ioas.fd(), request, &mut DevInfo::new());
        ensure!(
            wrong == Err(Errno::ENOTTY),
            "{request:#x} on an address space: {wrong:?}"
        );
    }
    // ATTACH wants an address space, not any file.
    at.dev.simple(DEV_DETACH)?;
    let zero = crate::sys::open("/dev/zero")?;
    for fd in [-1, std::os::fd::AsRawFd::as_raw_fd(&zero), at.dev.fd()] {
        let wrong = ioctl(
            at.dev.fd(),
            DEV_ATTACH,
            &mut Attach {
                ioas_fd: fd,
                ..Attach::new()
            },
        );
        ensure!(
            matches!(wrong, Err(Errno::EBADF | Errno::EINVAL)),
            "fd {fd}: {wrong:?}"
        );
    }
    Ok(String::new())
}

/// R15: with isolated interrupts the whole BAR of the table can be mapped, and what is in it can be written.
pub fn r15_msix_pages_can_be_mapped() -> Result<String> {
    let at = Attached::igb()?;
    for index in 0..6 {
        let (region, areas) = at.dev.region(index)?;
        if region.flags & REGION_MSIX != 0 {
            ensure!(
                region.flags & REGION_AREAS == 0 && areas.is_empty(),
                "areas with isolated interrupts"
            );
            let all = at.dev.mmap(index, 0, region.size, true)?;
            // The table holds the kernel's vectors: reading is enough.
            let word = all.read::<u32>(12);
            ensure!(word != u32::MAX, "the table reads as all ones");
            return Ok(format!("BAR {index}, {} bytes", region.size));
        }
    }
    anyhow::bail!("no BAR with an MSI-X table")
}

/// R18: memory BARs only; I/O ports, ROM and configuration space are read. Private and misaligned mappings are not.
pub fn r18_what_can_be_mapped() -> Result<String> {
    let at = Attached::new(&nth(E1000E, 0)?)?;
    let mut seen = Vec::new();
    for index in 0..8 {
        let (region, _) = at.dev.region(index)?;
        let memory = index < 6 && region.size >= PAGE && region.flags & REGION_IO == 0;
        ensure!(
            (region.flags & REGION_MMAP != 0) == memory,
            "region {index}: {region:?}"
        );
        ensure!(
            region.offset == crate::abi::at(index, 0),
            "offset {:#x}",
            region.offset
        );
        let mapped = at.dev.mmap(index, 0, PAGE, true).map(drop);
        let expected = if memory { Ok(()) } else { Err(Errno::EINVAL) };
        ensure!(mapped == expected, "region {index}: {mapped:?}");
        if region.size == 0 {
            continue;
        }
        let width = if region.flags & REGION_IO != 0 || index == REGION_ROM {
            2
        } else {
            4
        };
        let value = at.dev.read(index, 0, width)?;
        if region.flags & REGION_IO != 0 {
            seen.push("I/O");
        } else if index == REGION_ROM {
            ensure!(value == 0xaa55, "the ROM begins with {value:#x}");
            let refused = at.dev.write(index, 0, 2, 0);
            ensure!(refused.is_err(), "the ROM can be written");
            seen.push("ROM");
        } else if memory {
            seen.push("memory");
            let over = at.dev.mmap(index, region.size, PAGE, true).map(drop);
            ensure!(over == Err(Errno::EINVAL), "behind its end: {over:?}");
            let long = at.dev.mmap(index, 0, region.size + PAGE, true).map(drop);
            ensure!(long == Err(Errno::EINVAL), "past its end: {long:?}");
        }
    }
    // SAFETY: must fail; the address is not used.
    let private = unsafe {
        libc::mmap(
            ptr::null_mut(),
            PAGE as usize,
            libc::PROT_READ,
            libc::MAP_PRIVATE,
            at.dev.fd(),
            0,
        )
    };
    ensure!(
        private == libc::MAP_FAILED && Errno::last() == Errno::EINVAL,
        "a private mapping"
    );
    for kind in ["I/O", "ROM", "memory"] {
        ensure!(seen.contains(&kind), "the device has no {kind}");
    }
    // Reads and writes are aligned and inside.
    let refused = at.dev.read(0, 1 << 39, 4);
    ensure!(refused.is_err(), "a read far outside: {refused:?}");
    Ok(format!("{seen:?}"))
}

/// B2: the mapping at an offset is of that offset.
pub fn b02_mapping_honours_the_offset() -> Result<String> {
    let at = Attached::igb()?;
    let whole = at.dev.mmap(0, 0, 0x2_0000, true)?;
    // The receive address of queue 0, in the page at 0x5000, and a table in the page at 0xc000.
    for (page, register) in [(0x5000_u64, 0x400_u64), (0xc000, 0)] {
        let one = at.dev.mmap(0, page, PAGE, true)?;
        let marks = [0x5a00_1200_u32, 0x0012_0080];
        for mark in marks {
            whole.write(page + register, mark);
            let (direct, offset) = (at.dev.read(0, page + register, 4)?, one.read::<u32>(register));
            ensure!(
                direct == offset,
                "{page:#x}: read gives {direct:#x}, the mapping {offset:#x}"
            );
        }
    }
    ensure!(at.dev.mmap(0, 0x1_f000, 2 * PAGE, true).err() == Some(Errno::EINVAL));
    Ok(String::new())
}

/// B16: one opener at a time; sharing is by passing the descriptor.
pub fn b16_one_opener() -> Result<String> {
    let at = Attached::edu()?;
    let second = Dev::open(&at.dev.bdf).err();
    ensure!(second == Some(Errno::EBUSY), "{second:?}");
    let again = at.dev.attach(&at.ioas);
    ensure!(again == Err(Errno::EBUSY), "attached twice: {again:?}");
    let other = at.dev.attach(&Ioas::new()?);
    ensure!(other == Err(Errno::EBUSY), "another address space: {other:?}");
    let bdf = at.dev.bdf.clone();
    drop(at);
    Dev::open(&bdf)?;
    Ok(String::new())
}

/// B17: before an address space is attached: information and reads of configuration space, nothing else.
pub fn b17_before_attach() -> Result<String> {
    let bdf = edu(true)?;
    host::bind(&bdf)?;
    let dev = Dev::open(&bdf)?;
    ensure!(dev.config(0, 4)? == 0x11e8_1234);
    ensure!(dev.info()?.state == STATE_OPEN);
    dev.region(0)?;
    dev.policy()?;
    let refused = [
        ("BAR read", dev.read(0, 0, 4).map(drop)),
        ("BAR write", dev.write(0, 4, 4, 0)),
        ("mapping", dev.mmap(0, 0, PAGE, true).map(drop)),
        ("configuration write", dev.write(REGION_CONFIG, 4, 2, 7)),
        ("bus master", dev.master(true)),
        ("detach", dev.simple(DEV_DETACH)),
        ("interrupts", dev.irqs_off(IRQ_MSI)),
    ];
    for (what, result) in refused {
        ensure!(result == Err(Errno::EPERM), "{what}: {result:?}");
    }
    Ok(String::new())
}

/// B18: the length of a BAR of 4 GiB is 4 GiB, and its last page can be mapped.
pub fn b18_large_bar() -> Result<String> {
    let at = Attached::new(&nth(IVSHMEM, 0)?)?;
    let (region, _) = at.dev.region(2)?;
    ensure!(region.size == 1 << 32, "{:#x} bytes", region.size);
    let last = at.dev.mmap(2, region.size - PAGE, PAGE, true)?;
    last.write(8, 0x1234_5678_u32);
    ensure!(at.dev.read(2, region.size - PAGE + 8, 4)? == 0x1234_5678);
    let first = at.dev.mmap(2, 0, PAGE, true)?;
    ensure!(first.read::<u32>(8) == 0, "the first page is the last one");
    let over = at.dev.mmap(2, region.size, PAGE, true).map(drop);
    ensure!(over == Err(Errno::EINVAL), "{over:?}");
    Ok("4 GiB".to_owned())
}

/// B34: whatever a process does wrong, the log does not grow with it.
pub fn b34_log_is_bounded() -> Result<String> {
    let at = Attached::new(&nth(IGB, 0)?)?;
    let memory = Mapping::memory(PAGE)?;
    let before = host::dmesg().lines().count();
    for _ in 0..2_000 {
        at.ioas.map(memory.va() + 1, 0, PAGE).ok();
        at.ioas.map(0x1000, 0x1000, PAGE).ok();
        at.ioas.map(memory.va(), 0xfee0_0000, PAGE).ok();
        at.dev.write(REGION_CONFIG, 0x10, 4, 0xdead_0000).ok();
        at.dev.set_eventfds(IRQ_MSIX, 0, &[9999]).ok();
        at.dev.mmap(7, 0, PAGE, true).ok();
    }
    let lines = host::dmesg().lines().count() - before;
    ensure!(lines < 50, "{lines} lines in the log for 12,000 mistakes");
    Ok(format!("{lines} lines"))
}
