//! Mappings of registers and the life of the device (R20).

use crate::abi::*;
use crate::devices::{Attached, edu_reg};
use crate::host;
use crate::sys::{Child, Event, Mapping, PAGE};
use anyhow::{Context, Result, ensure};
use nix::errno::Errno;

/// A process that polls the registers for ever, and has told that it does.
pub(super) fn poller(at: &Attached, flag: &Mapping) -> Result<Child> {
    flag.write(0, 0_u32);
    let child = Child::run(|| match at.bar0() {
        Ok(registers) => loop {
            if registers.read::<u32>(edu_reg::ID) == u32::MAX {
                return 7;
            }
            flag.write(0, 1_u32);
        },
        Err(_) => 100,
    })?;
    host::wait_until("the child polls", || flag.read::<u32>(0) == 1)?;
    Ok(child)
}

/// Ends a poller that should have been ended by the loss of its mapping.
pub(super) fn must_be_bus_error(child: Child) -> Result<()> {
    let code = child.wait();
    ensure!(
        code == -libc::SIGBUS,
        "the access ended with {code} instead of SIGBUS"
    );
    Ok(())
}

/// R20: unbinding takes the mapping from a process in the middle of an access; nothing of the device is left to reach.
pub fn r20_unbind_under_a_mapping() -> Result<String> {
    host::set_parameter("unplug_grace_ms", "200")?;
    let at = Attached::edu()?;
    let bdf = at.dev.bdf.clone();
    let flag = Mapping::memory(PAGE)?;
    let child = poller(&at, &flag)?;
    host::unbind(&bdf)?;
    must_be_bus_error(child)?;
    ensure!(at.dev.info().err() == Some(Errno::ENODEV), "{:?}", at.dev.info());
    ensure!(at.dev.read(0, 0, 4) == Err(Errno::ENODEV) && at.dev.config(0, 4) == Err(Errno::ENODEV));
    ensure!(at.dev.mmap(0, 0, PAGE, true).err() == Some(Errno::ENODEV));
    let mut poll = libc::pollfd {
        fd: at.dev.fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one pollfd.
    let ready = unsafe { libc::poll(&mut poll, 1, 0) };
    ensure!(
        ready == 1 && poll.revents & libc::POLLHUP != 0,
        "poll: {ready}, {:#x}",
        poll.revents
    );
    // The function is free for another while our descriptor is still open.
    host::bind(&bdf)?;
    Ok(String::new())
}

/// R20: a detach takes mappings away; after an attach they are back.
pub fn r20_detach_takes_mappings() -> Result<String> {
    let at = Attached::edu()?;
    let flag = Mapping::memory(PAGE)?;
    let registers = at.bar0()?;
    let child = poller(&at, &flag)?;
    at.dev.simple(DEV_DETACH)?;
    must_be_bus_error(child)?;
    at.dev.attach(&at.ioas)?;
    ensure!(
        registers.read::<u32>(edu_reg::ID) == crate::devices::EDU_ID,
        "the mapping is not back"
    );
    // A reset takes them and gives them back: nobody notices.
    let child = poller(&at, &flag)?;
    at.dev.simple(DEV_RESET)?;
    flag.write(0, 0_u32);
    host::wait_until("the child still polls", || flag.read::<u32>(0) == 1)?;
    child.signal(libc::SIGKILL);
    ensure!(child.wait() == -libc::SIGKILL);
    Ok(String::new())
}

/// R20, W2: memory decoding off takes mappings before the device stops to answer.
pub fn r20_decoding_off_takes_mappings() -> Result<String> {
    let at = Attached::edu()?;
    let flag = Mapping::memory(PAGE)?;
    let registers = at.bar0()?;
    let child = poller(&at, &flag)?;
    let command = at.dev.config(4, 2)?;
    at.dev.write(REGION_CONFIG, 4, 2, command & !2)?;
    must_be_bus_error(child)?;
    let refused = at.dev.read(0, 0, 4);
    ensure!(refused.is_err(), "read: {refused:?}");
    // The kernel itself can still set interrupts up: it decodes for as long as that takes.
    at.dev.set_eventfds(IRQ_MSI, 0, &[Event::new()?.fd()])?;
    ensure!(at.dev.config(4, 2)? & 2 == 0, "decoding is on again");
    at.dev.write(REGION_CONFIG, 4, 2, command)?;
    ensure!(
        registers.read::<u32>(edu_reg::ID) == crate::devices::EDU_ID,
        "the mapping is not back"
    );
    Ok(String::new())
}

/// R20: map, close, unbind, use the mapping: the device stays with the mapping, and goes with the unbind.
pub fn r20_close_under_a_mapping() -> Result<String> {
    host::set_parameter("unplug_grace_ms", "200")?;
    let flag = Mapping::memory(PAGE)?;
    let bdf = crate::devices::edu(true)?;
    let name = bdf.clone();
    let child = Child::run(|| {
        let Ok(at) = Attached::new(&name) else { return 1 };
        let Ok(registers) = at.bar0() else { return 2 };
        drop(at);
        loop {
            registers.read::<u32>(edu_reg::ID);
            flag.write(0, 1_u32);
        }
    })?;
    host::wait_until("the child uses its mapping", || flag.read::<u32>(0) == 1)?;
    let busy = crate::sys::Dev::open(&bdf).err();
    ensure!(busy == Some(Errno::EBUSY), "open while it is mapped: {busy:?}");
    host::unbind(&bdf)?;
    must_be_bus_error(child)?;
    host::bind(&bdf).context("bound again")?;
    Ok(String::new())
}

/// With the flag for it, a revoked mapping reads as all ones, as hardware that is gone does.
pub fn r20_revoked_mapping_of_ones() -> Result<String> {
    host::set_parameter("unplug_grace_ms", "200")?;
    let at = Attached::edu()?;
    let bdf = at.dev.bdf.clone();
    let registers = at.dev.mmap_at(MMAP_REVOKE_ONES, PAGE, true)?;
    ensure!(registers.read::<u32>(edu_reg::ID) == crate::devices::EDU_ID);
    host::unbind(&bdf)?;
    ensure!(
        registers.read::<u32>(edu_reg::ID) == u32::MAX,
        "{:#x}",
        registers.read::<u32>(edu_reg::ID)
    );
    // A write faults as little as a read; it reaches a page of the process's own.
    registers.write(edu_reg::LIVENESS, 1_u32);
    drop(registers);
    drop(at);
    host::bind(&bdf)?;
    Ok(String::new())
}
