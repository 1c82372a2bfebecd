//! l2fwd in a guest, between taps that the kernel's vhost-net serves.

use super::capture::Shape;
use super::l2fwd::{account, build};
use super::lengths::lengths;
use super::qemu::{Check, Vm};
use super::scenario::Bed;
use anyhow::Result;

/// Frames that l2fwd must have forwarded: echoes of one direction and a stream's, twice.
const FRAMES: u64 = 10_000;
/// The echoes: of long packets there are few.
const FEW: u64 = 2_000;

/// Pings and streams through l2fwd, and a tap that is removed; `options` are those of both ports.
pub fn run(bed: &Bed<'_>, options: &str, shape: Shape) -> Result<Vec<Check>> {
    let mut vm = Vm::new(bed.kernel.clone(), include_str!("guest/vhost-net.sh"));
    vm.huge_pages = 0;
    vm.payload = vec![build(bed.paths)?];
    vm.settings = [("OPTIONS", options), ("ARGUMENTS", shape.arguments())]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    let mut guest = vm.start(bed.tools, &bed.dir)?;
    let summary = guest.wait_for("SUMMARY")?;
    guest.wait_for("DONE")?;
    let mut checks = account(&summary, if shape == Shape::Long { FEW } else { FRAMES });
    checks.extend(lengths(&summary, shape));
    checks.extend(guest.finish()?);
    Ok(checks)
}
