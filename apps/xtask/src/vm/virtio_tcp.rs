//! TCP between two networks of the host through our driver in a guest, on NICs behind the IOMMU whose back ends are taps: the
//! host's kernel leaves checksums and segments to them where our driver takes such packets.

use super::l2fwd::{account, build};
use super::qemu::{Cable, Check, Nic, Vm};
use super::scenario::Bed;
use super::vhost_iperf::{BYTES, Beyond, verdict};
use crate::cmd;
use crate::netns::world::Namespace;
use anyhow::{Context, Result};
use std::process;

/// Frames that l2fwd must have forwarded at least: as few as there are when none is cut.
const FRAMES: u64 = 2 * BYTES / 65_536;
/// Mean bytes of a packet that more than the MTU says to be one that was never cut.
const UNCUT: u64 = 2_000;

/// One way to run it.
#[derive(Clone, Copy)]
pub struct Variant {
    /// QEMU's device with its options.
    pub model: &'static str,
    /// Arguments of l2fwd besides the ports.
    pub arguments: &'static str,
    /// Whether packets must come through that were never cut.
    pub uncut: bool,
}

/// iperf3 both ways.
pub fn run(bed: &Bed<'_>, variant: &Variant) -> Result<Vec<Check>> {
    let far = Beyond::new()?;
    let near = Namespace::new("near")?;
    let taps = [0, 1].map(|index| format!("brlt{index}-{:x}", process::id() % 0x10_0000));
    let mut vm = Vm::new(bed.kernel.clone(), include_str!("guest/l2fwd.sh"));
    vm.nics = taps.each_ref().map(|tap| nic(variant.model, tap)).to_vec();
    vm.modules.extend(["virtio_pci", "virtio_net"].map(str::to_owned));
    vm.payload = vec![build(bed.paths)?];
    vm.settings = vec![
        ("SIGNAL".to_owned(), "INT".to_owned()),
        (
            "ARGUMENTS".to_owned(),
            format!("--no-mac-update {}", variant.arguments),
        ),
    ];
    let mut guest = vm.start(bed.tools, &bed.dir)?;
    let mut checks = Vec::new();
    if guest.wait_for("READY")? == "started" {
        // QEMU has made the taps; they go with it.
        for (tap, space) in taps.iter().zip([&near, &far.space]) {
            cmd::output(process::Command::new("ip").args(["link", "set", tap, "netns", &space.0]))?;
        }
        near.ip(&["addr", "add", "10.7.0.1/24", "dev", &taps[0]])?;
        near.ip(&["link", "set", &taps[0], "up"])?;
        far.address(&taps[1])?;
        checks.push(verdict("tcp-there", &iperf(&near, &[])?));
        checks.push(verdict("tcp-back", &iperf(&near, &["-R"])?));
        for (tap, space) in taps.iter().zip([&near, &far.space]) {
            checks.extend(look(space, tap, variant.uncut)?);
        }
    }
    guest.tell("stop")?;
    checks.extend(account(&guest.wait_for("SUMMARY")?, FRAMES));
    guest.wait_for("DONE")?;
    checks.extend(guest.finish()?);
    Ok(checks)
}

fn nic(model: &str, tap: &str) -> Nic {
    Nic {
        model: model.to_owned(),
        cable: Cable::Tap {
            name: tap.to_owned(),
            queues: 1,
        },
    }
}

/// What iperf3 says of a run, once the other end can be reached.
fn iperf(near: &Namespace, options: &[&str]) -> Result<String> {
    cmd::output(
        near.command("ping")
            .args(["-q", "-c", "1", "-w", "60", "10.7.0.2"]),
    )
    .context("there is no way through the guest")?;
    let bytes = BYTES.to_string();
    let mut command = near.command("iperf3");
    command
        .args(["-c", "10.7.0.2", "-n", &bytes, "-i", "0", "-J"])
        .args(options);
    // Its errors are in what it prints.
    let said = command.output().context("cannot start iperf3")?;
    Ok(String::from_utf8_lossy(&said.stdout).replace(['\n', '\t'], ""))
}

/// Packets that a kernel sent, and checksums that it found wrong.
fn look(space: &Namespace, tap: &str, uncut: bool) -> Result<[Check; 2]> {
    let number = |name: &str| -> Result<u64> {
        let path = format!("/sys/class/net/{tap}/statistics/{name}");
        let text = cmd::text(space.command("cat").arg(path))?;
        text.trim().parse().context("a counter is no number")
    };
    let (packets, bytes) = (number("tx_packets")?, number("tx_bytes")?);
    let mean = bytes / packets.max(1);
    // Half of what it sends is acknowledgements.
    let good = !uncut || mean > UNCUT;
    let snmp = cmd::text(space.command("cat").arg("/proc/net/snmp"))?;
    let wrong = snmp
        .lines()
        .filter_map(|line| line.strip_prefix("Tcp:"))
        .next_back();
    let wrong = wrong.and_then(|line| line.split_whitespace().next_back());
    Ok([
        Check::new(
            format!("packets-of-{tap}"),
            good,
            format!("{packets} sent, {mean} bytes each"),
        ),
        Check::new(
            format!("checksums-at-{tap}"),
            wrong == Some("0"),
            format!("{} wrong", wrong.unwrap_or("?")),
        ),
    ])
}
