//! What the engine's VFIO back end does beyond opening a device: tokens of virtual functions, devices that a launcher
//! passes on.

use super::l2fwd::{self, rewritten, summary_checks};
use super::qemu::{Cable, Check, Nic, Vm};
use super::scenario::Bed;
use super::traffic::Lines;
use crate::program;
use anyhow::Result;

/// A PF on vfio-pci whose owner sets a token, and its VF: opened without it, with another one, and with it.
pub fn vf_token(bed: &Bed<'_>) -> Result<Vec<Check>> {
    let mut vm = Vm::new(bed.kernel.clone(), include_str!("guest/vf-token.sh"));
    vm.nics = vec![Nic {
        model: "igb".into(),
        cable: Cable::Hub(1),
    }];
    // A device without VFs, at 0000:02:00.0.
    vm.arguments = [
        "-device",
        "pcie-root-port,id=rp2,chassis=2,slot=2,addr=2.0",
        "-device",
        "e1000e,bus=rp2,romfile=",
    ]
    .map(str::to_owned)
    .to_vec();
    vm.payload = vec![program::VFIO_PROBE.build(bed.paths)?];
    let mut guest = vm.start(bed.tools, &bed.dir)?;
    guest.wait_for("DONE")?;
    guest.finish()
}

/// A launcher opens the NICs and passes them on; the forwarder, an ordinary user without capabilities, does the rest.
pub fn passed_devices(bed: &Bed<'_>) -> Result<Vec<Check>> {
    let lines = Lines::new()?;
    let mut vm = Vm::new(bed.kernel.clone(), include_str!("guest/passed-devices.sh"));
    vm.nics = lines.nics("igb");
    vm.payload = vec![l2fwd::build(bed.paths)?, program::LAUNCH.build(bed.paths)?];
    let mut guest = vm.start(bed.tools, &bed.dir)?;
    let mut checks = Vec::new();
    let started = guest.wait_for("READY")? == "started";
    if started {
        checks.extend(lines.run(bed, Nic::mac, rewritten)?);
    }
    guest.tell("stop")?;
    let summary = guest.wait_for("SUMMARY")?;
    if started {
        checks.extend(summary_checks(&summary, 1));
    }
    guest.wait_for("DONE")?;
    checks.extend(guest.finish()?);
    Ok(checks)
}
