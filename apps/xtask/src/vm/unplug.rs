//! A NIC is taken away, again and again, while our forwarder has it; its neighbours must not notice.

use super::instructions::inject;
use super::l2fwd;
use super::qemu::{Cable, Check, Nic, Running, Vm};
use super::scenario::Bed;
use super::traffic::Lines;
use super::wire::End;
use anyhow::{Context, Result};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// How it is taken.
#[derive(Clone, Copy, Debug)]
pub enum How {
    /// The guest's administrator unbinds it from vfio-pci.
    Unbind,
    /// The machine unplugs it and plugs in a new one.
    DeviceDel,
    /// The bus reports an uncorrectable error.
    Aer,
}

impl How {
    fn name(self) -> &'static str {
        match self {
            Self::Unbind => "unbind",
            Self::DeviceDel => "device_del",
            Self::Aer => "aer",
        }
    }
}

/// Index of the NIC that is taken; it and the next one are on a hub, where frames circulate.
const VICTIM: usize = 2;
const HUB: u32 = 1;

/// What the host does while the guest runs.
struct Rig {
    wire: End,
    victim: Nic,
    how: How,
}

/// Takes the NIC away ten times, while frames pass through the other pair.
pub fn run(bed: &Bed<'_>, how: How) -> Result<Vec<Check>> {
    let sockets = tempfile::tempdir().context("cannot make a directory for sockets")?;
    let lines = Lines::new()?;
    let victim = Nic {
        model: "igb".to_owned(),
        cable: Cable::Hub(HUB),
    };
    let rig = Rig {
        wire: End::new(sockets.path(), "wire")?,
        victim: victim.clone(),
        how,
    };
    let mut vm = Vm::new(bed.kernel.clone(), include_str!("guest/unplug.sh"));
    vm.nics = lines.nics("igb");
    vm.nics.extend([victim.clone(), victim]);
    vm.arguments = rig.wire.on_hub(HUB).to_vec();
    vm.payload = vec![l2fwd::build(bed.paths)?];
    vm.settings = vec![("HOW".to_owned(), how.name().to_owned())];
    vm.limit = Duration::from_secs(600);
    let mut guest = vm.start(bed.tools, &bed.dir)?;
    let mut checks = Vec::new();
    if guest.wait_for("READY")? == "started" {
        // Nobody listens to what circulates: QEMU drops its copies at once.
        fs::remove_file(sockets.path().join("wire.host")).context("the wire has no socket")?;
        checks = beside_traffic(bed, &lines, || rig.rounds(&mut guest))?;
        guest.tell("stop")?;
    }
    guest.wait_for("DONE")?;
    checks.extend(guest.finish()?);
    Ok(checks)
}

/// Runs `act` while frames pass through the first two NICs, without a pause; the results of the last round of frames, and
/// of all that failed.
fn beside_traffic(bed: &Bed<'_>, lines: &Lines, act: impl FnOnce() -> Result<()>) -> Result<Vec<Check>> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let traffic = scope.spawn(|| -> Result<Vec<Check>> {
            let mut bad = Vec::new();
            loop {
                let last = done.load(Ordering::SeqCst);
                let checks = lines.run(bed, Nic::mac, l2fwd::rewritten)?;
                if last {
                    bad.extend(checks);
                    return Ok(bad);
                }
                bad.extend(checks.into_iter().filter(|check| !check.ok));
            }
        });
        let acted = act();
        done.store(true, Ordering::SeqCst);
        let checks = traffic
            .join()
            .unwrap_or_else(|_| anyhow::bail!("the traffic's thread panicked"));
        acted?;
        checks
    })
}

impl Rig {
    /// Does what the guest asks for until it has enough.
    fn rounds(&self, guest: &mut Running) -> Result<()> {
        loop {
            let asked = guest.wait_for("ASK")?;
            match asked.as_str() {
                "traffic" => inject(&self.wire)?,
                "take" => guest.monitor()?.order(&self.take())?,
                "give" => guest
                    .monitor()?
                    .order(&format!("device_add {}", self.victim.device(VICTIM)))?,
                _ => return guest.tell("over"),
            }
            guest.tell("done")?;
        }
    }

    fn take(&self) -> String {
        match self.how {
            // At the port above: QEMU's igb has no error reporting in Device Control that could be switched on. The kernel
            // tells whatever is below.
            How::Aer => format!("pcie_aer_inject_error {} COMP_TIME", Nic::port(VICTIM)),
            _ => format!("device_del {}", Nic::id(VICTIM)),
        }
    }
}
