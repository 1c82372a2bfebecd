//! Our forwarder without traffic, under load, and killed: what it costs, and what it leaves.

use super::instructions::{SHIFT, inject};
use super::l2fwd;
use super::qemu::{Cable, Check, Nic, Vm};
use super::scenario::Bed;
use super::traffic::Lines;
use super::wire::End;
use anyhow::{Context, Result};
use std::fs;

/// Idle for half a minute, then woken by frames.
pub fn idle(bed: &Bed<'_>) -> Result<Vec<Check>> {
    let lines = Lines::new()?;
    let mut vm = Vm::new(bed.kernel.clone(), include_str!("guest/idle.sh"));
    vm.nics = lines.nics("igb");
    vm.payload = vec![l2fwd::build(bed.paths)?];
    let mut guest = vm.start(bed.tools, &bed.dir)?;
    let mut checks = Vec::new();
    if guest.wait_for("READY")? == "started" {
        checks.extend(lines.run(bed, Nic::mac, l2fwd::rewritten)?);
        guest.tell("stop")?;
    }
    guest.wait_for("DONE")?;
    checks.extend(guest.finish()?);
    Ok(checks)
}

const HUB: u32 = 1;

fn on_a_hub(bed: &Bed<'_>, script: &'static str) -> Result<Vm> {
    let mut vm = Vm::new(bed.kernel.clone(), script);
    let cable = Cable::Hub(HUB);
    vm.nics = vec![
        Nic {
            model: "igb".into(),
            cable
        };
        2
    ];
    vm.payload = vec![l2fwd::build(bed.paths)?];
    Ok(vm)
}

/// Frames circulate on a hub while the guest counts system calls. Instructions are counted too, so that the guest's time
/// is the program's own: no gap in the load comes from the host.
pub fn system_calls(bed: &Bed<'_>) -> Result<Vec<Check>> {
    let sockets = tempfile::tempdir().context("cannot make a directory for sockets")?;
    let wire = End::new(sockets.path(), "wire")?;
    let mut vm = on_a_hub(bed, include_str!("guest/syscalls.sh"))?;
    (vm.smp, vm.icount) = (1, Some(SHIFT));
    vm.arguments = wire.on_hub(HUB).to_vec();
    let mut guest = vm.start(bed.tools, &bed.dir)?;
    if guest.wait_for("READY")? == "started" {
        inject(&wire)?;
        // Nobody listens any more: QEMU drops its copies of what circulates at once.
        fs::remove_file(sockets.path().join("wire.host")).context("the wire has no socket")?;
        guest.tell("go")?;
    }
    guest.wait_for("DONE")?;
    guest.finish()
}

/// Killed again and again, each time somewhat later.
pub fn kill(bed: &Bed<'_>) -> Result<Vec<Check>> {
    let vm = on_a_hub(bed, include_str!("guest/kill.sh"))?;
    let mut guest = vm.start(bed.tools, &bed.dir)?;
    guest.wait_for("DONE")?;
    guest.finish()
}
