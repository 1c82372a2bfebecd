//! Every step that can fail fails once, and nothing of what came before it is left (B10, B11, B22, B27, B28).

use crate::abi::*;
use crate::devices::{E1000E, nth};
use crate::host;
use crate::sys::{Dev, Event, Ioas, Mapping, PAGE};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeSet;

const IOVA: u64 = 0x10_0000;
/// Two huge pages: each run that is mapped is a point, and the pages of ordinary memory lie anywhere.
const SIZE: u64 = 1024 * PAGE;
/// More failure points than the module has.
const MANY: u32 = 500;

/// Everything a process and the administrator do, from the first step to the last; the step that failed.
fn life(bdf: &str) -> std::result::Result<(), &'static str> {
    if !host::offer(bdf, "barline").unwrap_or(false) {
        return Err("bind");
    }
    let ioas = Ioas::new().map_err(|_| "address space")?;
    let dev = Dev::open(bdf).map_err(|_| "open")?;
    dev.attach(&ioas).map_err(|_| "attach")?;
    ioas.info().map_err(|_| "info")?;
    let memory = Mapping::huge(SIZE).map_err(|_| "memory")?;
    ioas.map(memory.va(), IOVA, SIZE).map_err(|_| "map")?;
    let registers = dev.mmap(0, 0, PAGE, true).map_err(|_| "registers")?;
    let event = Event::new().map_err(|_| "eventfd")?;
    dev.set_eventfds(IRQ_MSIX, 0, &[event.fd(); 4])
        .map_err(|_| "MSI-X")?;
    dev.set_eventfds(IRQ_MSIX, 2, &[-1, event.fd()])
        .map_err(|_| "MSI-X again")?;
    dev.set_eventfds(IRQ_REQ, 0, &[event.fd()]).map_err(|_| "REQ")?;
    dev.irqs_off(IRQ_MSIX).map_err(|_| "MSI-X off")?;
    dev.set_eventfds(IRQ_MSI, 0, &[event.fd()]).map_err(|_| "MSI")?;
    dev.irqs_off(IRQ_MSI).map_err(|_| "MSI off")?;
    dev.set_eventfds(IRQ_INTX, 0, &[event.fd()]).map_err(|_| "INTx")?;
    dev.policy().map_err(|_| "policy")?;
    dev.read(REGION_CONFIG, 0, 4).map_err(|_| "configuration")?;
    dev.read(0, 8, 4).map_err(|_| "register")?;
    dev.master(true).map_err(|_| "bus master")?;
    dev.simple(DEV_RESET).map_err(|_| "reset")?;
    drop(registers);
    ioas.unmap(IOVA, SIZE).map_err(|_| "unmap")?;
    dev.simple(DEV_DETACH).map_err(|_| "detach")?;
    dev.attach(&ioas).map_err(|_| "attach again")?;
    Ok(())
}

/// The walk: the n-th step fails, for n = 1 until none is left.
pub fn b10_b11_b28_every_step_fails_once() -> Result<String> {
    // It resets the fastest, and there are hundreds of resets.
    let bdf = nth(E1000E, 0)?;
    host::reload("barline-faults.ko", &["unplug_grace_ms=0"])?;
    let result = walk(&bdf);
    host::reload("barline.ko", &[])?;
    result
}

#[allow(clippy::print_stdout, reason = "the line is for the host")]
fn walk(bdf: &str) -> Result<String> {
    let mut failed = BTreeSet::new();
    for n in 1..MANY {
        // The host takes a guest that says nothing for dead.
        println!("STEP {n}");
        host::unbind(bdf)?;
        host::set_parameter("fail_nth", &n.to_string())?;
        let step = life(bdf);
        let left = host::parameter("fail_nth")?;
        host::set_parameter("fail_nth", "0")?;
        super::left_behind()
            .with_context(|| format!("after point {n}, at {step:?}: {}", host::last_line("failing")))?;
        let point = host::last_line("failing")
            .rsplit_once("failing: ")
            .map(|(_, point)| point.to_owned());
        if left != "0" {
            ensure!(step.is_ok(), "no step was to fail, and {step:?} did");
            ensure!(failed.len() > 20, "only {} points: {failed:?}", failed.len());
            host::unbind(bdf)?;
            host::rebind_native(bdf, "e1000e")?;
            return Ok(format!(
                "{} points: {}",
                failed.len(),
                failed.into_iter().collect::<Vec<_>>().join(", ")
            ));
        }
        // The next user finds the device in order, whatever failed. Each kind of failure once: another life follows anyway, and
        // the last one must be whole.
        if !point.is_some_and(|point| failed.insert(point)) {
            continue;
        }
        let next = crate::devices::Attached::new(bdf).with_context(|| format!("after point {n} failed"))?;
        next.bar0()?.read::<u32>(8);
        next.dev.set_eventfds(IRQ_MSIX, 0, &[-1])?;
    }
    bail!("{MANY} points, and no end")
}
