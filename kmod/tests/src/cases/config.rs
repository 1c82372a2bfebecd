//! Configuration space.

use crate::abi::*;
use crate::devices::{Attached, E1000E, EDU_ID, IGB, edu, edu_reg, nth};
use crate::host;
use crate::sys::{Child, Dev, Event, PAGE};
use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use std::fs;

const COMMAND: u64 = 0x04;
const CACHE_LINE: u64 = 0x0c;
const BAR0: u64 = 0x10;
const MASTER: u32 = 1 << 2;
const MEMORY: u32 = 1 << 1;
const CAP_PM: u32 = 0x01;
const CAP_PCIE: u32 = 0x10;

/// The hardware's own bytes, past the policy.
fn hardware(bdf: &str) -> Result<Vec<u8>> {
    let bytes = fs::read(host::sysfs(bdf, "config")).context("no configuration space")?;
    // As root it is all of it; the first part is what drivers use.
    Ok(bytes[..256].to_vec())
}

/// Differences that mean something: not the status bits that errors set.
fn differences(before: &[u8], after: &[u8]) -> Vec<String> {
    let pairs = before.iter().zip(after).enumerate();
    let differ = pairs.filter(|(at, (a, b))| a != b && ![6, 7].contains(at));
    differ
        .map(|(at, (a, b))| format!("{at:#x}: {a:02x} was, {b:02x} is"))
        .collect()
}

/// R6, R7: every bit is in one row, what is protected has a reason, and rows tell the truth.
pub fn r06_policy_of_a_device() -> Result<String> {
    let at = Attached::igb()?;
    let rows = at.dev.policy()?;
    let mut covered = vec![0_u32; 1024];
    for row in &rows {
        ensure!(row.why <= 10 && row.action <= 4 && row.pad == 0, "{row:x?}");
        let shift = 8 * u32::from(row.offset % 4);
        for dword in row.offset / 4..(row.offset + row.size).div_ceil(4) {
            let bits = row.bits << shift;
            ensure!(covered[dword as usize] & bits == 0, "two rows for {row:x?}");
            covered[dword as usize] |= bits;
        }
        // Bits that cannot be written stay; the lists' own words are tried, timers and counters are not.
        if row.write == 0 && row.size <= 4 && row.offset < 0x100 && row.why != 5 {
            let width = usize::from(row.size.next_power_of_two());
            let before = at.dev.config(row.offset.into(), width)? & row.bits;
            at.dev
                .write(REGION_CONFIG, row.offset.into(), width, !before)
                .with_context(|| format!("{row:x?}"))?;
            let after = at.dev.config(row.offset.into(), width)? & row.bits;
            ensure!(before == after, "{row:x?}: {before:#x} became {after:#x}");
        }
    }
    ensure!(covered.iter().all(|bits| *bits == u32::MAX), "bits without a row");
    let bar = rows
        .iter()
        .find(|row| row.offset == 0x24)
        .context("no row for BAR 5")?;
    ensure!(bar.why == 1 && bar.virt == u32::MAX, "BAR 5 (B1): {bar:x?}");
    // SR-IOV is there, and hidden.
    ensure!(
        rows.iter()
            .any(|row| row.cap == 0x10 && row.offset >= 0x100 && row.why == 3),
        "SR-IOV is not hidden"
    );
    Ok(format!("{} rows", rows.len()))
}

/// R11: whatever a killed process did, the next one finds the device as the first did.
pub fn r11_dirty_device_is_clean_again() -> Result<String> {
    let bdf = nth(IGB, 0)?;
    host::bind(&bdf)?;
    let before = hardware(&bdf)?;
    let name = bdf.clone();
    let dirty = move || -> Result<()> {
        let at = Attached::new(&name)?;
        at.dev.master(true)?;
        at.dev.write(REGION_CONFIG, CACHE_LINE, 1, 0x40)?;
        at.dev.write(REGION_CONFIG, BAR0, 4, 0x1234_0000)?;
        let express = at.dev.capability(CAP_PCIE)?;
        let control = at.dev.config(express + 8, 2)?;
        at.dev.write(REGION_CONFIG, express + 8, 2, control ^ 1 << 4)?;
        let event = Event::new()?;
        at.dev.set_eventfds(IRQ_MSIX, 0, &[event.fd(); 4])?;
        at.dev.write(REGION_CONFIG, COMMAND, 2, MASTER)?;
        std::mem::forget(at);
        Ok(())
    };
    let child = Child::run(move || match dirty() {
        // SAFETY: kills this process, as the test wants.
        Ok(()) => unsafe { libc::kill(libc::getpid(), libc::SIGKILL) },
        Err(error) => {
            eprintln!("dirty: {error:#}");
            1
        }
    })?;
    let code = child.wait();
    ensure!(code == -libc::SIGKILL, "the child ended with {code}");
    let found = differences(&before, &hardware(&bdf)?);
    ensure!(found.is_empty(), "closed: {found:?}");
    let at = Attached::new(&bdf)?;
    ensure!(at.dev.config(COMMAND, 2)? & MASTER == 0, "bus master is on");
    let found = differences(&before, &hardware(&bdf)?);
    ensure!(found.is_empty(), "open again: {found:?}");
    Ok(String::new())
}

/// R21: the kernel never switches bus mastering on; it is on only in an address space, and off after each change.
pub fn r21_bus_master_is_the_owners() -> Result<String> {
    let at = Attached::igb()?;
    let is_on = |at: &Attached| at.dev.config(COMMAND, 2).map(|command| command & MASTER != 0);
    ensure!(!is_on(&at)?, "on after attach");
    at.dev.mmap(0, 0, PAGE, true)?;
    at.dev.set_eventfds(IRQ_MSIX, 0, &[Event::new()?.fd()])?;
    ensure!(!is_on(&at)?, "on after interrupts");
    at.dev.master(true)?;
    ensure!(
        is_on(&at)? && at.dev.info()?.state == STATE_MASTER,
        "off after BUS_MASTER"
    );
    at.dev.simple(DEV_RESET)?;
    ensure!(
        !is_on(&at)? && at.dev.info()?.state == STATE_ATTACHED,
        "on after a reset"
    );
    let command = at.dev.config(COMMAND, 2)?;
    at.dev.write(REGION_CONFIG, COMMAND, 2, command | MASTER)?;
    ensure!(
        is_on(&at)? && at.dev.info()?.state == STATE_MASTER,
        "off after COMMAND"
    );
    at.dev.simple(DEV_DETACH)?;
    ensure!(
        !is_on(&at)? && at.dev.info()?.state == STATE_OPEN,
        "on without an address space"
    );
    let refused = at.dev.write(REGION_CONFIG, COMMAND, 2, command | MASTER);
    ensure!(
        refused == Err(Errno::EPERM),
        "without an address space: {refused:?}"
    );
    ensure!(!is_on(&at)?);
    Ok(String::new())
}

/// R26: D3hot takes the registers away, D0 brings them and the configuration back.
pub fn r26_power_states() -> Result<String> {
    let at = Attached::igb()?;
    let registers = at.bar0()?;
    let status = at.dev.capability(CAP_PM)? + 4;
    at.dev.write(REGION_CONFIG, CACHE_LINE, 1, 0x20)?;
    let before = hardware(&at.dev.bdf)?;
    let alive = registers.read::<u32>(8);
    at.dev.write(REGION_CONFIG, status, 2, 3)?;
    ensure!(at.dev.config(status, 2)? & 3 == 3, "it is not in D3hot");
    let refused = at.dev.read(0, 8, 4);
    ensure!(refused.is_err(), "a read in D3hot: {refused:?}");
    let code = Child::run(|| registers.read::<u32>(8) as i32 & 0x7f)?.wait();
    ensure!(
        code == -libc::SIGSEGV || code == -libc::SIGBUS,
        "the child's access ended with {code}"
    );
    let code = fault_in_own_mapping(&at)?;
    ensure!(code == -libc::SIGBUS, "an access in D3hot ended with {code}");
    at.dev.write(REGION_CONFIG, status, 2, 0)?;
    ensure!(at.dev.config(status, 2)? & 3 == 0, "it is not in D0");
    ensure!(registers.read::<u32>(8) == alive, "its registers are others");
    let found = differences(&before, &hardware(&at.dev.bdf)?);
    ensure!(found.is_empty(), "{found:?}");
    Ok(String::new())
}

/// Mappings are not inherited: a child maps for itself and reads.
pub fn fault_in_own_mapping(at: &Attached) -> Result<i32> {
    let child = Child::run(|| match at.dev.mmap(0, 0, PAGE, true) {
        Ok(mapping) => {
            std::hint::black_box(mapping.read::<u32>(0));
            0
        }
        Err(_) => 100,
    })?;
    Ok(child.wait())
}

/// B1: a driver can probe the lengths of BARs, and what it writes there stays with it.
pub fn b01_bars_can_be_probed() -> Result<String> {
    let at = Attached::new(&nth(E1000E, 0)?)?;
    let before = hardware(&at.dev.bdf)?;
    let mut lengths = Vec::new();
    for index in 0..6 {
        let offset = BAR0 + 4 * u64::from(index);
        let old = at.dev.config(offset, 4)?;
        at.dev.write(REGION_CONFIG, offset, 4, u32::MAX)?;
        let probed = at.dev.config(offset, 4)?;
        at.dev.write(REGION_CONFIG, offset, 4, old)?;
        ensure!(at.dev.config(offset, 4)? == old, "BAR {index} keeps the probe");
        let flags = if old & 1 == 1 { 3 } else { 15 };
        let length = if probed == 0 {
            0
        } else {
            u64::from(!(probed & !flags)) + 1
        };
        let (region, _) = at.dev.region(index)?;
        ensure!(
            length == region.size,
            "BAR {index}: {length:#x} probed, {:#x} long",
            region.size
        );
        lengths.push(length);
    }
    // The ROM's BAR at 0x30, the subsystem at 0x2c, which the seed took for it.
    let subsystem = at.dev.config(0x2c, 4)?;
    at.dev.write(REGION_CONFIG, 0x2c, 4, u32::MAX)?;
    ensure!(
        at.dev.config(0x2c, 4)? == subsystem,
        "the subsystem id can be written"
    );
    at.dev.write(REGION_CONFIG, 0x30, 4, !0x7ff)?;
    let probed = at.dev.config(0x30, 4)? & !0x7ff;
    ensure!(
        u64::from(!probed) + 1 == at.dev.region(REGION_ROM)?.0.size,
        "the ROM's BAR probes as {probed:#x}"
    );
    let found = differences(&before, &hardware(&at.dev.bdf)?);
    ensure!(found.is_empty(), "it reached the hardware: {found:?}");
    Ok(format!("{lengths:x?}"))
}

/// B21: the look for PCI 2.3 interrupts leaves COMMAND as it was.
pub fn b21_command_is_as_it_was() -> Result<String> {
    let bdf = edu(true)?;
    host::unbind(&bdf)?;
    let command = |bytes: &[u8]| u16::from_le_bytes([bytes[4], bytes[5]]);
    host::bind(&bdf)?;
    let bound = command(&hardware(&bdf)?);
    host::unbind(&bdf)?;
    host::bind(&bdf)?;
    let again = command(&hardware(&bdf)?);
    ensure!(
        bound == again && bound & 4 == 0,
        "{bound:#06x}, then {again:#06x}"
    );
    // Interrupts that nobody asked for are off.
    ensure!(bound & 1 << 10 != 0, "INTx is not disabled: {bound:#06x}");
    Ok(format!("{bound:#06x}"))
}

/// B37: a function-level reset through configuration space is the module's: nothing is lost that it keeps.
pub fn b37_reset_through_configuration() -> Result<String> {
    let at = Attached::igb()?;
    let express = at.dev.capability(CAP_PCIE)?;
    let before = hardware(&at.dev.bdf)?;
    let event = Event::new()?;
    at.dev.set_eventfds(IRQ_MSIX, 0, &[event.fd()])?;
    at.dev.master(true)?;
    let registers = at.bar0()?;
    registers.write(0x5400, 0xdead_beef_u32);
    let control = at.dev.config(express + 8, 2)?;
    at.dev.write(REGION_CONFIG, express + 8, 2, control | 1 << 15)?;
    ensure!(
        at.dev.info()?.state == STATE_ATTACHED,
        "bus master is on after the reset"
    );
    ensure!(registers.read::<u32>(0x5400) != 0xdead_beef, "it was not reset");
    // The vector is still ours.
    at.dev.master(true)?;
    crate::devices::igb_enable_vectors(&registers);
    crate::devices::igb_raise(&registers, 0);
    event.wait(host::PATIENCE).context("the vector after the reset")?;
    at.dev.irqs_off(IRQ_MSIX)?;
    at.dev.master(false)?;
    let found = differences(&before, &hardware(&at.dev.bdf)?);
    ensure!(found.is_empty(), "{found:?}");
    // The seed's other path: memory decoding is not lost either.
    ensure!(at.dev.config(COMMAND, 2)? & MEMORY != 0);
    drop(registers);
    drop(at);
    let at = Attached::edu()?;
    at.dev.simple(DEV_RESET)?;
    ensure!(at.bar0()?.read::<u32>(edu_reg::ID) == EDU_ID);
    let _ = Dev::open(&at.dev.bdf);
    Ok(String::new())
}
