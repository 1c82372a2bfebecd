//! The kernel wants the device back (R23, R24).

use super::lifetime::{must_be_bus_error, poller};
use crate::abi::*;
use crate::devices::{Attached, IGB, edu_in_a_slot, edu_reg, nth};
use crate::host::{self, PATIENCE};
use crate::sys::{Child, Event, Mapping, PAGE};
use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use std::fs;
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

/// Slot Control of a port, and in it power and indicator off, and the interrupt enable (PCI Express 5.0, 7.5.3.10; `linux/pci_regs.h`).
const CAP_PCIE: u8 = 0x10;
const SLOT_CONTROL: u64 = 0x18;
const SLOT_OFF: u16 = 1 << 10 | 3 << 8;
const SLOT_INTERRUPT: u16 = 1 << 5;

/// Takes a device out of its slot, with its link, before anybody is asked: QEMU does so when the slot's power goes. Power is on
/// again before the port's driver hears of it: of a slot without power it expects nothing.
fn pull(port: &str) -> Result<()> {
    let slot = host::capability(port, CAP_PCIE)? + SLOT_CONTROL;
    let control = host::change_config(port, slot, |control| control & !SLOT_INTERRUPT | SLOT_OFF)?;
    host::change_config(port, slot, |_| control & !SLOT_INTERRUPT)?;
    host::change_config(port, slot, |_| control)?;
    Ok(())
}

/// That the port's driver has taken the function from the bus, and takes it for pulled out.
fn was_pulled(bdf: &str, port: &str) -> Result<()> {
    host::wait_until("the function is gone", || {
        !Path::new(&host::sysfs(bdf, "")).exists()
    })?;
    let how = host::last_line(&format!("pcieport {port}"));
    ensure!(
        host::dmesg().contains("Card not present") || host::dmesg().contains("Link Down"),
        "not a surprise: {how}"
    );
    Ok(())
}

/// No point of the review: what the kernel itself reports when a function that nothing drives is pulled out, with the module not
/// loaded. The host compares.
pub fn r23_pulled_out_without_the_module() -> Result<String> {
    ensure!(!host::is_loaded(), "the module is loaded");
    let bdf = nth(IGB, 5)?;
    let port = host::port_of(&bdf)?;
    host::unbind(&bdf)?;
    pull(&port)?;
    was_pulled(&bdf, &port)?;
    Ok(bdf)
}

/// R23, R20: the device is gone, with its link, before anybody was asked.
pub fn r23_surprise_removal() -> Result<String> {
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
    pull(&port)?;
    event.wait(PATIENCE).context("REQ")?;
    let code = child.wait();
    ensure!(code == -libc::SIGBUS, "the child's access ended with {code}");
    was_pulled(&bdf, &port)?;
    host::set_parameter("unplug_grace_ms", "1000")?;
    ensure!(at.dev.info().err() == Some(Errno::ENODEV));
    ensure!(at.dev.config(0, 4) == Err(Errno::ENODEV) && at.dev.read(0, 0, 4) == Err(Errno::ENODEV));
    ensure!(at.ioas.unmap(0, PAGE) == Ok(PAGE));
    Ok(format!("{bdf} behind {port}"))
}

/// Whether a port's driver has got its button's message and now waits to take functions from the bus.
fn slot_waits() -> bool {
    let threads = fs::read_dir("/proc").into_iter().flatten().flatten();
    threads.map(|thread| thread.path()).any(|thread| {
        let read = |name: &str| fs::read_to_string(thread.join(name)).unwrap_or_default();
        read("comm").contains("pciehp") && read("stack").contains("pciehp_unconfigure_device")
    })
}

/// R23: the administrator removes a function from the bus, and meanwhile the button of its slot is pressed. The slot's driver now
/// holds its `reset_lock` and wants the lock of the removal, which waits for the process: neither may wait for `reset_lock`.
/// The device has no reset but its slot's, so that with such a reset this never ends.
#[allow(clippy::print_stdout, reason = "the line is for the host")]
pub fn r23_removed_while_its_slot_has_an_event() -> Result<String> {
    host::reload("barline.ko", &["allow_noreset=1", "unplug_grace_ms=3600000"])?;
    let at = Attached::new(&edu_in_a_slot()?)?;
    let bdf = at.dev.bdf.clone();
    let event = Event::new()?;
    at.dev.set_eventfds(IRQ_REQ, 0, &[event.fd()])?;
    at.dev.master(true)?;
    let mut administrator = host::remove_elsewhere(&bdf)?;
    event.wait(PATIENCE).context("REQ")?;
    println!("UNPLUG button");
    host::wait_until("the slot's driver waits", slot_waits)?;
    let reset = at.dev.simple(DEV_RESET);
    ensure!(reset == Err(Errno::ENOTTY), "a reset: {reset:?}");
    drop(at);
    let status = administrator.wait()?;
    ensure!(status.success(), "the removal ended with {status}");
    host::wait_until("the slot's driver is done", || !slot_waits())?;
    host::reload("barline.ko", &[])?;
    Ok(bdf)
}

/// R23: the hypervisor takes the device out. The host does it when it reads UNPLUG.
#[allow(clippy::print_stdout, reason = "the line is for the host")]
pub fn r23_hot_unplug() -> Result<String> {
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
    println!("UNPLUG hot");
    event.wait(PATIENCE).context("REQ")?;
    let code = child.wait();
    ensure!(code == -libc::SIGBUS, "the child's access ended with {code}");
    host::wait_until("the function is gone", || {
        !Path::new(&host::sysfs(&bdf, "")).exists()
    })?;
    ensure!(at.dev.info().err() == Some(Errno::ENODEV));
    Ok(bdf)
}
