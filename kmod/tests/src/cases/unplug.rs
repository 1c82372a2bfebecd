//! The kernel wants the device back (R23, R24).

use super::lifetime::{must_be_bus_error, poller};
use crate::abi::*;
use crate::devices::{Attached, IGB, edu_reg, nth};
use crate::host::{self, PATIENCE};
use crate::sys::{Child, Event, Mapping, PAGE};
use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use std::path::Path;
use std::time::Instant;

/// R23: an unbind asks first, and is over when the process has closed, before the grace is.
pub fn r23_unbind_asks_first() -> Result<String> {
    host::set_parameter("unplug_grace_ms", "3600000")?;
    let at = Attached::edu()?;
    let bdf = at.dev.bdf.clone();
    let event = Event::new()?;
    at.dev.set_eventfds(IRQ_REQ, 0, &[event.fd()])?;
    at.dev.master(true)?;
    let registers = at.bar0()?;
    // A program of its own: a forked child would keep the descriptor open.
    let mut administrator = host::unbind_elsewhere(&bdf)?;
    event.wait(PATIENCE).context("REQ")?;
    // The device still works: the process can end in order.
    ensure!(
        registers.read::<u32>(edu_reg::ID) == crate::devices::EDU_ID,
        "the registers are gone already"
    );
    ensure!(
        !Path::new(&format!("/dev/barline/{bdf}")).exists(),
        "the node is still there"
    );
    drop(registers);
    drop(at);
    let status = administrator.wait()?;
    host::set_parameter("unplug_grace_ms", "1000")?;
    ensure!(status.success(), "the unbind ended with {status}");
    host::bind(&bdf)?;
    Ok(String::new())
}

/// R24: a process that does not listen is waited for as long as the grace says, and no longer.
pub fn r24_process_that_does_not_listen() -> Result<String> {
    const GRACE: u128 = 400;
    host::set_parameter("unplug_grace_ms", &GRACE.to_string())?;
    let at = Attached::edu()?;
    let bdf = at.dev.bdf.clone();
    let memory = Mapping::memory(PAGE)?;
    at.ioas.map(memory.va(), 0, PAGE)?;
    at.dev.master(true)?;
    let start = Instant::now();
    host::unbind(&bdf)?;
    let took = start.elapsed().as_millis();
    // It is over while the descriptor is still open: that is the point.
    ensure!(
        took >= GRACE,
        "revoked after {took} ms, before the grace of {GRACE} ms"
    );
    ensure!(at.dev.info().err() == Some(Errno::ENODEV));
    // What was mapped is still the address space's, and can be unmapped.
    ensure!(at.ioas.unmap(0, PAGE) == Ok(PAGE));
    host::set_parameter("unplug_grace_ms", "1000")?;
    host::bind(&bdf)?;
    let again = Attached::new(&bdf).context("open again while the old descriptor is there")?;
    ensure!(again.bar0()?.read::<u32>(edu_reg::ID) == crate::devices::EDU_ID);
    Ok(format!("{took} ms with a grace of {GRACE} ms"))
}

/// R23, R20: the administrator removes the function from the bus, from under a process that does not listen, and finds it again.
pub fn r23_removed_from_the_bus() -> Result<String> {
    host::set_parameter("unplug_grace_ms", "100")?;
    let at = Attached::edu()?;
    let bdf = at.dev.bdf.clone();
    let event = Event::new()?;
    at.dev.set_eventfds(IRQ_REQ, 0, &[event.fd()])?;
    at.dev.master(true)?;
    let flag = Mapping::memory(PAGE)?;
    let child = poller(&at, &flag)?;
    host::write(&host::sysfs(&bdf, "remove"), "1")?;
    must_be_bus_error(child)?;
    ensure!(event.take() > 0, "it was not asked");
    ensure!(
        !Path::new(&host::sysfs(&bdf, "")).exists(),
        "{bdf} is still there"
    );
    ensure!(at.dev.info().err() == Some(Errno::ENODEV));
    ensure!(at.dev.config(0, 4) == Err(Errno::ENODEV) && at.dev.read(0, 0, 4) == Err(Errno::ENODEV));
    host::write("/sys/bus/pci/rescan", "1")?;
    host::set_parameter("unplug_grace_ms", "1000")?;
    let again = Attached::new(&bdf).context("open again while the old descriptor is there")?;
    ensure!(again.bar0()?.read::<u32>(edu_reg::ID) == crate::devices::EDU_ID);
    Ok(bdf)
}

/// From here on lockdep does not look at the order of locks. pciehp, when a function goes, takes its `reset_lock` again under the
/// `pci_rescan_remove_lock` that it took under the former: 6.12 reports that of any function, bound to this module or to
/// nothing, and then ends all of its work. So these tests are the last.
fn pciehp_is_on_its_own() -> Result<()> {
    const PROVE: &str = "/proc/sys/kernel/prove_locking";
    if Path::new(PROVE).exists() {
        host::write(PROVE, "0")?;
    }
    Ok(())
}

/// Slot Control of a port, and in it power and indicator off, and the interrupt enable (PCI Express 5.0, 7.5.3.10; `linux/pci_regs.h`).
const CAP_PCIE: u8 = 0x10;
const SLOT_CONTROL: u64 = 0x18;
const SLOT_OFF: u16 = 1 << 10 | 3 << 8;
const SLOT_INTERRUPT: u16 = 1 << 5;

/// R23, R20: the device is gone, with its link, before anybody was asked. QEMU takes it out when its slot's power goes.
pub fn r23_surprise_removal() -> Result<String> {
    pciehp_is_on_its_own()?;
    // A device that is gone is not waited for.
    host::set_parameter("unplug_grace_ms", "3600000")?;
    let bdf = nth(IGB, 5)?;
    let at = Attached::new(&bdf)?;
    let port = host::port_of(&bdf)?;
    let (event, vector) = (Event::new()?, Event::new()?);
    at.dev.set_eventfds(IRQ_REQ, 0, &[event.fd()])?;
    crate::devices::igb_vectors(&at, &[&vector])?;
    let memory = Mapping::memory(PAGE)?;
    at.ioas.map(memory.va(), 0, PAGE)?;
    let flag = Mapping::memory(PAGE)?;
    let child = Child::run(|| match at.bar0() {
        Ok(registers) => loop {
            registers.read::<u32>(8);
            flag.write(0, 1_u32);
        },
        Err(_) => 1,
    })?;
    host::wait_until("the child polls", || flag.read::<u32>(0) == 1)?;
    let slot = host::capability(&port, CAP_PCIE)? + SLOT_CONTROL;
    // Out, and power on again before the port's driver hears of it: of a slot without power it expects nothing.
    let control = host::change_config(&port, slot, |control| control & !SLOT_INTERRUPT | SLOT_OFF)?;
    host::change_config(&port, slot, |_| control & !SLOT_INTERRUPT)?;
    host::change_config(&port, slot, |_| control)?;
    event.wait(PATIENCE).context("REQ")?;
    let code = child.wait();
    ensure!(code == -libc::SIGBUS, "the child's access ended with {code}");
    host::wait_until("the function is gone", || {
        !Path::new(&host::sysfs(&bdf, "")).exists()
    })?;
    host::set_parameter("unplug_grace_ms", "1000")?;
    ensure!(at.dev.info().err() == Some(Errno::ENODEV));
    ensure!(at.dev.config(0, 4) == Err(Errno::ENODEV) && at.dev.read(0, 0, 4) == Err(Errno::ENODEV));
    ensure!(at.ioas.unmap(0, PAGE) == Ok(PAGE));
    let how = host::last_line(&format!("pcieport {port}"));
    ensure!(
        host::dmesg().contains("Card not present") || host::dmesg().contains("Link Down"),
        "not a surprise: {how}"
    );
    Ok(format!("{bdf} behind {port}"))
}

/// R23: the hypervisor takes the device out. The host does it when it reads UNPLUG.
#[allow(clippy::print_stdout, reason = "the line is for the host")]
pub fn r23_hot_unplug() -> Result<String> {
    pciehp_is_on_its_own()?;
    host::set_parameter("unplug_grace_ms", "1000")?;
    let bdf = nth(IGB, 4)?;
    let at = Attached::new(&bdf)?;
    let event = Event::new()?;
    at.dev.set_eventfds(IRQ_REQ, 0, &[event.fd()])?;
    at.dev.master(true)?;
    let flag = Mapping::memory(PAGE)?;
    let child = Child::run(|| match at.bar0() {
        Ok(registers) => loop {
            registers.read::<u32>(8);
            flag.write(0, 1_u32);
        },
        Err(_) => 1,
    })?;
    host::wait_until("the child polls", || flag.read::<u32>(0) == 1)?;
    println!("UNPLUG");
    event.wait(PATIENCE).context("REQ")?;
    let code = child.wait();
    ensure!(code == -libc::SIGBUS, "the child's access ended with {code}");
    host::wait_until("the function is gone", || {
        !Path::new(&host::sysfs(&bdf, "")).exists()
    })?;
    ensure!(at.dev.info().err() == Some(Errno::ENODEV));
    Ok(bdf)
}
