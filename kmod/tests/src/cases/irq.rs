//! Interrupts.

use crate::abi::*;
use crate::devices::{
    Attached, E1000E, EDU_ID, edu_reg, igb_enable_vectors, igb_raise, igb_vectors, moment, nth,
};
use crate::host::{self, PATIENCE};
use crate::sys::{Child, Event, PAGE, ioctl};
use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use std::fs;

/// R8, B13: vectors that do not exist are refused before anything is allocated for them.
pub fn r08_vectors_are_bounded() -> Result<String> {
    let at = Attached::igb()?;
    let total = at.dev.irqs(IRQ_MSIX)?;
    ensure!((1..=2048).contains(&total), "{total} vectors");
    let fds = [-1_i32; 1];
    for (start, count) in [
        (0, u32::MAX),
        (u32::MAX, 2),
        (total, 1),
        (0, total + 1),
        (1, total),
        (u32::MAX, 1),
    ] {
        let mut arg = SetIrqs {
            flags: DATA_EVENTFD | TRIGGER,
            index: IRQ_MSIX,
            start,
            count,
            data_ptr: fds.as_ptr() as u64,
            ..SetIrqs::new()
        };
        let refused = ioctl(at.dev.fd(), DEV_SET_IRQS, &mut arg);
        ensure!(refused == Err(Errno::EINVAL), "{count} from {start}: {refused:?}");
    }
    for index in [6, 7, u32::MAX] {
        let refused = at.dev.irqs_off(index);
        ensure!(refused == Err(Errno::EINVAL), "index {index}: {refused:?}");
    }
    // B12: all of them, and the answer is 0, not a number of vectors.
    let event = Event::new()?;
    let all = vec![event.fd(); total as usize];
    let set = at.dev.set_eventfds(IRQ_MSIX, 0, &all);
    ensure!(set == Ok(0), "all {total}: {set:?}");
    Ok(format!("{total} vectors"))
}

/// R9: a vector keeps its events while another one is set, changed and cleared.
pub fn r09_vectors_do_not_disturb_each_other() -> Result<String> {
    const ROUNDS: u64 = 1_000;
    let at = Attached::igb()?;
    let registers = at.bar0()?;
    let (zero, one) = (Event::new()?, Event::new()?);
    igb_vectors(&at, &[&zero, &one])?;
    igb_enable_vectors(&registers);
    let mut seen = 0;
    for round in 0..ROUNDS {
        igb_raise(&registers, 0);
        let fd = [one.fd(), -1][round as usize % 2];
        at.dev.set_eventfds(IRQ_MSIX, 1, &[fd])?;
        seen += zero.wait(PATIENCE).with_context(|| format!("round {round}"))?;
    }
    ensure!(seen == ROUNDS, "{seen} events of {ROUNDS}");
    at.dev.set_eventfds(IRQ_MSIX, 1, &[one.fd()])?;
    one.take();
    igb_raise(&registers, 1);
    one.wait(PATIENCE).context("vector 1 afterwards")?;
    Ok(format!("{ROUNDS} events"))
}

/// B5, B10, B11: a descriptor that is no eventfd fails the call and changes nothing.
pub fn b05_not_an_eventfd() -> Result<String> {
    let at = Attached::igb()?;
    let registers = at.bar0()?;
    let event = Event::new()?;
    let zero = crate::sys::open("/dev/zero")?;
    let file = std::os::fd::AsRawFd::as_raw_fd(&zero);
    for index in [IRQ_MSIX, IRQ_REQ] {
        for fds in [[file], [9999], [-2]] {
            let refused = at.dev.set_eventfds(index, 0, &fds);
            ensure!(
                matches!(refused, Err(Errno::EINVAL | Errno::EBADF)),
                "{fds:?}: {refused:?}"
            );
        }
    }
    igb_vectors(&at, &[&event, &event])?;
    igb_enable_vectors(&registers);
    let refused = at.dev.set_eventfds(IRQ_MSIX, 0, &[-1, file]);
    ensure!(refused.is_err(), "one of two is no eventfd: {refused:?}");
    igb_raise(&registers, 0);
    event.wait(PATIENCE).context("vector 0 keeps its eventfd")?;
    Ok(String::new())
}

/// B6, B8: eventfds are replaced and dropped while interrupts arrive.
pub fn b06_replace_under_load() -> Result<String> {
    let rounds = 100 * host::rounds();
    let at = Attached::igb()?;
    let registers = at.bar0()?;
    igb_vectors(&at, &[&Event::new()?])?;
    igb_enable_vectors(&registers);
    let storm = Child::run(|| match at.bar0() {
        Ok(registers) => loop {
            igb_raise(&registers, 0);
        },
        Err(_) => 1,
    })?;
    for _ in 0..rounds {
        let event = Event::new()?;
        let set = at.dev.set_eventfds(IRQ_MSIX, 0, &[event.fd()]);
        ensure!(set == Ok(0), "{set:?}");
    }
    let last = Event::new()?;
    at.dev.set_eventfds(IRQ_MSIX, 0, &[last.fd()])?;
    last.wait(PATIENCE)?;
    storm.signal(libc::SIGKILL);
    let code = storm.wait();
    ensure!(code == -libc::SIGKILL, "the storm ended with {code}");
    Ok(format!("{rounds} replacements"))
}

/// B7, B8: closing with each kind of interrupt on, and interrupts under way.
pub fn b07_b08_close_with_interrupts_on() -> Result<String> {
    let rounds = host::rounds();
    for _ in 0..rounds {
        for kind in [IRQ_INTX, IRQ_MSI] {
            let at = Attached::edu()?;
            let event = Event::new()?;
            at.dev.set_eventfds(kind, 0, &[event.fd()])?;
            at.dev.set_eventfds(IRQ_REQ, 0, &[event.fd()])?;
            at.dev.master(true)?;
            let registers = at.bar0()?;
            registers.write(edu_reg::RAISE, 1_u32);
            drop(registers);
            drop(at);
        }
    }
    let at = Attached::edu()?;
    ensure!(at.bar0()?.read::<u32>(edu_reg::ID) == EDU_ID);
    drop(at);
    off_under_load(5 * rounds)?;
    Ok(format!("{} times", 2 * rounds))
}

/// Switches interrupts off while they arrive. The module has the last reference to their eventfd: what a handler does with it
/// after that is done with freed memory.
fn off_under_load(rounds: u32) -> Result<()> {
    const VECTORS: u32 = 4;
    let at = Attached::igb()?;
    let registers = at.bar0()?;
    igb_enable_vectors(&registers);
    let storm = Child::run(|| match at.bar0() {
        Ok(registers) => loop {
            for vector in 0..VECTORS {
                igb_raise(&registers, vector);
            }
        },
        Err(_) => 1,
    })?;
    for round in 0..rounds {
        let event = Event::new()?;
        igb_vectors(&at, &[&event; VECTORS as usize])?;
        event.wait(PATIENCE).with_context(|| format!("round {round}"))?;
        drop(event);
        at.dev.irqs_off(IRQ_MSIX)?;
    }
    storm.signal(libc::SIGKILL);
    let code = storm.wait();
    ensure!(code == -libc::SIGKILL, "the storm ended with {code}");
    Ok(())
}

/// B9: one kind at a time, and a kind that is not there is an error, not a handler on another line.
pub fn b09_modes_exclude_each_other() -> Result<String> {
    let at = Attached::new(&nth(E1000E, 0)?)?;
    let event = Event::new()?;
    for (one, others) in [
        (IRQ_INTX, [IRQ_MSI, IRQ_MSIX]),
        (IRQ_MSI, [IRQ_INTX, IRQ_MSIX]),
        (IRQ_MSIX, [IRQ_INTX, IRQ_MSI]),
    ] {
        at.dev
            .set_eventfds(one, 0, &[event.fd()])
            .with_context(|| format!("kind {one}"))?;
        for other in others {
            let refused = at.dev.set_eventfds(other, 0, &[event.fd()]);
            ensure!(refused == Err(Errno::EBUSY), "{other} beside {one}: {refused:?}");
        }
        at.dev.irqs_off(one)?;
    }
    drop(at);
    let at = Attached::edu()?;
    ensure!(at.dev.irqs(IRQ_MSIX)? == 0, "edu has MSI-X");
    let refused = at.dev.set_eventfds(IRQ_MSIX, 0, &[event.fd()]);
    ensure!(
        refused == Err(Errno::EINVAL),
        "a kind that is not there: {refused:?}"
    );
    // MSI works, through DMA of the device: bus master must be on.
    at.dev.set_eventfds(IRQ_MSI, 0, &[event.fd()])?;
    at.dev.master(true)?;
    let registers = at.bar0()?;
    registers.write(edu_reg::RAISE, 1_u32);
    event.wait(PATIENCE).context("MSI")?;
    registers.write(edu_reg::ACKNOWLEDGE, 1_u32);
    Ok(String::new())
}

/// Lines of /proc/interrupts that are ours.
fn our_lines() -> Result<Vec<String>> {
    let text = fs::read_to_string("/proc/interrupts")?;
    Ok(text
        .lines()
        .filter(|line| line.contains("barline"))
        .map(str::to_owned)
        .collect())
}

/// B14: no interrupt is taken at bind or open, and none is kept.
pub fn b14_no_interrupt_before_it_is_asked_for() -> Result<String> {
    let at = Attached::igb()?;
    ensure!(our_lines()?.is_empty(), "{:?}", our_lines()?);
    igb_vectors(&at, &[&Event::new()?, &Event::new()?, &Event::new()?])?;
    let lines = our_lines()?;
    ensure!(
        lines.len() == 3 && lines.iter().all(|line| line.contains(&at.dev.bdf)),
        "{lines:?}"
    );
    at.dev.irqs_off(IRQ_MSIX)?;
    ensure!(our_lines()?.is_empty(), "kept: {:?}", our_lines()?);
    igb_vectors(&at, &[&Event::new()?])?;
    drop(at);
    ensure!(our_lines()?.is_empty(), "kept after close: {:?}", our_lines()?);
    Ok(String::new())
}

/// INTx: masked when it fires, signalled again when it is unmasked and still raised.
pub fn f12_intx() -> Result<String> {
    let at = Attached::edu()?;
    ensure!(at.dev.irqs(IRQ_INTX)? == 1, "no INTx");
    let registers = at.dev.mmap(0, 0, PAGE, true)?;
    let event = Event::new()?;
    at.dev.set_eventfds(IRQ_INTX, 0, &[event.fd()])?;
    moment();
    ensure!(event.take() == 0, "an event before an interrupt");
    registers.write(edu_reg::RAISE, 1_u32);
    event.wait(PATIENCE).context("the first")?;
    moment();
    ensure!(event.take() == 0, "it is not masked");
    at.dev.irq_action(IRQ_INTX, UNMASK, 0, 1)?;
    event.wait(PATIENCE).context("still raised")?;
    registers.write(edu_reg::ACKNOWLEDGE, 1_u32);
    at.dev.irq_action(IRQ_INTX, UNMASK, 0, 1)?;
    moment();
    event.take();
    registers.write(edu_reg::RAISE, 2_u32);
    event.wait(PATIENCE).context("after the acknowledgement")?;
    registers.write(edu_reg::ACKNOWLEDGE, 2_u32);
    at.dev.irqs_off(IRQ_INTX)?;
    host::wait_until("the line is free", || {
        our_lines().is_ok_and(|lines| lines.is_empty())
    })?;
    Ok(String::new())
}
