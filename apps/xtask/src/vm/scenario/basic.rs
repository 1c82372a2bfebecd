//! What all others stand on: a guest boots, its NICs carry frames, and one that is silent is written about.

use super::Bed;
use crate::vm::qemu::{Cable, Check, Nic, Vm};
use crate::vm::traffic::Lines;
use anyhow::Result;
use std::fs;
use std::time::Duration;

pub fn boot(bed: &Bed<'_>) -> Result<Vec<Check>> {
    let mut vm = Vm::new(bed.kernel.clone(), include_str!("../guest/boot.sh"));
    vm.nics = vec![
        Nic {
            model: "igb".into(),
            cable: Cable::Hub(1)
        };
        2
    ];
    let mut guest = vm.start(bed.tools, &bed.dir)?;
    guest.wait_for("DONE")?;
    guest.finish()
}

/// The harness itself: what it writes down about a guest that sleeps.
pub fn silent_guest(bed: &Bed<'_>) -> Result<Vec<Check>> {
    let vm = Vm::new(bed.kernel.clone(), include_str!("../guest/silent.sh"));
    let mut guest = vm.start(bed.tools, &bed.dir)?;
    // Not before: on a busy host the machine is silent for longer while it boots.
    guest.wait_for("ASLEEP")?;
    guest.suspect_after(Duration::from_secs(5));
    guest.wait_for("DONE")?;
    let mut checks = guest.finish()?;
    let text = fs::read_to_string(bed.dir.join("silent-1.txt")).unwrap_or_default();
    for wanted in [
        "VM status: running",
        "RIP=",
        "CPU#1",
        "sysrq: Show State",
        "task:sleep",
        "Tick Device: mode",
        "portb[0x02fd]",
    ] {
        let lines = text.lines().filter(|line| line.contains(wanted)).count();
        checks.push(Check::new(
            wanted.replace(' ', "-"),
            lines > 0,
            format!("{lines} lines"),
        ));
    }
    Ok(checks)
}

pub fn bridge(bed: &Bed<'_>) -> Result<Vec<Check>> {
    let lines = Lines::new()?;
    let mut vm = Vm::new(bed.kernel.clone(), include_str!("../guest/bridge.sh"));
    vm.nics = lines.nics("igb");
    let mut guest = vm.start(bed.tools, &bed.dir)?;
    guest.wait_for("READY")?;
    // An address nobody has: the bridge sends the frames out of the other port, unchanged.
    let mut checks = lines.run(bed, |_| [2, 0xee, 0, 0, 0, 1], |frame, _| frame.clone())?;
    guest.tell("stop")?;
    guest.wait_for("DONE")?;
    checks.extend(guest.finish()?);
    Ok(checks)
}
