//! The kernel's own fault injection (fault-injection.rst): one allocation, or one copy from or to the process, fails, whoever makes
//! it: where `faults` fails the module's own steps, this fails what they call.

use crate::abi::*;
use crate::devices::{IGB, nth};
use crate::host;
use crate::sys::{Dev, Event, Ioas, Mapping, PAGE, Sys, ioctl};
use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use std::fs::File;
use std::os::unix::fs::FileExt;

const DEBUG: &str = "/sys/kernel/debug";
const IOVA: u64 = 0x10_0000;
/// More allocations and copies than a call makes.
const MANY: u32 = 2_000;

/// This thread's trigger.
struct Trigger(File);

impl Trigger {
    /// Allocations that may wait fail too, of all caches; in silence, since a trace would be taken for a fault.
    fn new() -> Result<Self> {
        for (file, value) in [
            ("failslab/ignore-gfp-wait", "N"),
            ("failslab/cache-filter", "N"),
            ("failslab/verbose", "0"),
            ("fail_page_alloc/ignore-gfp-wait", "N"),
            ("fail_page_alloc/min-order", "0"),
            ("fail_page_alloc/verbose", "0"),
            ("fail_usercopy/verbose", "0"),
        ] {
            host::write(&format!("{DEBUG}/{file}"), value)?;
        }
        let path = "/proc/thread-self/fail-nth";
        let file = File::options().read(true).write(true).open(path);
        Ok(Self(file.with_context(|| format!("no {path}"))?))
    }

    fn set(&self, n: u32) -> Result<()> {
        // Taking the number is a copy too, which may be the one that fails.
        for _ in 0..3 {
            if self.0.write_all_at(n.to_string().as_bytes(), 0).is_ok() {
                return Ok(());
            }
        }
        bail!("fail-nth does not take {n}")
    }

    /// Runs `call` with the n-th allocation or copy of the kernel failing; whether there was one.
    fn pull<T>(&self, n: u32, call: impl FnOnce() -> Sys<T>) -> Result<(bool, Sys<T>)> {
        let mut left = [b'x'];
        self.set(n)?;
        let result = call();
        // So is telling it: then there was none before.
        let read = self.0.read_at(&mut left, 0);
        self.set(0)?;
        Ok((read.is_ok() && left == *b"0", result))
    }

    /// Fails one after the other until none is left. Whatever happened, `undo` is told; in the end the call must work.
    #[allow(clippy::print_stdout, reason = "the line is for the host")]
    fn walk<T>(
        &self,
        name: &str,
        mut call: impl FnMut() -> Sys<T>,
        mut undo: impl FnMut(Sys<T>) -> Result<()>,
    ) -> Result<String> {
        const ALLOWED: [Errno; 4] = [Errno::ENOMEM, Errno::EFAULT, Errno::ENOSPC, Errno::EBUSY];
        undo(call()).with_context(|| format!("{name} without a failure"))?;
        for n in 1..MANY {
            let (failed, result) = self.pull(n, &mut call)?;
            let worked = result.is_ok();
            if let Err(error) = &result {
                ensure!(failed, "{name}: {error} without a failure");
                ensure!(ALLOWED.contains(error), "{name}: {error} at failure {n}");
            }
            undo(result).with_context(|| format!("{name} after failure {n}"))?;
            // The host takes a guest that says nothing for dead.
            if n % 16 == 0 {
                println!("STEP {name} {n}");
            }
            if !failed {
                // Whatever failed before it, the call without a failure works.
                ensure!(worked, "{name} does not work any more");
                ensure!(n > 1, "{name}: nothing can fail");
                return Ok(format!("{name} {}", n - 1));
            }
        }
        bail!("{name}: {MANY} failures, and no end")
    }
}

/// B10, B28: each call of a process's life, with everything in it failing that can.
pub fn b10_b28_allocations_and_copies_fail() -> Result<String> {
    let trigger = Trigger::new()?;
    let bdf = nth(IGB, 0)?;
    host::bind(&bdf)?;
    let none = |_: Sys<()>| Ok(());
    let mut seen = vec![
        trigger.walk(
            "address space",
            || crate::sys::open(crate::sys::IOMMU_NODE),
            |_| Ok(()),
        )?,
        trigger.walk("open", || Dev::open(&bdf), |_| Ok(()))?,
    ];
    let (ioas, dev) = (Ioas::new()?, Dev::open(&bdf)?);
    let attached = |result: Sys<()>| match result {
        Ok(()) => Ok(dev.simple(DEV_DETACH)?),
        Err(_) => {
            ensure!(dev.info()?.state == STATE_OPEN, "half attached");
            Ok(())
        }
    };
    seen.push(trigger.walk("attach", || dev.attach(&ioas), attached)?);
    dev.attach(&ioas)?;
    seen.push(trigger.walk("info", || dev.info().map(drop), none)?);
    seen.push(trigger.walk(
        "region",
        || ioctl(dev.fd(), DEV_REGION_INFO, &mut RegionInfo::new()),
        none,
    )?);
    let memory = Mapping::memory(64 * PAGE)?;
    let size = memory.len;
    let unmapped = |result: Sys<()>| {
        let expected = result.map_or(Err(Errno::ENOENT), |()| Ok(size));
        let found = ioas.unmap(IOVA, size);
        ensure!(
            found == expected || (expected.is_err() && found.is_err()),
            "{found:?}"
        );
        ensure!(host::pinned_pages()? == 0, "pages stay pinned");
        Ok(())
    };
    seen.push(trigger.walk("map", || ioas.map(memory.va(), IOVA, size), unmapped)?);
    // Not the device's interrupts: the kernel warns of its own files in /proc, which it then has not made. `faults` fails the
    // module's steps there.
    let event = Event::new()?;
    let off = |_: Sys<i32>| Ok(dev.irqs_off(IRQ_REQ)?);
    seen.push(trigger.walk("events", || dev.set_eventfds(IRQ_REQ, 0, &[event.fd()]), off)?);
    seen.push(trigger.walk("configuration", || dev.config(0x40, 4).map(drop), none)?);
    seen.push(trigger.walk("register", || dev.read(0, 8, 4).map(drop), none)?);
    seen.push(trigger.walk("mapping", || dev.mmap(0, 0, PAGE, true).map(drop), none)?);
    dev.master(true)?;
    seen.push(trigger.walk("reset", || dev.simple(DEV_RESET), none)?);
    drop((dev, ioas));
    super::left_behind()?;
    host::unbind(&bdf)?;
    host::rebind_native(&bdf, "igb")?;
    host::bind(&bdf)?;
    Ok(seen.join(", "))
}
