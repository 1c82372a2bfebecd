//! Suspend and resume of the machine (R25).

use super::dma::{IOVA, write_page};
use crate::abi::*;
use crate::devices::{Attached, EDU_ID, edu_reg, igb_enable_vectors, igb_raise, igb_vectors};
use crate::host::{self, PATIENCE};
use crate::sys::{Child, Event, Mapping, PAGE};
use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use std::fs;

const STATE: &str = "/sys/power/state";
const TEST: &str = "/sys/power/pm_test";
/// Seconds that a test of the kernel's lasts before the machine wakes; 5 unless set.
const TEST_LASTS: &str = "/sys/module/suspend/parameters/pm_test_delay";

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
    host::write(TEST_LASTS, "1")?;
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

/// R25: what a process left in a device is gone after a sleep: the module resets it, also where nothing takes its power. In the
/// kernel's own test of suspend only drivers are called, so nothing else can have done it; in S3 QEMU resets all devices.
pub fn r25_reset_after_a_sleep() -> Result<String> {
    /// Address of a receive ring; no address until it is set (82576 data sheet 2.61, 8.10.5).
    const RDBAL: u64 = 0xc000;
    const RING: u32 = 0x1234_5000;
    host::set_parameter("pm_grace_ms", "100")?;
    host::write(TEST_LASTS, "1")?;
    let at = Attached::igb()?;
    let registers = at.bar0()?;
    registers.write(RDBAL, RING);
    ensure!(
        registers.read::<u32>(RDBAL) == RING,
        "the register cannot be written"
    );
    host::write(TEST, "devices")?;
    let slept = fs::write(STATE, "mem");
    fs::write(TEST, "none")?;
    slept.context("no suspend")?;
    at.dev.pm_ack(PM_RESUME)?;
    let found = registers.read::<u32>(RDBAL);
    ensure!(
        found == 0,
        "RDBAL is {found:#x} after the sleep: it was not reset"
    );
    host::set_parameter("pm_grace_ms", "1000")?;
    Ok(String::new())
}

/// Sleeps; nothing less than S3 will do.
fn slept(sleep: impl FnOnce() -> Result<()>) -> Result<()> {
    let times = || {
        host::dmesg()
            .matches("Waking up from system sleep state S3")
            .count()
    };
    let before = times();
    sleep()?;
    ensure!(times() == before + 1, "not in S3: {}", host::last_line("PM:"));
    Ok(())
}

/// R25: the machine sleeps for real (ACPI S3): devices lose their power, and the IOMMU its tables. What was mapped is
/// mapped afterwards, and interrupts that were set up arrive. The host wakes the machine
/// whenever it sleeps.
pub fn r25_machine_sleeps() -> Result<String> {
    // One device's process does not answer, which takes this long.
    host::set_parameter("pm_grace_ms", "15000")?;
    let modes = fs::read_to_string("/sys/power/mem_sleep").context("no mem_sleep")?;
    ensure!(modes.contains("[deep]"), "S3 is not what mem means: {modes}");
    let (edu, igb) = (Attached::edu()?, Attached::igb()?);
    let memory = Mapping::memory(PAGE)?;
    edu.ioas.map(memory.va(), IOVA, PAGE)?;
    let (vector, registers) = (Event::new()?, igb.bar0()?);
    igb_vectors(&igb, &[&vector])?;
    for round in 0..2 {
        slept(|| cycle(&edu)).with_context(|| format!("sleep {round}"))?;
        edu.dev.master(true)?;
        write_page(&edu, &memory, IOVA).context("DMA after the sleep")?;
        // Nobody acknowledged for the 82576: it slept all the same, a grace later, and is woken without registers.
        let refused = igb.dev.read(0, 8, 4);
        ensure!(refused == Err(Errno::EBUSY), "not acknowledged: {refused:?}");
        igb.dev.pm_ack(PM_RESUME)?;
        igb.dev.master(true)?;
        igb_enable_vectors(&registers);
        igb_raise(&registers, 0);
        vector.wait(PATIENCE).context("an interrupt after the sleep")?;
    }
    // A function that nobody has open sleeps too.
    let bdf = edu.dev.bdf.clone();
    drop(edu);
    slept(|| Ok(fs::write(STATE, "mem")?)).context("without a process")?;
    igb.dev.pm_ack(PM_RESUME)?;
    ensure!(Attached::new(&bdf)?.bar0()?.read::<u32>(edu_reg::ID) == EDU_ID);
    host::set_parameter("pm_grace_ms", "1000")?;
    Ok(modes.trim().to_owned())
}
