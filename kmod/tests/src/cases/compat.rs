//! Calls of 32-bit programs (B35). Debian's kernels take them from 64-bit ones too, through the interrupt that i386 calls with;
//! the debug kernel has none.

use crate::abi::*;
use crate::devices::Attached;
use crate::sys::{Event, Mapping, PAGE, Sys, raw_ioctl};
use anyhow::{Result, ensure};
use nix::errno::Errno;
use std::arch::asm;

/// Numbers of i386 (linux/arch/x86/entry/syscalls/syscall_32.tbl).
const IOCTL: u32 = 54;
const PREAD64: u32 = 180;
const PWRITE64: u32 = 181;

/// A call as a 32-bit program makes it: the kernel takes all of it for 32-bit, pointers too.
fn call(number: u32, arguments: [u32; 5]) -> Sys<i32> {
    let [a, b, c, d, e] = arguments;
    let result: i32;
    // SAFETY: the kernel checks the arguments; pointers are to memory of this process that is large enough. rbx is the
    // compiler's and is put back; the interrupt may clear r8 to r11.
    unsafe {
        asm!(
            "push rbx", "mov ebx, r12d", "int 0x80", "pop rbx",
            in("r12") a, inlateout("eax") number => result, in("ecx") b, in("edx") c, in("esi") d, in("edi") e,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    if result < 0 {
        Err(Errno::from_raw(-result))
    } else {
        Ok(result)
    }
}

/// Memory where a 32-bit program can have some.
struct Low(Mapping);

impl Low {
    fn new() -> Result<Self> {
        Ok(Self(Mapping::low(PAGE)?))
    }

    /// Address of its second half, where what structures point to is.
    fn pointer(&self) -> u64 {
        self.0.va() + PAGE / 2
    }

    /// One ioctl both ways; what both say, and what the 32-bit one left in the structure.
    fn ioctl<T: Copy>(&self, fd: i32, request: u32, argument: T) -> (Sys<i32>, T) {
        self.0.write(0, argument);
        let at = self.0.va() as u32;
        let result = call(IOCTL, [fd as u32, request, at, 0, 0]);
        (result, self.0.read(0))
    }
}

/// B35: every structure is the same for 32 bits, and so are the answers.
pub fn b35_calls_of_32_bits() -> Result<String> {
    let at = Attached::igb()?;
    let (fd, space, low) = (at.dev.fd(), at.ioas.fd(), Low::new()?);
    let (result, info) = low.ioctl(fd, DEV_INFO, DevInfo::new());
    ensure!(
        result == Ok(0) && format!("{info:?}") == format!("{:?}", at.dev.info()?),
        "{result:?}, {info:?}"
    );
    let region = RegionInfo {
        nr_areas: 8,
        areas_ptr: low.pointer(),
        ..RegionInfo::new()
    };
    let (result, region) = low.ioctl(fd, DEV_REGION_INFO, region);
    let wanted = at.dev.region(0)?.0;
    ensure!(
        result == Ok(0) && (region.size, region.offset) == (wanted.size, wanted.offset),
        "{result:?}, {region:?}"
    );
    let rows = CfgPolicy {
        count: 8,
        rows_ptr: low.pointer(),
        ..CfgPolicy::new()
    };
    let (result, rows) = low.ioctl(fd, DEV_CFG_POLICY, rows);
    let first: CfgRow = low.0.read(PAGE / 2);
    ensure!(
        matches!(result, Ok(0) | Err(Errno::ENOSPC | Errno::EMSGSIZE)) && rows.count > 8 && first.size > 0,
        "{result:?}, {rows:?}, {first:?}"
    );
    maps(&low, space)?;
    interrupts(&low, fd)?;
    for (request, argument) in [(0xba7f, 0), (DEV_INFO, 0), (DEV_INFO, 0xffff_f000)] {
        let (narrow, wide) = (
            call(IOCTL, [fd as u32, request, argument, 0, 0]),
            raw_ioctl(fd, request, argument as usize),
        );
        ensure!(
            narrow == wide && narrow.is_err(),
            "{request:#x} of {argument:#x}: {narrow:?}, {wide:?}"
        );
    }
    // Offsets are 64-bit in both: configuration space is far behind 4 GiB.
    let (offset, buffer) = (crate::abi::at(REGION_CONFIG, 0), low.0.va() as u32);
    let place = |number| {
        call(
            number,
            [fd as u32, buffer, 4, offset as u32, (offset >> 32) as u32],
        )
    };
    ensure!(place(PREAD64) == Ok(4) && low.0.read::<u32>(0) == at.dev.config(0, 4)?);
    ensure!(place(PWRITE64) == Ok(4));
    Ok(String::new())
}

fn maps(low: &Low, space: i32) -> Result<()> {
    let memory = Mapping::low(PAGE)?;
    let map = IoasMap {
        flags: MAP_READ | MAP_WRITE,
        vaddr: memory.va(),
        iova: 1 << 33,
        size: PAGE,
        ..IoasMap::new()
    };
    let (result, _) = low.ioctl(space, IOAS_MAP, map);
    ensure!(result == Ok(0), "map: {result:?}");
    let (result, stats) = low.ioctl(space, IOAS_STATS, IoasStats::new());
    ensure!(result == Ok(0) && stats.pages == 1, "{result:?}, {stats:?}");
    let unmap = IoasUnmap {
        iova: 1 << 33,
        size: PAGE,
        ..IoasUnmap::new()
    };
    let (result, unmap) = low.ioctl(space, IOAS_UNMAP, unmap);
    ensure!(result == Ok(0) && unmap.unmapped == PAGE, "{result:?}, {unmap:?}");
    Ok(())
}

fn interrupts(low: &Low, fd: i32) -> Result<()> {
    let event = Event::new()?;
    low.0.write(PAGE / 2, event.fd());
    let set = SetIrqs {
        flags: DATA_EVENTFD | TRIGGER,
        index: IRQ_MSIX,
        count: 1,
        data_ptr: low.pointer(),
        ..SetIrqs::new()
    };
    let (result, _) = low.ioctl(fd, DEV_SET_IRQS, set);
    ensure!(result == Ok(0), "eventfd: {result:?}");
    let fire = SetIrqs {
        flags: DATA_NONE | TRIGGER,
        index: IRQ_MSIX,
        count: 1,
        ..SetIrqs::new()
    };
    let (result, _) = low.ioctl(fd, DEV_SET_IRQS, fire);
    ensure!(result == Ok(0) && event.take() == 1, "no event: {result:?}");
    Ok(())
}
