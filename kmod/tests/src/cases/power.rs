//! Suspend and resume of the machine (R25).

use crate::abi::*;
use crate::devices::{Attached, EDU_ID, edu_reg};
use crate::host::{self, PATIENCE};
use crate::sys::{Child, Event};
use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use std::fs;

const STATE: &str = "/sys/power/state";
const TEST: &str = "/sys/power/pm_test";

/// One cycle: the process is asked, acknowledges, sleeps, is told, and has no registers until it says that it knows.
fn cycle(at: &Attached) -> Result<()> {
    let event = Event::new()?;
    at.dev.set_eventfds(IRQ_PM, 0, &[event.fd()])?;
    at.dev.master(true)?;
    let registers = at.bar0()?;
    let sleeper = Child::run(|| i32::from(fs::write(STATE, "mem").is_err()))?;
    event.wait(PATIENCE).context("no word of the suspend")?;
    ensure!(at.dev.info()?.pm_event == PM_SUSPEND, "{:?}", at.dev.info()?);
    ensure!(
        registers.read::<u32>(edu_reg::ID) == EDU_ID,
        "no registers before the acknowledgement"
    );
    ensure!(
        at.dev.pm_ack(PM_RESUME) == Err(Errno::EINVAL),
        "the wrong event is acknowledged"
    );
    at.dev.pm_ack(PM_SUSPEND)?;
    event.wait(PATIENCE).context("no word of the resume")?;
    let info = at.dev.info()?;
    ensure!(
        info.pm_event == PM_RESUME && info.state == STATE_WOKEN_ATTACHED,
        "{info:?}"
    );
    let refused = at.dev.read(0, 0, 4);
    ensure!(
        refused == Err(Errno::EBUSY),
        "a read before the acknowledgement: {refused:?}"
    );
    let code = super::config::fault_in_own_mapping(at)?;
    ensure!(
        code == -libc::SIGBUS || code == 100,
        "an access before the acknowledgement ended with {code}"
    );
    at.dev.pm_ack(PM_RESUME)?;
    ensure!(
        registers.read::<u32>(edu_reg::ID) == EDU_ID,
        "the mapping is not back"
    );
    let info = at.dev.info()?;
    ensure!(
        info.state == STATE_ATTACHED && at.dev.config(4, 2)? & 4 == 0,
        "bus master is on: {info:?}"
    );
    let code = sleeper.wait();
    ensure!(code == 0, "the suspend failed: {}", host::last_line("PM:"));
    Ok(())
}

/// With the kernel's own test of suspend: devices sleep, and the platform's part runs, but the machine wakes by itself.
pub fn r25_suspend_is_announced() -> Result<String> {
    host::set_parameter("pm_grace_ms", "30000")?;
    let at = Attached::edu()?;
    for level in ["devices", "platform"] {
        fs::write(TEST, level).context("no pm_test")?;
        let result = cycle(&at).context(level);
        fs::write(TEST, "none")?;
        result?;
    }
    // A process that does not answer is not waited for longer than the grace, and a closed device needs nobody.
    host::set_parameter("pm_grace_ms", "100")?;
    let event = Event::new()?;
    at.dev.set_eventfds(IRQ_PM, 0, &[event.fd()])?;
    fs::write(TEST, "freezer")?;
    let slept = fs::write(STATE, "mem");
    fs::write(TEST, "none")?;
    slept.context("a process that does not answer stops the suspend")?;
    ensure!(event.take() > 0, "it was not told");
    at.dev
        .pm_ack(PM_RESUME)
        .context("called off before the device slept")?;
    ensure!(at.bar0()?.read::<u32>(edu_reg::ID) == EDU_ID);
    host::set_parameter("pm_grace_ms", "1000")?;
    Ok(String::new())
}
