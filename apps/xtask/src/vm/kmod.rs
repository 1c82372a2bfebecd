//! The kernel module's tests in a guest: the machine they need, and what the host does for them.

mod crng;
mod devices;
mod pciehp;
pub mod rate;
mod reports;

use super::kernel::Series;
use super::monitor::Monitor;
use super::qemu::{Cable, Check, Nic, Running, Vm};
use super::scenario::Bed;
use crate::cmd;
use crate::kmod::build::{Options, module};
use crate::program;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// Between two looks whether the machine sleeps.
const LOOK: Duration = Duration::from_millis(200);

/// Every test that the ordinary machine can do.
pub fn main(bed: &Bed<'_>) -> Result<Vec<Check>> {
    let beds = if bed.kernel.series == Series::Debug {
        ["main", "debug"]
    } else {
        ["main", "stock"]
    };
    let mut vm = machine(bed, &beds, &only())?;
    // The debug kernel has no ASPM, without which ACPI does not leave slots to it.
    vm.append.push("pcie_ports=native".to_owned());
    vm.arguments = devices::all(&bed.dir)?;
    let mut guest = vm.start(bed.tools, &bed.dir)?;
    guest.wait_for("DONE")?;
    finish(bed, guest, &beds, &only())
}

/// Devices that are taken out of their slots. On the debug kernel each test has a boot of its own, since lockdep reports pciehp's own
/// order of locks once and then ends its work; and there is a boot without the module, which shows that report.
pub fn unplug(bed: &Bed<'_>) -> Result<Vec<Check>> {
    if bed.kernel.series != Series::Debug {
        return unplug_boot(bed, "unplug", &only());
    }
    let mut all = Vec::new();
    for bed_name in ["bare", "unplug"] {
        for test in tests(bed, &[bed_name], &only())? {
            let dir = bed.dir.join(&test);
            fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
            let boot = Bed {
                paths: bed.paths,
                tools: bed.tools,
                kernel: bed.kernel.clone(),
                dir,
            };
            let mut checks = unplug_boot(&boot, bed_name, &test)?;
            checks.push(pciehp::REPORT.check(&boot.dir.join("console.log"), bed_name == "bare"));
            fs::remove_file(boot.dir.join("initrd.cpio")).ok();
            for check in checks.iter_mut().filter(|check| check.name != test) {
                check.name = format!("{test}: {}", check.name);
            }
            all.extend(checks);
        }
    }
    Ok(all)
}

fn unplug_boot(bed: &Bed<'_>, bed_name: &str, only: &str) -> Result<Vec<Check>> {
    let mut vm = machine(bed, &[bed_name], only)?;
    vm.append.push("pcie_ports=native".to_owned());
    vm.arguments = devices::all(&bed.dir)?;
    if bed.kernel.series == Series::Debug {
        vm.expected_faults = pciehp::REPORT.expected();
    }
    let mut guest = vm.start(bed.tools, &bed.dir)?;
    loop {
        match guest.wait_for_one(&["UNPLUG", "DONE"])? {
            ("UNPLUG", id) => guest.monitor()?.order(&format!("device_del {id}"))?,
            _ => return finish(bed, guest, &[bed_name], only),
        }
    }
}

/// The tests of a machine whose IOMMU does not remap interrupts.
pub fn noremap(bed: &Bed<'_>) -> Result<Vec<Check>> {
    let mut vm = machine(bed, &["noremap"], &only())?;
    vm.interrupt_remapping = false;
    let mut guest = vm.start(bed.tools, &bed.dir)?;
    guest.wait_for("DONE")?;
    finish(bed, guest, &["noremap"], &only())
}

/// Real sleep (ACPI S3), from which the host wakes the machine.
pub fn sleep(bed: &Bed<'_>) -> Result<Vec<Check>> {
    let mut vm = machine(bed, &["sleep"], &only())?;
    vm.image = Some(bed.kernel.compressed(bed.paths)?);
    vm.append.push("no_console_suspend".to_owned());
    vm.arguments = devices::one_edu();
    vm.expected_faults = crng::REPORT.expected();
    let mut guest = vm.start(bed.tools, &bed.dir)?;
    guest.wait_for("RUN")?;
    let monitor = guest.monitor()?;
    let waker = thread::spawn(move || wake(monitor));
    guest.wait_for("DONE")?;
    let mut checks = finish(bed, guest, &["sleep"], &only())?;
    checks.push(crng::REPORT.check(&bed.dir.join("console.log"), false));
    waker.join().ok();
    Ok(checks)
}

/// Wakes the machine whenever it sleeps, until it has ended.
fn wake(mut monitor: Monitor) {
    while let Ok(status) = monitor.human("info status") {
        if status.contains("suspended") && monitor.order("system_wakeup").is_err() {
            return;
        }
        thread::sleep(LOOK);
    }
}

fn machine(bed: &Bed<'_>, beds: &[&str], only: &str) -> Result<Vm> {
    let mut vm = Vm::new(bed.kernel.clone(), include_str!("guest/kmod.sh"));
    let cable = Cable::Hub(1);
    vm.nics = vec![
        Nic {
            model: "igb".into(),
            cable
        };
        2
    ];
    vm.modules = ["igb", "e1000e"].map(str::to_owned).to_vec();
    vm.memory = 1536;
    vm.settings = vec![
        ("BEDS".to_owned(), beds.join(" ")),
        ("ONLY".to_owned(), only.to_owned()),
        ("ROUNDS".to_owned(), setting("BARLINE_KMOD_ROUNDS")),
    ];
    // What the stock kernels can do for finding misuse of memory; the debug kernel does it better.
    vm.append
        .push("slub_debug=FZPU page_poison=1 kfence.sample_interval=20".to_owned());
    vm.payload = vec![
        program::KMOD_TESTS.build(bed.paths)?,
        program::KMOD_PASSED.build(bed.paths)?,
    ];
    for (faults, name) in [(false, "barline.ko"), (true, "barline-faults.ko")] {
        let built = module(
            bed.paths,
            &bed.kernel,
            Options {
                faults,
                strict: false,
            },
        )?;
        let named = bed.dir.join(name);
        fs::copy(&built, &named).with_context(|| format!("cannot copy {}", built.display()))?;
        vm.payload.push(named);
    }
    // A debug kernel is slow, and who asks for more rounds has the time.
    let patience = if bed.kernel.series == Series::Debug || !setting("BARLINE_KMOD_ROUNDS").is_empty() {
        4
    } else {
        1
    };
    vm.silence = Duration::from_secs(300 * patience);
    vm.limit = Duration::from_secs(1800 * patience);
    Ok(vm)
}

/// For work on some tests: parts of the names of those to run, with commas between.
fn only() -> String {
    setting("BARLINE_KMOD_ONLY")
}

/// `BARLINE_KMOD_ROUNDS` is how often tests of races try.
fn setting(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

/// Names of the beds' tests that have `only`, or a part of it between commas, in theirs.
fn tests(bed: &Bed<'_>, beds: &[&str], only: &str) -> Result<Vec<String>> {
    let program = program::KMOD_TESTS.build(bed.paths)?;
    let listed = cmd::text(Command::new(program).arg("list").args(beds))?;
    let wanted = listed
        .lines()
        .filter(|test| only.split(',').any(|part| test.contains(part)));
    Ok(wanted.map(str::to_owned).collect())
}

/// Waits for the end. Every test of the beds that was to run must have said something.
fn finish(bed: &Bed<'_>, guest: Running, beds: &[&str], only: &str) -> Result<Vec<Check>> {
    let mut checks = guest.finish()?;
    let listed = tests(bed, beds, only)?;
    let said: BTreeSet<&str> = checks.iter().map(|check| check.name.as_str()).collect();
    let silent: Vec<&str> = listed
        .iter()
        .map(String::as_str)
        .filter(|test| !said.contains(test))
        .collect();
    let text = format!("{} on {}", listed.len(), bed.kernel.release);
    let text = if silent.is_empty() {
        text
    } else {
        format!("nothing was heard of {}", silent.join(", "))
    };
    checks.push(Check::new("all-tests-ran", silent.is_empty(), text));
    Ok(checks)
}
