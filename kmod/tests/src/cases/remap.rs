//! A machine without interrupt remapping (R17, R19).

use crate::abi::*;
use crate::devices::{Attached, IGB, nth};
use crate::host;
use crate::sys::PAGE;
use anyhow::{Context, Result, ensure};
use nix::errno::Errno;

/// R17, R19: refused, with one line that says why.
pub fn r17_r19_refused_without_remapping() -> Result<String> {
    let bdf = nth(IGB, 0)?;
    ensure!(!host::offer(&bdf, "barline")?, "{bdf} was taken");
    let dmesg = host::dmesg();
    let lines: Vec<&str> = dmesg
        .lines()
        .filter(|line| line.contains("barline") && line.contains(&bdf))
        .collect();
    ensure!(
        lines.len() == 1 && lines[0].contains("allow_unsafe_interrupts"),
        "{lines:?}"
    );
    Ok(lines[0].to_owned())
}

fn unsafe_igb() -> Result<(Attached, u32, RegionInfo, Vec<Area>)> {
    if host::parameter("allow_unsafe_interrupts")? != "Y" {
        host::reload("barline.ko", &["allow_unsafe_interrupts=1"])?;
    }
    let at = Attached::igb()?;
    for index in 0..6 {
        let (region, areas) = at.dev.region(index)?;
        if region.flags & REGION_MSIX != 0 {
            return Ok((at, index, region, areas));
        }
    }
    anyhow::bail!("no BAR with an MSI-X table")
}

/// R17: on insistence it is taken, and the table's pages can neither be mapped nor written.
pub fn r17_table_is_left_out() -> Result<String> {
    let (at, bar, region, areas) = unsafe_igb()?;
    ensure!(
        region.flags & REGION_AREAS != 0,
        "the whole BAR can be mapped: {region:?}"
    );
    let whole = at.dev.mmap(bar, 0, region.size, true).err();
    ensure!(whole == Some(Errno::EINVAL), "the whole BAR: {whole:?}");
    let inside = |page: u64| {
        areas
            .iter()
            .any(|area| (area.offset..area.offset + area.size).contains(&page))
    };
    let mut refused = 0;
    for page in (0..region.size).step_by(PAGE as usize) {
        let mapped = at.dev.mmap(bar, page, PAGE, true);
        ensure!(
            mapped.is_ok() == inside(page),
            "page {page:#x}: {:?}, areas {areas:x?}",
            mapped.err()
        );
        refused += u64::from(!inside(page));
    }
    ensure!(refused > 0, "no page is left out");
    // 82576: the table is at the start of BAR 3.
    let write = at.dev.write(bar, 0, 4, 0xfee0_0000);
    ensure!(write == Err(Errno::EPERM), "a write to the table: {write:?}");
    Ok(format!("{refused} pages of BAR {bar} are left out"))
}

/// B3: a mapping that may be read could be made writable later: there is none at all.
pub fn b03_table_is_not_even_read() -> Result<String> {
    let (at, bar, _, _) = unsafe_igb()?;
    let read_only = at.dev.mmap(bar, 0, PAGE, false).err();
    ensure!(read_only == Some(Errno::EINVAL), "{read_only:?}");
    // And what was mapped for reading elsewhere may be made writable: it is an area.
    let registers = at.dev.mmap(0, 0, PAGE, false)?;
    registers
        .protect(libc::PROT_READ | libc::PROT_WRITE)
        .context("BAR 0")?;
    Ok(String::new())
}
