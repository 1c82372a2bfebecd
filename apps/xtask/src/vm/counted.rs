//! Idle and unplugged in a guest whose time is counted in instructions: limits in time can be held to, whatever the host's load.

use super::instructions::{SHIFT, inject};
use super::l2fwd;
use super::qemu::{Cable, Check, Nic, Vm};
use super::scenario::Bed;
use super::wire::End;
use anyhow::{Context, Result};
use std::fs;
use std::time::Duration;

/// Hub of the first pair of NICs, and of the second, one of which is taken away.
const HUBS: [u32; 2] = [1, 2];

/// Index of the NIC that is taken away.
const VICTIM: usize = 2;

/// What it takes of a core without traffic; then a NIC is unbound or unplugged, ten times in all, while frames circulate on both hubs.
pub fn run(bed: &Bed<'_>) -> Result<Vec<Check>> {
    let sockets = tempfile::tempdir().context("cannot make a directory for sockets")?;
    let wires = [End::new(sockets.path(), "a")?, End::new(sockets.path(), "b")?];
    let mut vm = Vm::new(bed.kernel.clone(), include_str!("guest/counted.sh"));
    (vm.smp, vm.icount) = (1, Some(SHIFT));
    vm.limit = Duration::from_secs(900);
    for (hub, wire) in HUBS.into_iter().zip(&wires) {
        let nic = Nic {
            model: "igb".to_owned(),
            cable: Cable::Hub(hub),
        };
        vm.nics.extend([nic.clone(), nic]);
        vm.arguments.extend(wire.on_hub(hub));
    }
    vm.payload = vec![l2fwd::build(bed.paths)?];
    let mut guest = vm.start(bed.tools, &bed.dir)?;
    if guest.wait_for("READY")? == "started" {
        // Nobody listens to what circulates: QEMU drops its copies at once.
        for host in ["a.host", "b.host"] {
            fs::remove_file(sockets.path().join(host)).context("a wire has no socket")?;
        }
        loop {
            match guest.wait_for("ASK")?.as_str() {
                "neighbours" => inject(&wires[0])?,
                "traffic" => inject(&wires[1])?,
                "take" => guest
                    .monitor()?
                    .order(&format!("device_del {}", Nic::id(VICTIM)))?,
                "give" => guest
                    .monitor()?
                    .order(&format!("device_add {}", vm.nics[VICTIM].device(VICTIM)))?,
                _ => break,
            }
            guest.tell("done")?;
        }
        guest.tell("done")?;
    }
    guest.wait_for("DONE")?;
    guest.finish()
}
